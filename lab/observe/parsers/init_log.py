"""The init container's log: the texts that it gave to iptables-restore, as rules."""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import ObservationError
from lab.observe.parsers.iptables_save import parse_iptables_save
from lab.observe.readings import Table


@dataclass(frozen=True)
class InitLog:
    """What the log says was given to iptables-restore, first (IPv4) text only.

    `tables` by name. `made` are the chains in the order in which they were made ("-N").
    `lines` are the text's own lines, from "* nat" to the last "COMMIT", as printed.
    """

    tables: Mapping[str, Table]
    made: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def nat(self) -> Table:
        """The nat table's part; without chains when the log has none."""
        return self.tables.get("nat", Table("nat"))


def parse_init_log(log: str) -> InitLog:
    """Find the restore text in the log. Raises ObservationError when there is none, or half.

    A table that comes twice belongs to the second text (IPv6, or a run again): reading ends
    there.
    """
    lines: list[str] = []
    seen: set[str] = set()
    inside = False
    for row in log.splitlines():
        line = row.strip()
        if not inside and line.startswith("*"):
            name = line[1:].strip()
            if not name.isalpha():
                continue
            if name in seen:
                break
            seen.add(name)
            inside = True
        if inside:
            lines.append(line)
            inside = line != "COMMIT"
    if not lines:
        raise ObservationError(
            f"no rules in the log of the init container: {log.strip()[-300:]!r}",
            hint="did it end before it got to iptables-restore?",
        )
    made = tuple(line.split()[1] for line in lines if line.startswith("-N "))
    return InitLog(parse_iptables_save("\n".join(lines)), made, tuple(lines))
