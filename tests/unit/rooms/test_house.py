"""The drawing of the rooms shows every room of a contract and no arrow that runs upwards."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from tests.rooms import drawing, house
from tests.rooms.house import Panel, Room, without_detours


def reach(arrows: set[tuple[str, str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        more = {there for by, there in arrows if by == here} - found
        found |= more
        todo += more
    return found


DOWNWARDS = st.sets(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1])
).map(lambda pairs: {(f"r{a}", f"r{b}") for a, b in pairs})


@given(DOWNWARDS)
def test_leaving_out_detours_loses_no_way_and_no_arrow_more_can_go(
    arrows: set[tuple[str, str]],
) -> None:
    kept = without_detours(arrows)
    assert kept <= arrows
    rooms = {room for pair in arrows for room in pair}
    assert all(reach(kept, room) == reach(arrows, room) for room in rooms)
    assert all(there not in reach(kept - {(by, there)}, by) for by, there in kept)


def test_every_panel_has_a_contract_and_its_rooms_say_what_they_are() -> None:
    for panel in house.panels():
        floor_of = {room.name: n for n, floor in enumerate(panel.floors) for room in floor}
        assert all(floor_of[by] < floor_of[there] for by, there in panel.arrows), panel.package
        for floor in panel.floors:
            assert all(len(room.sentence) > 10 for room in floor), panel.package


def test_a_drawing_is_well_formed_and_each_room_a_box_with_its_name() -> None:
    rooms = ((Room("a<b", "Says & does.", True),), (Room("low", "Below.", False),))
    text = drawing.svg([Panel("lab", "One", rooms, frozenset({("a<b", "low")}))])
    tree = ElementTree.fromstring(text)
    shown = {one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a<b", "low", "Says & does."} <= shown
    assert text.count('class="arrow"') == 1
