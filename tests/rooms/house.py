"""The rooms of the code as plain data: floors from the contracts, arrows from the imports."""

import ast
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).parents[2]
PANELS: Final = {
    "lab": "The house",
    "lab.mesh": "The mesh: what enters the images",
    "lab.mesh.injector": "Inside the injector",
    "lab.cluster": "The cluster: from a bare machine to a ready lab",
    "lab.scenario": "Scenarios: how chapters are written and run",
    "lab.observe": "Observation: what a pod looks like now",
    "lab.explain": "Explanations: why a pod has a sidecar, or none",
}
"""The packages that are drawn, each with a layers contract in pyproject.toml, and their titles."""


@dataclass(frozen=True)
class Room:
    """A package or module: its name in its panel, and what it says of itself in one sentence."""

    name: str
    sentence: str
    is_package: bool


@dataclass(frozen=True)
class Panel:
    """One package: its rooms by floor, the top one first, and who imports whom."""

    package: str
    title: str
    floors: tuple[tuple[Room, ...], ...]
    arrows: frozenset[tuple[str, str]]


def panels(root: Path = ROOT) -> list[Panel]:
    """Every panel, in the order of PANELS. Raises KeyError for a package without a contract."""
    graph = grimp.build_graph("lab", "scenarios", cache_dir=None)
    imports = [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    ]
    layers = _layers(root)
    return [
        _panel(package, title, layers[package], imports, root) for package, title in PANELS.items()
    ]


def _layers(root: Path) -> dict[str, list[list[str]]]:
    """Package → its floors, each the names of its rooms, as the contracts have them."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    found = {}
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] != "layers":
            continue
        package = contract.get("containers", ["lab"])[0]
        floors = [
            [
                name.strip().removeprefix(f"{package}.")
                for name in floor.replace(":", "|").split("|")
            ]
            for floor in contract["layers"]
        ]
        found[package] = floors
    return found


def _panel(
    package: str,
    title: str,
    floors: Sequence[Sequence[str]],
    imports: Sequence[tuple[str, str]],
    root: Path,
) -> Panel:
    names = {name for floor in floors for name in floor}
    arrows = {
        (importer, imported)
        for importer, imported in ((_room(a, package), _room(b, package)) for a, b in imports)
        if importer in names and imported in names and importer != imported
    }
    rooms = tuple(tuple(_described(package, name, root) for name in floor) for floor in floors)
    return Panel(package, title, rooms, frozenset(without_detours(arrows)))


def _room(module: str, package: str) -> str:
    """The room of the package that a module is in, "" for one outside."""
    return (
        module.removeprefix(f"{package}.").partition(".")[0]
        if module.startswith(f"{package}.")
        else ""
    )


def _described(package: str, name: str, root: Path) -> Room:
    place = root.joinpath(*package.split("."), name)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    first = " ".join(text.partition("\n\n")[0].split())
    return Room(name, first, place.is_dir())


def without_detours(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows without those that a way over another room implies (no circles in `arrows`)."""
    after: dict[str, set[str]] = {}
    for importer, imported in arrows:
        after.setdefault(importer, set()).add(imported)
    return {
        (importer, imported)
        for importer, imported in arrows
        if not any(imported in _reach(other, after) for other in after[importer] - {imported})
    }


def _reach(start: str, after: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for one in after.get(todo.pop(), ()):
            if one not in found:
                found.add(one)
                todo.append(one)
    return found
