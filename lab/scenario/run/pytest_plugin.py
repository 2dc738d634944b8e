"""pytest plugin that runs the chapters: each step is a test with one line of output.

`-p lab.scenario.run.pytest_plugin` loads the plugin. It writes records and, at the end, reports.
With `-n N --dist loadfile` several chapters run at the same time, each in one worker process. If
only some steps of a chapter are selected, the steps before them run, too.
"""

import datetime
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import paths
from lab.errors import ScenarioError
from lab.mesh.errors import SidecarLabError
from lab.records import store
from lab.records.model import ChapterRecord, RunRecord, StepRecord, from_json, to_json
from lab.report.files import write_reports
from lab.report.terminal import failure_lines, setup_line, step_line, summary
from lab.scenario import lab_access
from lab.scenario.chapter import Chapter
from lab.scenario.failure.investigation import Investigation
from lab.scenario.run import find_chapters
from lab.scenario.run.failures import failure_of
from lab.scenario.run.runner import ChapterRunner, no_aftermath
from lab.scenario.world import World, world_of

RUN = pytest.StashKey["Run"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    group = parser.getgroup("scenarios")
    group.addoption("--lab-name", default=paths.DEFAULT_NAME, help="the lab to run on")
    group.addoption("--breaks", action="store_true", help="prove each check by its breaks")
    group.addoption("--chapters", default="", help="numbers to run: 1,3-5 (default: all)")
    group.addoption("--lab-run", default="", help="id of this run (default: a new id)")
    group.addoption("--no-cluster", action="store_true", help="chapters of local commands only")


class Run:
    """The options, the lab and the id of one pytest session; all its chapters share them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.paths = paths.lab_paths(config.getoption("lab_name"))
        # The workers must write the id by which the controller collects their records.
        inherited = getattr(config, "workerinput", {}).get("lab_run", "")
        self.id = inherited or config.getoption("lab_run") or uuid.uuid4().hex[:12]
        self.breaks = bool(config.getoption("breaks"))
        self.wanted = numbers(config.getoption("chapters"))
        self.local = bool(config.getoption("no_cluster"))
        self.begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.started = time.monotonic()
        self._lab: lab_access.LabAccess | None = None

    @property
    def lab(self) -> lab_access.LabAccess:
        """The lab, opened at first use. Raises ClusterError if the lab is not up."""
        if self._lab is None:
            self._lab = lab_access.open_lab(self.paths)
        return self._lab

    def runner(self, chapter: Chapter) -> ChapterRunner:
        """A runner for one chapter."""
        if self.local:
            folder = self.paths.root / "work" / chapter.namespace
            world, aftermath = World(chapter.namespace, folder), no_aftermath
        else:
            world = world_of(self.lab, chapter.namespace)
            aftermath = Investigation(self.paths.records / "bundles")
        return ChapterRunner(chapter, world, breaks=self.breaks, aftermath=aftermath, run=self.id)

    def record(self, aborted: Exception | None = None) -> RunRecord:
        """The record of the whole run, collected from the chapters' record files.

        `aborted` is the error that made the run as a whole fail, if there is one.
        """
        versions = []
        if not self.local and aborted is None:
            versions = [
                ("Mesh", self.lab.mesh),
                ("Kubernetes", self.lab.kubernetes),
                ("Node", self.lab.node),
            ]
        return RunRecord(
            run=self.id,
            lab=self.paths.name,
            started=self.begun,
            seconds=time.monotonic() - self.started,
            chapters=store.load_chapters(self.paths.records, self.id),
            aborted=None if aborted is None else failure_of(aborted),
            breaks=self.breaks,
            versions=tuple(versions),
        )


def numbers(text: str) -> frozenset[int]:
    """Parse chapter numbers like "1,3-5"; "" (all chapters) gives an empty set.

    Raises pytest.UsageError if `text` has another form.
    """
    selected: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            selected |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise pytest.UsageError(f"--chapters {text!r}: write numbers like 1,3-5") from None
    return frozenset(selected)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Create the Run of this session. If this is not a worker, register Lines, too."""
    run = config.stash[RUN] = Run(config)
    if not hasattr(config, "workerinput"):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        config.pluginmanager.register(Lines(run, reporter), "lab-scenario-lines")
        if reporter is not None:
            reporter.showfspath = False


def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the lab before the first step. If the lab is not up, write the reports and exit."""
    run = session.config.stash[RUN]
    if run.local or session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    try:
        hand_over(session.config, run.lab)
    except SidecarLabError as error:
        xml, html = write_reports(run.paths.records, run.record(error))
        message = f"error: {error.message}\nhint: {error.hint}\nreport: {html}\njunit:  {xml}"
        pytest.exit(message, returncode=error.exit_code)


def hand_over(config: pytest.Config, lab: lab_access.LabAccess) -> None:
    """Make the lab the cluster of pytest-kind's fixture `kind_cluster`.

    If the user gave --cluster-name, nothing is changed. The fixture takes an existing cluster of
    the given name instead of creating one; because of `keep_cluster` it does not delete it.
    """
    option = config.option
    if getattr(option, "cluster_name", None) != "pytest-kind":
        return
    option.cluster_name = lab.node.removesuffix("-control-plane")
    option.keep_cluster = True
    option.kubeconfig = str(lab.kubeconfig)
    option.kind_bin = str(lab.kind)
    option.kind_kubectl_bin = str(lab.kubectl)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the run's id to a worker process of pytest-xdist."""
    node.workerinput["lab_run"] = node.config.stash[RUN].id


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "ChapterFile | None":
    """Collect a file `ch*.py` as a chapter."""
    if file_path.suffix == ".py" and file_path.name.startswith("ch"):
        return ChapterFile.from_parent(parent, path=file_path)
    return None


class ChapterFile(pytest.File):
    """A module with a chapter, as pytest collects it."""

    runner: ChapterRunner | None = None
    chapter: Chapter

    def collect(self) -> Iterator["StepItem"]:
        """Yield one item for each step."""
        run = self.config.stash[RUN]
        try:
            self.chapter = find_chapters.load(self.path)
        except SidecarLabError as error:
            raise self.CollectError(f"{error.message}\nhint: {error.hint}") from error
        if run.wanted and self.chapter.number not in run.wanted:
            return
        for step in self.chapter.steps:
            yield StepItem.from_parent(self, name=f"{step.id} {step.title}", number=step.number)


class StepFailed(Exception):  # noqa: N818 - the step's record has the failure
    """Tells pytest that a step did not pass; the step's record says why."""


class StepItem(pytest.Item):
    """One step, as a test of pytest."""

    parent: ChapterFile

    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number
        self.fixturenames: list[str] = []

    def runtest(self) -> None:
        """Run the chapter up to this step; pass the records to the process that prints lines."""
        chapter = self.parent
        if chapter.runner is None:
            chapter.runner = self.config.stash[RUN].runner(chapter.chapter)
        already = len(chapter.runner.records)
        record = chapter.runner.step(self.number)
        # Earlier steps that were not selected ran too; they get a line as well.
        fresh = chapter.runner.records[already : self.number]
        self.user_properties += [
            ("lab-step", to_json(step_record)) for step_record in fresh or [record]
        ]
        if already == 0:
            self.user_properties += [
                ("lab-setup", setup_line(chapter.runner.record(), part))
                for part in chapter.runner.setup
                if part.failure is not None or self.config.get_verbosity() > 0
            ]
        if not record.passed:
            raise StepFailed(record.id)

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        """Return the lines about the step's failure; for an error of the runner, a traceback."""
        runner = self.parent.runner
        if not isinstance(excinfo.value, StepFailed) or runner is None:
            return str(super().repr_failure(excinfo))
        record = runner.records[self.number - 1]
        return "\n".join(failure_lines(record.failure)) if record.failure else record.id

    def reportinfo(self) -> tuple[Path, None, str]:
        """The location and title that pytest prints above a failure."""
        return self.path, None, self.name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Write the chapter's record after each step; finish the chapter after its last step."""
    result = yield
    if isinstance(item, StepItem) and (runner := item.parent.runner) is not None:
        last = not isinstance(nextitem, StepItem) or nextitem.parent is not item.parent
        run = item.config.stash[RUN]
        record: ChapterRecord = runner.finish() if last else runner.record()
        store.save_chapter(run.paths.records, record)
        if last:
            item.parent.runner = None
    return result


class Lines:
    """Prints a line to the terminal when a step ends, and the summary at the end."""

    def __init__(self, run: Run, reporter: Any) -> None:
        self.run = run
        self.reporter = reporter

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """Suppress the letter that pytest prints for each test, because each step has a line."""
        if report.when == "call" and _steps(report):
            return report.outcome, "", ""
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the lines of the steps (and set-up) that have just ended."""
        if report.when != "call" or self.reporter is None:
            return
        for name, text in report.user_properties:
            if name == "lab-setup":
                self._line(str(text), red=str(text).startswith("FAILED"))
        for step in _steps(report):
            self._line(step_line(step), red=not step.passed)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Write the reports; print the summary and the reports' paths before pytest's last line."""
        if config.option.collectonly:
            return
        record = self._record(unreadable(terminalreporter.stats.get("error", [])))
        if not record.chapters and record.aborted is None:
            return  # other tests, for instance some that use `kind_cluster`
        xml, html = write_reports(self.run.paths.records, record)
        for line in summary(record):
            terminalreporter.write_line(line, red=line.startswith("FAILED"))
        terminalreporter.write_line(f"report: {html}")
        terminalreporter.write_line(f"junit:  {xml}")

    def _record(self, aborted: Exception | None) -> RunRecord:
        try:
            return self.run.record(aborted)
        except SidecarLabError as error:
            return self.run.record(error)

    def _line(self, text: str, *, red: bool) -> None:
        self.reporter.ensure_newline()
        self.reporter.write_line(text, **({"red": True} if red else {}))


def unreadable(errors: Iterable[Any]) -> ScenarioError | None:
    """Return the error for the chapters that pytest could not collect; None if there are none."""
    problems = [f"{error.nodeid}: {error.longreprtext}" for error in errors]
    return (
        ScenarioError("not every chapter can be read:\n" + "\n".join(problems))
        if problems
        else None
    )


def _steps(report: Any) -> list[StepRecord]:
    properties: Iterable[tuple[str, object]] = getattr(report, "user_properties", ())
    return [from_json(StepRecord, str(text)) for name, text in properties if name == "lab-step"]
