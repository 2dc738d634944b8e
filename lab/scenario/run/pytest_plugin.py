"""pytest plugin: the chapters as items, one a step; one line each; records and reports at the end.

Loaded by `-p lab.scenario.run.pytest_plugin`. Chapters may run side by side (`-n N --dist
loadfile`): all steps of a chapter stay in one worker. A step selected alone brings those before.
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
    """Our options; those of pytest-kind are its own."""
    group = parser.getgroup("scenarios")
    group.addoption("--lab-name", default=paths.DEFAULT_NAME, help="the lab to run on")
    group.addoption("--breaks", action="store_true", help="prove each check by its breaks")
    group.addoption("--chapters", default="", help="numbers to run: 1,3-5 (default: all)")
    group.addoption("--lab-run", default="", help="id of this run (made when not given)")
    group.addoption("--no-cluster", action="store_true", help="chapters of local commands only")


class Run:
    """What all chapters of one session share."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.paths = paths.lab_paths(config.getoption("lab_name"))
        # The workers must write the id that the controller gathers by.
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
        """The lab, opened once. Raises ClusterError when it is not up."""
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
        """The whole run, put together from what the chapters wrote."""
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
    """Chapter numbers of "1,3-5"; none of "" (meaning all). Raises pytest.UsageError."""
    found: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise pytest.UsageError(f"--chapters {text!r}: write numbers like 1,3-5") from None
    return frozenset(found)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Share the run; speak for the steps ourselves (once the terminal's own reporter is there)."""
    run = config.stash[RUN] = Run(config)
    if not hasattr(config, "workerinput"):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        config.pluginmanager.register(Lines(run, reporter), "lab-scenario-lines")
        if reporter is not None:
            reporter.showfspath = False


def pytest_sessionstart(session: pytest.Session) -> None:
    """Without a lab there is nothing to run: say so once, in the reports too."""
    run = session.config.stash[RUN]
    if run.local or session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    try:
        hand_over(session.config, run.lab)
    except SidecarLabError as wrong:
        xml, html = write_reports(run.paths.records, run.record(wrong))
        told = f"error: {wrong.message}\nhint: {wrong.hint}\nreport: {html}\njunit:  {xml}"
        pytest.exit(told, returncode=wrong.exit_code)


def hand_over(config: pytest.Config, lab: lab_access.LabAccess) -> None:
    """Make the lab the cluster of pytest-kind's `kind_cluster`, unless it was told another.

    That fixture re-uses a cluster that exists under its name, and keeps it when told so.
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
    """Hand the run's id to a worker of pytest-xdist."""
    node.workerinput["lab_run"] = node.config.stash[RUN].id


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "ChapterFile | None":
    """Collect `ch*.py` that stand beside each other in a folder of scenarios."""
    if file_path.suffix == ".py" and file_path.name.startswith("ch"):
        return ChapterFile.from_parent(parent, path=file_path)
    return None


class ChapterFile(pytest.File):
    """A module that holds a chapter."""

    runner: ChapterRunner | None = None
    chapter: Chapter

    def collect(self) -> Iterator["StepItem"]:
        """One item a step."""
        run = self.config.stash[RUN]
        try:
            self.chapter = find_chapters.load(self.path)
        except SidecarLabError as wrong:
            raise self.CollectError(f"{wrong.message}\nhint: {wrong.hint}") from wrong
        if run.wanted and self.chapter.number not in run.wanted:
            return
        for step in self.chapter.steps:
            yield StepItem.from_parent(self, name=f"{step.id} {step.title}", number=step.number)


class StepFailed(Exception):  # noqa: N818 - it carries a record, the record says what failed
    """A step that did not pass."""


class StepItem(pytest.Item):
    """One step."""

    parent: ChapterFile

    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number
        self.fixturenames: list[str] = []

    def runtest(self) -> None:
        """Run the chapter up to this step; hand its record to the reporting process."""
        chapter = self.parent
        if chapter.runner is None:
            chapter.runner = self.config.stash[RUN].runner(chapter.chapter)
        already = len(chapter.runner.records)
        record = chapter.runner.step(self.number)
        # Steps that this one stands on and that were not selected themselves get a line too.
        fresh = chapter.runner.records[already : self.number]
        self.user_properties += [("lab-step", to_json(one)) for one in fresh or [record]]
        if already == 0:
            self.user_properties += [
                ("lab-setup", setup_line(chapter.runner.record(), one))
                for one in chapter.runner.setup
                if one.failure is not None or self.config.get_verbosity() > 0
            ]
        if not record.passed:
            raise StepFailed(record.id)

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        """Expected beside seen; a traceback only for a fault of the machinery."""
        runner = self.parent.runner
        if not isinstance(excinfo.value, StepFailed) or runner is None:
            return str(super().repr_failure(excinfo))
        record = runner.records[self.number - 1]
        return "\n".join(failure_lines(record.failure)) if record.failure else record.id

    def reportinfo(self) -> tuple[Path, None, str]:
        """What pytest heads a failure with."""
        return self.path, None, self.name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Write the chapter's record after each step, and end the chapter after its last."""
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
    """What the terminal shows: a line as each step ends, and the closing lines."""

    def __init__(self, run: Run, reporter: Any) -> None:
        self.run = run
        self.reporter = reporter

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """No letter for a step: it has a line."""
        if report.when == "call" and _steps(report):
            return report.outcome, "", ""
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the lines of what just ended."""
        if report.when != "call" or self.reporter is None:
            return
        for name, text in report.user_properties:
            if name == "lab-setup":
                self._line(str(text), red=str(text).startswith("FAILED"))
        for step in _steps(report):
            self._line(step_line(step), red=not step.passed)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Counts and where the reports are; pytest's own closing line follows."""
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
        except SidecarLabError as wrong:
            return self.run.record(wrong)

    def _line(self, text: str, *, red: bool) -> None:
        self.reporter.ensure_newline()
        self.reporter.write_line(text, **({"red": True} if red else {}))


def unreadable(errors: Iterable[Any]) -> ScenarioError | None:
    """What pytest could not collect, as one error; None when it could read everything."""
    told = [f"{one.nodeid}: {one.longreprtext}" for one in errors]
    return ScenarioError("not every chapter can be read:\n" + "\n".join(told)) if told else None


def _steps(report: Any) -> list[StepRecord]:
    properties: Iterable[tuple[str, object]] = getattr(report, "user_properties", ())
    return [from_json(StepRecord, str(text)) for name, text in properties if name == "lab-step"]
