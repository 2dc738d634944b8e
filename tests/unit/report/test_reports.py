import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from lab.records.model import Attachment, Failure, Grid, RunRecord
from lab.report.files import write_reports
from lab.report.html import page, sides
from lab.report.junit import junit
from lab.report.terminal import failure_lines, step_line, summary


def test_a_step_is_one_line(sample: ModuleType) -> None:
    assert step_line(sample.PASSED) == (
        "ok     1.4   one listener  (proves 1, 5)  0.4 s  breaks 1 of 1  expectations 1 of 2"
    )
    assert step_line(sample.NOT_REACHED).startswith("not reached 2.3")


def test_a_failure_shows_expected_beside_seen_link_and_bundle(sample: ModuleType) -> None:
    text = "\n".join(failure_lines(sample.FAILED.failure))
    for part in ("expected:     2/2", "seen:         1/2", "broken first: envoy: ", "bundle: "):
        assert part in text


def test_the_summary_counts_and_names_what_failed(sample: ModuleType) -> None:
    text = "\n".join(summary(sample.RUN))
    assert "3 chapters, 3 steps: 1 passed, 1 failed, 1 not reached" in text
    assert "1 of 1 breaks turned their step red" in text
    assert "1 of 2 expectations seen red" in text
    assert "not seen red: 1.4 the kernel (equal) (because there is only one)" in text
    assert "FAILED 2.2 a new pod takes over" in text
    assert "FAILED 3 set-up: an injected pod" in text
    assert "FAILED 2.3" not in text


def test_the_page_says_how_many_expectations_were_seen_red(sample: ModuleType) -> None:
    text = page(sample.RUN)
    assert "1 of 2 seen red; not 1.4 the kernel (equal) (because there is only one)" in text


def test_junit_has_a_suite_a_chapter_and_a_case_a_step(sample: ModuleType) -> None:
    root = ElementTree.fromstring(junit(sample.RUN).encode())
    suites = root.findall("testsuite")
    assert [one.get("name") for one in suites] == ["1. Plain nginx", "2. Injection", "3. Rules"]
    assert [len(one.findall("testcase")) for one in suites] == [1, 2, 1]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "2")
    failure = suites[1].find("testcase/failure")
    assert failure is not None
    assert "expected:" in (failure.text or "")


def test_junit_is_made_when_set_up_aborts(sample: ModuleType) -> None:
    root = ElementTree.fromstring(junit(sample.ABORTED).encode())
    assert root.get("errors") == "1"
    error = root.find("testsuite/testcase/error")
    assert error is not None
    assert "Docker daemon" in (error.get("message") or "")


@given(st.text())
def test_any_output_makes_valid_xml(text: str) -> None:
    run = RunRecord("r", text, text, 0.0, aborted=Failure("fault", text, text, text))
    ElementTree.fromstring(junit(run).encode("utf-8", "surrogatepass"))


class Elements(HTMLParser):
    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        known = dict(attrs)
        assert not {"src", "onclick"} & known.keys()
        self.ids += [str(known["id"])] if "id" in known else []
        self.links += [str(known["href"])] if "href" in known else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(run: RunRecord) -> tuple[str, Elements]:
    text = page(run)
    elements = Elements()
    elements.feed(text)
    assert elements.open == []
    return text, elements


def test_the_page_is_whole_and_needs_nothing_else(sample: ModuleType) -> None:
    for run in (sample.RUN, sample.ABORTED):
        text, elements = read(run)
        assert not {"script", "link", "img", "iframe"} & elements.tags
        assert "http://" not in text
        assert "https://" not in text
        assert "@import" not in text
        assert len(set(elements.ids)) == len(elements.ids)
        assert {one.removeprefix("#") for one in elements.links} <= set(elements.ids)


def test_values_are_escaped(sample: ModuleType) -> None:
    text, _ = read(sample.RUN)
    assert "Nothing &lt;else&gt;." in text
    assert "<else>" not in text


def test_failures_stand_before_chapters(sample: ModuleType) -> None:
    text, _ = read(sample.RUN)
    assert text.index("READY of pod") < text.index('id="chapter-1"')
    assert "Broken first: <strong>envoy</strong>" in text
    assert re.search(r"1 passed, 1 failed, 1 not reached", text)


def test_rows_of_only_one_side_are_marked(sample: ModuleType) -> None:
    before, after = sides(sample.PASSED.attachments[0])
    assert [row.mark for row in before.rows] == [""]
    assert [row.mark for row in after.rows] == ["", *["new"] * 5]


def test_a_column_that_one_side_lacks_does_not_make_rows_differ() -> None:
    made = Attachment("x", Grid(("a",), (("1",),)), Grid(("a", "b"), (("1", ""), ("1", "2"))))
    assert [[row.mark for row in side.rows] for side in sides(made)] == [[""], ["", "new"]]


def test_reports_are_written_beside_the_records(sample: ModuleType, tmp_path: Path) -> None:
    xml, html = write_reports(tmp_path / "records", replace(sample.RUN, seconds=1.0))
    assert ElementTree.parse(xml).getroot().get("time") == "1.000"
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "records" / "run.json").is_file()
