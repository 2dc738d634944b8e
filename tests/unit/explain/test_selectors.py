"""Selectors are evaluated as Kubernetes documents them, and repairs really repair."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.explain.selectors import FIXED, changed, repair
from lab.mesh.injector.decision import Policy, Reason, decide
from lab.mesh.label_selectors import LabelSelector, Requirement, parse

KEYS = ("a", "b")
VALUES = ("x", "y", "true")
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
WITH_VALUES = st.builds(
    Requirement,
    st.sampled_from(KEYS),
    st.sampled_from(["In", "NotIn"]),
    st.lists(st.sampled_from(VALUES), min_size=1, unique=True).map(tuple),
)
WITHOUT = st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from(["Exists", "DoesNotExist"]))
REQUIREMENTS = st.one_of(WITH_VALUES, WITHOUT)
SELECTORS = st.lists(REQUIREMENTS, max_size=5).map(lambda many: LabelSelector(tuple(many)))
EVERY = [
    {key: value for key, value in zip(KEYS, pair, strict=True) if value is not None}
    for pair in product([None, *VALUES, "other"], repeat=len(KEYS))
]
"""Every set of labels over the keys; "other" stands for any value that no selector names."""


@given(SELECTORS, LABELS)
def test_the_injector_differs_in_the_selector_without_requirements_alone(
    selector: LabelSelector, labels: dict[str, str]
) -> None:
    decided = decide({"metadata": {"labels": labels}}, "shop", Policy(never=(selector,)))
    selected = decided.reason is Reason.NEVER_SELECTOR
    assert selected == (selector.matches(labels) and bool(selector.requirements))
    assert selector.matches(labels) == (not selector.unmet(labels))


@given(WITH_VALUES, WITHOUT, LABELS)
def test_each_operator_is_the_opposite_of_its_partner(
    valued: Requirement, bare: Requirement, labels: dict[str, str]
) -> None:
    partner = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
    for one in (valued, bare):
        opposite = Requirement(one.key, partner[one.operator], one.values)
        assert one.holds(labels) != opposite.holds(labels)


@given(SELECTORS, REQUIREMENTS, LABELS)
def test_more_requirements_select_less_and_their_order_does_not_matter(
    selector: LabelSelector, more: Requirement, labels: dict[str, str]
) -> None:
    narrower = LabelSelector((more, *selector.requirements))
    assert narrower.matches(labels) == (selector.matches(labels) and more.holds(labels))
    turned = LabelSelector(tuple(reversed(narrower.requirements)))
    assert turned.matches(labels) == narrower.matches(labels)
    assert set(turned.unmet(labels)) == set(narrower.unmet(labels))


@given(SELECTORS, LABELS)
def test_a_repair_makes_it_match_and_is_missing_only_where_nothing_can(
    selector: LabelSelector, labels: dict[str, str]
) -> None:
    changes = repair(selector, labels)
    if changes is None:
        assert not any(selector.matches(each) for each in EVERY)
    else:
        assert selector.matches(changed(labels, changes))
        assert (changes == {}) == selector.matches(labels)
        for key in changes:  # none of them is idle
            fewer = {one: value for one, value in changes.items() if one != key}
            assert not selector.matches(changed(labels, fewer))


def test_labels_that_the_api_server_keeps_are_never_changed() -> None:
    (key,) = FIXED
    selector = LabelSelector((Requirement(key, "NotIn", ("shop",)),))
    assert repair(selector, {key: "shop"}) is None
    assert repair(selector, {key: "other"}) == {}


@pytest.mark.parametrize("nothing", [None, {}, {"matchExpressions": []}])
def test_an_empty_selector_selects_everything(nothing: dict[str, object] | None) -> None:
    assert parse(nothing).matches({})
    assert parse(nothing).matches({"a": "x"})


def test_both_ways_to_write_a_selector_are_read() -> None:
    selector = parse(
        {
            "matchLabels": {"a": "x"},
            "matchExpressions": [
                {"key": "b", "operator": "NotIn", "values": ["1", "2", "3", "4"]},
                {"key": "c", "operator": "Exists"},
            ],
        }
    )
    assert selector.matches({"a": "x", "c": ""})
    assert not selector.matches({"a": "x", "b": "1", "c": ""})
    assert str(selector) == "a In [x], b NotIn [1, 2, ...], c Exists"
    assert selector.known("a") == ("x",)
