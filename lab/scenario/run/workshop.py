"""The workshop: shows prose, commands, output and checks of a step, and waits for the reader."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from lab.records.model import ChapterRecord, StepRecord
from lab.report.terminal import failure_lines
from lab.scenario.chapter import Chapter, Step
from lab.scenario.run import find_chapters
from lab.scenario.run.runner import ChapterRunner

NewRunner = Callable[[Chapter], ChapterRunner]


@dataclass(frozen=True)
class Route:
    """The steps to walk: from the step with the id `first` to the step with the id `last`.

    If `first` is "", the route begins with the first step of all; if `last` is "", it ends with the
    last step. If `chapter` is a chapter's number, the route has only steps of this chapter.
    """

    first: str = ""
    last: str = ""
    chapter: int | None = None

    def stages(self, chapters: Sequence[Chapter]) -> list[tuple[Chapter, int, int]]:
        """Return (chapter, number of the first step, number of the last step) for each chapter.

        Chapters without a step on the route are left out. Raises ScenarioError if `first` or `last`
        is not the id of a step.
        """
        begin = find_chapters.find_step(chapters, self.first) if self.first else None
        end = find_chapters.find_step(chapters, self.last) if self.last else None
        stages = []
        for candidate in chapters:
            low, high = 1, len(candidate.steps)
            if self.chapter is not None and candidate.number != self.chapter:
                continue
            if (begin and candidate.number < begin[0].number) or (
                end and candidate.number > end[0].number
            ):
                continue
            if begin and begin[0] is candidate:
                low = begin[1].number
            if end and end[0] is candidate:
                high = end[1].number
            if low <= high:
                stages.append((candidate, low, high))
        return stages


class Workshop:
    """Walks through chapters on a console. `runner` makes the ChapterRunner of a chapter.

    `pause` is called after a chapter's prose and after each step: it waits for the reader, or does
    nothing. `at` is the id of the current step.
    """

    def __init__(self, console: Console, runner: NewRunner, pause: Callable[[], None]) -> None:
        self.console = console
        self.runner = runner
        self.pause = pause
        self.at = ""
        self.records: list[ChapterRecord] = []

    def walk(self, chapters: Sequence[Chapter], route: Route) -> bool:
        """Walk the route, stop at the first step that fails, and return whether all steps passed.

        After the last step of a chapter its namespaces are deleted; if the walk stops earlier, they
        stay.
        """
        for chapter, first, last in route.stages(chapters):
            runner = self.runner(chapter)
            held = self._chapter(chapter, runner, first, last)
            ended = held and last == len(chapter.steps)
            self.records.append(runner.finish() if ended else runner.record())
            if not held:
                return False
            if not ended:
                self._say(
                    f"The namespace {chapter.namespace} stays, so that you can look around in it."
                )
        return True

    def _chapter(self, chapter: Chapter, runner: ChapterRunner, first: int, last: int) -> bool:
        self.console.rule(Text(f"Chapter {chapter.number}. {chapter.title}", style="bold"))
        self._prose(chapter.prose or "")
        self.at = f"{chapter.number}.{first}"
        self.pause()
        with self.console.status("preparing the chapter"):
            runner.prepare()
            if first > 1:
                runner.step(first - 1)
        if first > 1:
            self._say(f"Steps {chapter.number}.1 to {chapter.number}.{first - 1} ran before.")
        if runner.stopped_by:
            self._stopped(runner)
            return False
        return all(self._step(step, runner) for step in chapter.steps[first - 1 : last])

    def _step(self, step: Step, runner: ChapterRunner) -> bool:
        self.at = step.id
        self.console.print()
        self.console.print(Text(f"{step.id}  {step.title}", style="bold cyan"))
        self._prose(step.prose)
        with self.console.status("running"):
            record = runner.step(step.number)
        self._outputs(record)
        if not record.passed:
            self._failed(record)
            return False
        for sentence in record.checked:
            self.console.print(Text("  ✓ ", style="green") + Text(sentence), soft_wrap=True)
        self.pause()
        return True

    def _outputs(self, record: StepRecord) -> None:
        for command in record.commands:
            self.console.print(Text(f"$ {command.shown}", style="bold"), soft_wrap=True)
            output = (command.stdout + command.stderr).rstrip("\n")
            if output:
                self.console.print(Text(output), soft_wrap=True)
            self.console.print()

    def _failed(self, record: StepRecord) -> None:
        self.console.print(Text(f"Step {record.id} did not hold.", style="bold red"))
        if record.failure is not None:
            for line in failure_lines(record.failure, indent="  "):
                self.console.print(Text(line), soft_wrap=True)

    def _stopped(self, runner: ChapterRunner) -> None:
        for setup in runner.setup:
            if setup.failure is not None:
                self.console.print(Text(f"Set-up failed: {setup.name}", style="bold red"))
                for line in failure_lines(setup.failure, indent="  "):
                    self.console.print(Text(line), soft_wrap=True)
        for record in runner.records:
            if record.outcome == "failed":
                self._outputs(record)
                self._failed(record)

    def _prose(self, text: str) -> None:
        self.console.print(Padding(Markdown(text), (0, 0, 1, 0)))

    def _say(self, text: str) -> None:
        self.console.print(Text(text, style="dim"), soft_wrap=True)


def contents(chapters: Sequence[Chapter]) -> Iterator[str]:
    """The lines that `lab walk --list` prints."""
    for chapter in chapters:
        yield f"{chapter.number}. {chapter.title}  ({chapter.namespace})"
        for step in chapter.steps:
            proves = f"  proves {', '.join(map(str, step.proves))}" if step.proves else ""
            yield f"   {step.id:<5} {step.title}{proves}"
