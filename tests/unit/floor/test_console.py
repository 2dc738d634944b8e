"""Progress off a terminal: plain lines, a heartbeat, and how each task ended."""

import io
import threading

import pytest

from lab import console


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Heard(io.StringIO):
    """Lets a test wait until a number of lines was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Condition()

    def flush(self) -> None:
        with self.written:
            self.written.notify_all()

    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    def wait_for(self, count: int) -> None:
        with self.written:
            assert self.written.wait_for(lambda: len(self.lines()) >= count, timeout=10)


def test_a_short_task_is_one_line_without_colour() -> None:
    out, clock = Heard(), Clock()
    shown = console.Lines(out, clock=clock)
    with shown.task("cluster") as task:
        clock.now = 1.5
        task.update("from a node image", done=2, total=3)
    assert out.lines() == ["ok    cluster              1.5 s  2/3 from a node image"]
    assert "\x1b" not in out.getvalue()


def test_a_long_task_says_that_it_began_and_then_beats() -> None:
    out = Heard()
    shown = console.Lines(out, announce_after=0.01, heartbeat=0.01)
    with shown.task("images") as task:
        task.update("building")
        out.wait_for(3)
    assert all(line.startswith("...") for line in out.lines()[:-1])
    assert out.lines()[-1].startswith("ok")


def test_a_task_that_raises_is_marked_and_the_error_goes_on() -> None:
    out = Heard()
    shown = console.Lines(out, clock=Clock())
    with pytest.raises(ValueError, match="bad"), shown.task("cluster"):
        raise ValueError("bad")
    with pytest.raises(KeyboardInterrupt), shown.task("cluster"):
        raise KeyboardInterrupt
    assert [line.split()[0] for line in out.lines()] == ["FAIL", "stop"]


def test_a_task_inside_a_task_is_indented() -> None:
    out = Heard()
    shown = console.Lines(out, clock=Clock())
    with shown.task("images"), shown.task("kind"):
        shown.note("said")
    assert [line[6:10] for line in out.lines()[1:]] == ["  ki", "imag"]
    assert out.lines()[0] == "said"


def test_a_file_gets_lines() -> None:
    assert isinstance(console.progress(io.StringIO()), console.Lines)
