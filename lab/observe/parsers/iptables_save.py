"""Parser for the output of `iptables-save` (also with -c) and the input of `iptables-restore`."""

import re
import shlex
from collections.abc import Mapping

from lab.errors import ObservationError
from lab.observe.parsers.rules import read_rule
from lab.observe.readings import Chain, Rule, Table

_COUNTED = re.compile(r"\[(\d+):(\d+)\]\s+")
_CHAIN = re.compile(r":(\S+) (\S+)(?: \[(\d+):(\d+)\])?$")
BUILT_IN = {
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


def parse_rule(line: str) -> Rule:
    """Parse one `-A CHAIN …` line, also with `[packets:bytes]` before it, into canonical form.

    Raises ObservationError when the line is not a rule.
    """
    packets = bytes_ = None
    text = line.strip()
    if counted := _COUNTED.match(text):
        packets, bytes_ = int(counted[1]), int(counted[2])
        text = text[counted.end() :]
    try:
        words = shlex.split(text)
    except ValueError as bad:
        raise ObservationError(f"cannot read this rule: {line!r}") from bad
    return read_rule(words).rule(packets=packets, bytes_=bytes_)


def parse_iptables_save(text: str) -> Mapping[str, Table]:
    """Parse all tables, and return them by name; {} when the text has no table.

    A built-in chain that the text does not declare gets the policy ACCEPT; iptables-restore accepts
    such a text. Raises ObservationError for a line that is not readable.
    """
    tables: dict[str, Table] = {}
    name: str | None = None
    chains: dict[str, Chain] = {}
    rules: dict[str, list[Rule]] = {}
    for row in text.splitlines():
        line = row.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("*"):
            name, chains, rules = line[1:].strip(), {}, {}
        elif name is None:
            raise ObservationError(f"cannot read this line outside a table: {row!r}")
        elif line == "COMMIT":
            tables[name] = _table(name, chains, rules)
            name = None
        elif declared := _CHAIN.match(line):
            chain, policy, packets, size = declared.groups()
            chains[chain] = Chain(
                chain,
                policy=None if policy == "-" else policy,
                packets=int(packets) if packets else None,
                bytes=int(size) if size else None,
            )
        elif line.startswith(("-N ", "--new-chain ")):
            chain = line.split()[1]
            chains[chain] = Chain(chain)
        else:
            rule = parse_rule(line)
            rules.setdefault(rule.chain, []).append(rule)
    if name is not None:
        raise ObservationError(f"the table {name} has no COMMIT: the text is cut off")
    return tables


def _table(name: str, chains: dict[str, Chain], rules: dict[str, list[Rule]]) -> Table:
    built_in = BUILT_IN.get(name, ())
    for chain in rules:
        if chain not in chains:
            chains[chain] = Chain(chain, policy="ACCEPT" if chain in built_in else None)
    complete = (
        Chain(
            declared.name,
            declared.policy,
            tuple(rules.get(declared.name, ())),
            None,
            declared.packets,
            declared.bytes,
        )
        for declared in chains.values()
    )
    return Table(name, tuple(complete))
