"""`iptables -nvL -t TABLE`: the reader's view, turned into the same rules as iptables-save's."""

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
    # a rule without a target leaves its column blank
    r"(?:(?P<target>[^\s]+)\s+)??(?P<protocol>!?\w[\w-]*)\s+(?P<opt>--|-f|!f)\s+"
    r"(?P<in>\S+)\s+(?P<out>\S+)\s+(?P<source>\S+)\s+(?P<destination>\S+)\s*(?P<rest>.*)"
)


def parse_iptables_list(text: str, table: str = "nat") -> Table:
    """The chains with counters and references; `table` is the name that was asked for.

    A detail of an extension that is not known here becomes a match in parentheses, so that
    it is seen and makes the rule unequal rather than being lost.
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
        if made := _USER.match(row):
            close()
            chains.append(Chain(made[1], references=int(made[2])))
        elif built_in := _BUILT_IN.match(row):
            close()
            name, policy, packets, size = built_in.groups()
            chains.append(Chain(name, policy, packets=count(packets), bytes=count(size)))
        elif not row.strip() or row.split()[:2] == ["pkts", "bytes"] or row.startswith("#"):
            continue
        elif chains and (seen := _ROW.fullmatch(row)):
            rules.append(_rule(chains[-1].name, seen))
        else:
            raise unread("iptables -nvL", row)
    close()
    if not chains:
        raise ObservationError(f"no chain in: {text.strip()[:300]!r}")
    return Table(table, tuple(chains))


def _rule(chain: str, seen: re.Match[str]) -> Rule:
    draft = Draft(chain, target=seen["target"])
    for option, column in (
        ("-s", "source"),
        ("-d", "destination"),
        ("-i", "in"),
        ("-o", "out"),
        ("-p", "protocol"),
    ):
        negated = seen[column].startswith("!")
        draft.match(option, [seen[column].removeprefix("!")], negated=negated)
    _extensions(draft, seen["rest"].strip())
    draft.options.sort()
    return draft.rule(packets=count(seen["packets"]), bytes_=count(seen["bytes"]))


def _extensions(draft: Draft, rest: str) -> None:
    while rest:
        for shape, read in _SHAPES:
            if found := shape.match(rest):
                read(draft, found)
                rest = rest[found.end() :].lstrip()
                break
        else:
            draft.match("?", [f"({rest})"])
            return


def _ports(draft: Draft, found: re.Match[str]) -> None:
    option = "--dport" if found["way"] == "d" else "--sport"
    draft.match(option, [found["ports"]], negated=bool(found["no"]))


def _owner(draft: Draft, found: re.Match[str]) -> None:
    draft.match(f"--{found['what'].lower()}-owner", [found["id"]], negated=bool(found["no"]))


def _named(option: str) -> Callable[[Draft, re.Match[str]], None]:
    def read(draft: Draft, found: re.Match[str]) -> None:
        draft.match(option, [found["value"]], negated=bool(found["no"]))

    return read


def _multiport(draft: Draft, found: re.Match[str]) -> None:
    draft.match(f"--{found['way']}", [found["value"]], negated=bool(found["no"]))


def _comment(draft: Draft, found: re.Match[str]) -> None:
    draft.comment = found["value"]


def _goto(draft: Draft, found: re.Match[str]) -> None:
    draft.goto = True


def _option(text: str) -> Callable[[Draft, re.Match[str]], None]:
    def read(draft: Draft, found: re.Match[str]) -> None:
        draft.options.append(text.format(**found.groupdict()))

    return read


def _tproxy(draft: Draft, found: re.Match[str]) -> None:
    draft.options.append(f"--on-port {found['port']}")
    draft.options.append(f"--on-ip {found['ip']}")
    draft.options.append(f"--tproxy-mark {found['mark']}")


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
