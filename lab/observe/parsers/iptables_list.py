"""Parser for the output of `iptables -nvL -t TABLE`.

Its rules are equal to those that the parser for iptables-save reads from the same table.
"""

import re
from collections.abc import Callable

from lab.errors import ObservationError
from lab.observe.parsers.rules import Draft
from lab.observe.parsers.text import count, unread
from lab.observe.readings import Chain, Rule, Table

_USER = re.compile(r"Chain (\S+) \((\d+) references\)")
_BUILT_IN = re.compile(r"Chain (\S+) \(policy (\S+) (\S+) packets, (\S+) bytes\)")
_ROW = re.compile(
    r"\s*(?P<packets>\d+[KMGT]?)\s+(?P<bytes>\d+[KMGT]?)\s+"
    # the column is blank for a rule without a target
    r"(?:(?P<target>[^\s]+)\s+)??(?P<protocol>!?\w[\w-]*)\s+(?P<opt>--|-f|!f)\s+"
    r"(?P<in>\S+)\s+(?P<out>\S+)\s+(?P<source>\S+)\s+(?P<destination>\S+)\s*(?P<rest>.*)"
)


def parse_iptables_list(text: str, table: str = "nat") -> Table:
    """Parse the chains of one table, with counters and references.

    `table` is the table's name, which the output does not contain. Details of an unknown extension
    become a match in parentheses, so that they are not lost. Raises ObservationError for a line
    that is not readable, and for a text without a chain.
    """
    chains: list[Chain] = []
    rules: list[Rule] = []

    def close() -> None:
        if chains:
            last = chains[-1]
            chains[-1] = Chain(
                last.name, last.policy, tuple(rules), last.references, last.packets, last.bytes
            )
            rules.clear()

    for row in text.splitlines():
        if user_chain := _USER.match(row):
            close()
            chains.append(Chain(user_chain[1], references=int(user_chain[2])))
        elif built_in := _BUILT_IN.match(row):
            close()
            name, policy, packets, size = built_in.groups()
            chains.append(Chain(name, policy, packets=count(packets), bytes=count(size)))
        elif not row.strip() or row.split()[:2] == ["pkts", "bytes"] or row.startswith("#"):
            continue
        elif chains and (fields := _ROW.fullmatch(row)):
            rules.append(_rule(chains[-1].name, fields))
        else:
            raise unread("iptables -nvL", row)
    close()
    if not chains:
        raise ObservationError(f"no chain in the output of iptables -nvL: {text.strip()[:300]!r}")
    return Table(table, tuple(chains))


def _rule(chain: str, fields: re.Match[str]) -> Rule:
    draft = Draft(chain, target=fields["target"])
    for option, column in (
        ("-s", "source"),
        ("-d", "destination"),
        ("-i", "in"),
        ("-o", "out"),
        ("-p", "protocol"),
    ):
        negated = fields[column].startswith("!")
        draft.match(option, [fields[column].removeprefix("!")], negated=negated)
    _extensions(draft, fields["rest"].strip())
    draft.options.sort()
    return draft.rule(packets=count(fields["packets"]), bytes_=count(fields["bytes"]))


def _extensions(draft: Draft, rest: str) -> None:
    while rest:
        for shape, read in _SHAPES:
            if fields := shape.match(rest):
                read(draft, fields)
                rest = rest[fields.end() :].lstrip()
                break
        else:
            draft.match("?", [f"({rest})"])
            return


def _ports(draft: Draft, fields: re.Match[str]) -> None:
    option = "--dport" if fields["way"] == "d" else "--sport"
    draft.match(option, [fields["ports"]], negated=bool(fields["no"]))


def _owner(draft: Draft, fields: re.Match[str]) -> None:
    draft.match(f"--{fields['what'].lower()}-owner", [fields["id"]], negated=bool(fields["no"]))


def _named(option: str) -> Callable[[Draft, re.Match[str]], None]:
    def read(draft: Draft, fields: re.Match[str]) -> None:
        draft.match(option, [fields["value"]], negated=bool(fields["no"]))

    return read


def _multiport(draft: Draft, fields: re.Match[str]) -> None:
    draft.match(f"--{fields['way']}", [fields["value"]], negated=bool(fields["no"]))


def _comment(draft: Draft, fields: re.Match[str]) -> None:
    draft.comment = fields["value"]


def _goto(draft: Draft, fields: re.Match[str]) -> None:
    draft.goto = True


def _option(text: str) -> Callable[[Draft, re.Match[str]], None]:
    def read(draft: Draft, fields: re.Match[str]) -> None:
        draft.options.append(text.format(**fields.groupdict()))

    return read


def _tproxy(draft: Draft, fields: re.Match[str]) -> None:
    draft.options.append(f"--on-port {fields['port']}")
    draft.options.append(f"--on-ip {fields['ip']}")
    draft.options.append(f"--tproxy-mark {fields['mark']}")


_SHAPES: tuple[tuple[re.Pattern[str], Callable[[Draft, re.Match[str]], None]], ...] = (
    (re.compile(r"(?:tcp|udp) (?P<way>[ds])pts?:(?P<no>!?)(?P<ports>[\d:]+)"), _ports),
    (re.compile(r"(?P<way>[ds])pts?:(?P<no>!?)(?P<ports>[\d:]+)"), _ports),
    (re.compile(r"(?P<no>! ?)?owner (?P<what>UID|GID) match (?P<id>\S+)"), _owner),
    (re.compile(r"multiport (?P<way>dports|sports|ports) (?P<no>! ?)?(?P<value>\S+)"), _multiport),
    (re.compile(r"(?P<no>! ?)?ctstate (?P<value>\S+)"), _named("--ctstate")),
    (re.compile(r"(?P<no>! ?)?connmark match\s+(?P<value>\S+)"), _named("--mark")),
    (re.compile(r"(?P<no>! ?)?mark match (?P<value>\S+)"), _named("--mark")),
    (re.compile(r"redir ports (?P<ports>\S+)"), _option("--to-ports {ports}")),
    (re.compile(r"MARK set (?P<value>\S+)"), _option("--set-xmark {value}/0xffffffff")),
    (re.compile(r"CT zone (?P<value>\S+)"), _option("--zone {value}")),
    (
        re.compile(r"TPROXY redirect (?P<ip>[^:\s]+):(?P<port>\d+) mark (?P<mark>\S+)"),
        _tproxy,
    ),
    (re.compile(r"/\* (?P<value>.*?) \*/"), _comment),
    (re.compile(r"\[goto\]"), _goto),
)
