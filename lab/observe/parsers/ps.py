"""`ps -ef` of procps."""

from lab.observe.parsers.text import lines_after, unread
from lab.observe.readings import Process


def parse_ps(text: str) -> tuple[Process, ...]:
    """The processes in the order printed, `ps` itself among them.

    A user's name of more than eight characters is as procps cut it (`model.shown_user`).
    """
    found = []
    for row in lines_after(text, "UID", "PID", "PPID"):
        words = row.split(maxsplit=7)
        if len(words) < 8 or not (words[1].isdigit() and words[2].isdigit()):
            raise unread("ps", row)
        found.append(Process(int(words[1]), int(words[2]), words[0], words[7]))
    return tuple(found)
