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
"""The largest number of expectations in all chapters that may be listed as unbreakable."""


def folder() -> Path:
    """The folder of the lab's own chapters."""
    import scenarios

    return Path(scenarios.__path__[0])


def load(file: Path) -> Chapter:
    """Import a module and return its `chapter`. Raises ScenarioError without chapter or steps."""
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
        raise ScenarioError(f"{file.name} has no `chapter`", hint="chapter = Chapter(…)")
    if not chapter.steps:
        raise ScenarioError(f"{file.name}: chapter {chapter.number} has no steps")
    return chapter


def load_all(where: Path | None = None) -> list[Chapter]:
    """All chapters, sorted by number.

    Raises ScenarioError when two chapters have the same number or namespace, and when more than
    MOST_UNBROKEN expectations are listed as unbreakable.
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
            f"{len(listed)} expectations are listed as unbroken: {'; '.join(listed)}",
            hint=f"at most {MOST_UNBROKEN} may be",
        )
    return chapters


def files(where: Path | None = None) -> list[Path]:
    """The files of the modules that hold chapters, sorted."""
    return sorted((where or folder()).glob("ch*.py"))


def find_step(chapters: Sequence[Chapter], name: str) -> tuple[Chapter, Step]:
    """The step with the id "CHAPTER.STEP", and its chapter.

    Raises ScenarioError, with the existing ids, if there is no such step.
    """
    for chapter in chapters:
        for step in chapter.steps:
            if step.id == name:
                return chapter, step
    ids = [f"{known.number}.1-{len(known.steps)}" for known in chapters]
    raise ScenarioError(f"there is no step {name!r}", hint=f"there are {', '.join(ids) or 'none'}")
