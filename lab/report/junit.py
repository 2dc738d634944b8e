"""Renders the records as JUnit XML: one suite per chapter, one case per step.

A failed part of a chapter's set-up becomes a case of the chapter's suite. A failure of the run as a
whole (`RunRecord.aborted`) becomes a suite of its own with one case.
"""

import re
from xml.etree import ElementTree as Xml

from lab.records.model import ChapterRecord, Failure, RunRecord, StepRecord
from lab.report.terminal import failure_lines

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 forbids, for instance the control characters of coloured output."""


def junit(run: RunRecord) -> str:
    """Return the XML text. Failures of the kind "fault" become `error`, all others `failure`."""
    root = Xml.Element("testsuites", name=_clean(f"sidecar-lab {run.lab}"))
    if run.aborted is not None:
        suite = Xml.SubElement(root, "testsuite", name="set-up")
        _case(suite, "set-up", "the lab", run.seconds, run.aborted)
        _count(suite, run.seconds)
    for chapter in run.chapters:
        _suite(root, chapter, run.started)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("skipped", "0")
    root.set("time", f"{run.seconds:.3f}")
    Xml.indent(root)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"
    )


def _suite(root: Xml.Element, chapter: ChapterRecord, started: str) -> None:
    name = f"{chapter.number}. {chapter.title}"
    suite = Xml.SubElement(root, "testsuite", name=_clean(name), timestamp=_clean(started))
    for setup in chapter.setup:
        if setup.failure is not None:
            _case(suite, name, f"set-up: {setup.name}", setup.seconds, setup.failure)
    for step in chapter.steps:
        case = _case(suite, name, f"{step.id} {step.title}", step.seconds, step.failure)
        Xml.SubElement(case, "system-out").text = _clean(_output(step))
    _count(suite, chapter.seconds)


def _case(
    suite: Xml.Element, group: str, name: str, seconds: float, failure: Failure | None
) -> Xml.Element:
    case = Xml.SubElement(
        suite, "testcase", classname=_clean(group), name=_clean(name), time=f"{seconds:.3f}"
    )
    if failure is not None:
        kind = "error" if failure.kind == "fault" else "failure"
        element = Xml.SubElement(case, kind, message=_clean(failure.what), type=failure.kind)
        element.text = _clean("\n".join(failure_lines(failure, indent="")))
    return case


def _count(suite: Xml.Element, seconds: float) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("skipped", "0")
    suite.set("time", f"{seconds:.3f}")


def _output(step: StepRecord) -> str:
    shown = [f"$ {command.shown}\n{command.stdout}{command.stderr}" for command in step.commands]
    return "\n".join([*shown, *(f"checked: {sentence}" for sentence in step.checked)])


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
