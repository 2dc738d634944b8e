"""Parser for the output of `netstat -ntlp` (net-tools)."""

from lab.observe.parsers.text import lines_after, unread
from lab.observe.readings import Listener


def parse_netstat(text: str) -> frozenset[Listener]:
    """Parse the listening TCP sockets. `process` is None where netstat prints "-".

    netstat cuts "PID/Program name" to 19 characters, so `process` can be incomplete. Raises
    ObservationError for a line that is not readable.
    """
    listeners = set()
    for row in lines_after(text, "Proto", "Recv-Q", "Send-Q"):
        words = row.split(maxsplit=6)
        if len(words) < 6 or words[0] not in ("tcp", "tcp6") or words[5] != "LISTEN":
            if words[0] in ("udp", "udp6", "raw", "raw6", "unix"):
                continue
            raise unread("netstat", row)
        address, _, port = words[3].rpartition(":")
        owner = words[6].strip() if len(words) > 6 else "-"
        pid, slash, name = owner.partition("/")
        if not port.isdigit() or (slash and not pid.isdigit()):
            raise unread("netstat", row)
        known = bool(slash)
        listeners.add(
            Listener(address, int(port), name if known else None, int(pid) if known else None)
        )
    return frozenset(listeners)
