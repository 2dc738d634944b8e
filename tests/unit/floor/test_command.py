"""The runner of commands: one that goes on, and one that cannot."""

import sys

import pytest

from lab import command
from lab.errors import CommandError


def test_a_held_command_has_said_its_first_line_and_goes_on_to_its_end() -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read(); print('more')"
    held = command.hold([sys.executable, "-c", code])
    assert held.first_line == "ready"
    held.wait(10)


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ([sys.executable, "-c", "import sys; sys.exit('no such thing')"], 1, "no such thing"),
        (["no-such-program-anywhere"], 127, "not found"),
    ],
)
def test_what_ends_instead_is_an_error_with_its_words(
    argv: list[str], code: int, says: str
) -> None:
    with pytest.raises(CommandError, match=says) as failed:
        command.hold(argv)
    assert failed.value.returncode == code
