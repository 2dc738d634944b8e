"""Parser for the init container's log, which holds the input of iptables-restore."""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import ObservationError
from lab.observe.parsers.iptables_save import parse_iptables_save
from lab.observe.readings import Table


@dataclass(frozen=True)
class InitLog:
    """The first (IPv4) input of iptables-restore in the log.

    `tables` are its tables by name. `chains` are the names of the chains that it creates ("-N"),
    in their order. `lines` are its lines from "* nat" to the last "COMMIT", as printed.
    """

    tables: Mapping[str, Table]
    chains: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def nat(self) -> Table:
        """The nat table; a table without chains when the log has none."""
        return self.tables.get("nat", Table("nat"))


def parse_init_log(log: str) -> InitLog:
    """Find the input of iptables-restore in the log.

    When a table appears a second time, a second input begins (IPv6, or another run) and reading
    stops. Raises ObservationError when the log has no such input or only a part of it.
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
            hint="did it end before it got to iptables-restore?",
        )
    chains = tuple(line.split()[1] for line in lines if line.startswith("-N "))
    return InitLog(parse_iptables_save("\n".join(lines)), chains, tuple(lines))
