"""Parser for the output of `ps -ef` (procps)."""

from lab.observe.parsers.text import lines_after, unread
from lab.observe.readings import Process


def parse_ps(text: str) -> tuple[Process, ...]:
    """Parse the processes in the order of the text. The process of `ps` itself is one of them.

    User names are as procps prints them: it cuts names of more than eight characters (see
    `readings.shown_user`). Raises ObservationError for a line that is not readable.
    """
    processes = []
    for row in lines_after(text, "UID", "PID", "PPID"):
        words = row.split(maxsplit=7)
        if len(words) < 8 or not (words[1].isdigit() and words[2].isdigit()):
            raise unread("ps", row)
        processes.append(Process(int(words[1]), int(words[2]), words[0], words[7]))
    return tuple(processes)
