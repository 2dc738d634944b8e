"""Find the chapters: modules `ch*.py` of the package `scenarios`, or of any folder."""

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import ScenarioError
from lab.scenario.chapter import Chapter, Step

MOST_UNBROKEN = 10
"""Expectations, of all chapters, that may be listed as ones that nothing can turn red."""


def folder() -> Path:
    """The folder of the lab's own chapters."""
    import scenarios

    return Path(scenarios.__path__[0])


def load(file: Path) -> Chapter:
    """Import one module and return its `chapter`. Raises ScenarioError when it has none."""
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
    """Every chapter, by number. Raises ScenarioError when two have one number or namespace.

    Also when more expectations than MOST_UNBROKEN are listed as ones that no break turns red.
    """
    found = sorted((load(file) for file in files(where)), key=lambda one: one.number)
    for first, second in itertools.pairwise(found):
        if first.number == second.number:
            raise ScenarioError(f"two chapters have the number {first.number}")
    spaces = [space for one in found for space in (one.namespace, *one.other_namespaces)]
    twice = {space for space in spaces if spaces.count(space) > 1}
    if twice:
        raise ScenarioError(f"several chapters use the namespace {', '.join(sorted(twice))}")
    listed = [f"{step.id} {what}" for one in found for step in one.steps for what in step.unbroken]
    if len(listed) > MOST_UNBROKEN:
        raise ScenarioError(
            f"{len(listed)} expectations are listed as unbroken: {'; '.join(listed)}",
            hint=f"at most {MOST_UNBROKEN} may be",
        )
    return found


def files(where: Path | None = None) -> list[Path]:
    """The modules that hold chapters."""
    return sorted((where or folder()).glob("ch*.py"))


def find_step(chapters: Sequence[Chapter], name: str) -> tuple[Chapter, Step]:
    """The step called "CHAPTER.STEP". Raises ScenarioError, saying what there is."""
    for chapter in chapters:
        for step in chapter.steps:
            if step.id == name:
                return chapter, step
    ids = [f"{one.number}.1-{len(one.steps)}" for one in chapters]
    raise ScenarioError(f"there is no step {name!r}", hint=f"there are {', '.join(ids) or 'none'}")
