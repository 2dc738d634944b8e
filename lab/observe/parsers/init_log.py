"""Parser for the init container's log, which holds the input of iptables-restore."""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import ObservationError
from lab.observe.parsers.iptables_save import parse_iptables_save
from lab.observe.readings import Table


@dataclass(frozen=True)
class InitLog:
    """The first input of iptables-restore in an init container's log. This input is for IPv4.

    `tables` are the tables by name. `chains` are the names of the chains that the input creates
    ("-N"), in this order. `lines` are the lines of all tables; a table begins with "* TABLE" and
    ends with "COMMIT".
    """

    tables: Mapping[str, Table]
    chains: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def nat(self) -> Table:
        """The nat table; a table without chains when the log has no nat table."""
        return self.tables.get("nat", Table("nat"))


def parse_init_log(log: str) -> InitLog:
    """Find and parse the first input of iptables-restore in the log.

    Reading stops when a table appears a second time, because there a second input begins (that for
    IPv6, or that of another run). Raises ObservationError when the log has no input, or when the
    input is incomplete.
    """
    lines: list[str] = []
    names: set[str] = set()
    inside = False
    for row in log.splitlines():
        line = row.strip()
        if not inside and line.startswith("*"):
            name = line[1:].strip()
            if not name.isalpha():
                continue
            if name in names:
                break
            names.add(name)
            inside = True
        if inside:
            lines.append(line)
            inside = line != "COMMIT"
    if not lines:
        raise ObservationError(
            f"no rules in the log of the init container: {log.strip()[-300:]!r}",
            hint="did the init container end before it called iptables-restore?",
        )
    chains = tuple(line.split()[1] for line in lines if line.startswith("-N "))
    return InitLog(parse_iptables_save("\n".join(lines)), chains, tuple(lines))
