"""Finds the chapters: the modules `ch*.py` of the package `scenarios` or of another folder."""

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import ScenarioError
from lab.scenario.chapter import Chapter, Step

MOST_UNBROKEN = 10
"""How many expectations, in all chapters together, can be declared with `cannot_break`."""


def folder() -> Path:
    """The folder of the package `scenarios`."""
    import scenarios

    return Path(scenarios.__path__[0])


def load(file: Path) -> Chapter:
    """Import the module `file` and return its `chapter`.

    Raises ScenarioError if the module has no `chapter` or the chapter has no steps.
    """
    if file.parent.resolve() == folder().resolve():
        module = importlib.import_module(f"scenarios.{file.stem}")
    else:
        name = f"_scenario_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ScenarioError(f"{file} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    chapter = getattr(module, "chapter", None)
    if not isinstance(chapter, Chapter):
        raise ScenarioError(
            f"{file.name} has no variable `chapter`", hint="write `chapter = Chapter(…)` in it"
        )
    if not chapter.steps:
        raise ScenarioError(f"{file.name}: chapter {chapter.number} has no steps")
    return chapter


def load_all(where: Path | None = None) -> list[Chapter]:
    """All chapters, sorted by number.

    Raises ScenarioError if two chapters have the same number or namespace, or if more than
    MOST_UNBROKEN expectations are declared with `cannot_break`.
    """
    chapters = sorted((load(file) for file in files(where)), key=lambda chapter: chapter.number)
    for first, second in itertools.pairwise(chapters):
        if first.number == second.number:
            raise ScenarioError(f"two chapters have the number {first.number}")
    spaces = [
        space for chapter in chapters for space in (chapter.namespace, *chapter.other_namespaces)
    ]
    twice = {space for space in spaces if spaces.count(space) > 1}
    if twice:
        raise ScenarioError(f"several chapters use the namespace {', '.join(sorted(twice))}")
    listed = [
        f"{step.id} {what}"
        for chapter in chapters
        for step in chapter.steps
        for what in step.unbroken
    ]
    if len(listed) > MOST_UNBROKEN:
        raise ScenarioError(
            f"{len(listed)} expectations are declared with `cannot_break`: {'; '.join(listed)}",
            hint=f"in all chapters together at most {MOST_UNBROKEN} are allowed",
        )
    return chapters


def files(where: Path | None = None) -> list[Path]:
    """The files of the modules that hold chapters, sorted."""
    return sorted((where or folder()).glob("ch*.py"))


def find_step(chapters: Sequence[Chapter], name: str) -> tuple[Chapter, Step]:
    """Return the step with the id `name`, for instance "2.3", and its chapter.

    Raises ScenarioError, with the existing ids, if there is no such step.
    """
    for chapter in chapters:
        for step in chapter.steps:
            if step.id == name:
                return chapter, step
    ids = [f"{known.number}.1-{len(known.steps)}" for known in chapters]
    raise ScenarioError(
        f"there is no step {name!r}", hint=f"the steps are: {', '.join(ids) or 'none'}"
    )
