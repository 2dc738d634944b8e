"""Renders netfilter rules for iptables-restore, parses them from iptables-save, compares them.

Nothing here touches the kernel. A rule is kept in the words that iptables-save prints, so what the
log shows, what the kernel holds and what a reader compares are the same text. Two spellings of one
rule (iptables-nft and iptables-legacy, abbreviations, default masks) have equal `meaning`.
"""

import shlex
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from lab.mesh.redirection.rule_meaning import Meaning, meaning

Family = Literal["ipv4", "ipv6"]
"""The address family of a rule: iptables holds ipv4, ip6tables holds ipv6."""

OWN_PREFIX: Final = "ISTIO_"
"""Every chain name of this program starts with this, as in Istio's own program."""
TABLES: Final = ("raw", "mangle", "nat", "filter")
"""The tables that can hold rules of this program, in the order in which a packet passes them."""
BUILT_IN: Final = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


class Rule(NamedTuple):
    """One rule: `spec` is what follows `-A CHAIN`, word by word, as iptables-save prints it.

    `label` names the rule within its plan; `purpose` says in a sentence what the rule is for.
    `first`: the rule goes to the head of its built-in chain, before rules of other programs. Two
    rules are equal when `chain` and `spec` are equal; the other fields do not count.
    """

    chain: str
    spec: tuple[str, ...]
    label: str = ""
    purpose: str = ""
    first: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self[:2] == other[:2]

    def __hash__(self) -> int:
        return hash(self[:2])

    @property
    def target(self) -> str:
        """Where a matching packet goes; "" for a rule that only counts packets."""
        return meaning(self.spec)[1]

    @property
    def text(self) -> str:
        """The rule as iptables-save prints it."""
        return f"-A {self.chain} {words(self.spec)}"

    def means(self, other: "Rule") -> bool:
        """Return whether both rules are in one chain and do the same, whatever their spelling."""
        return self.chain == other.chain and meaning(self.spec) == meaning(other.spec)


Chains = Mapping[str, tuple[Rule, ...]]
State = Mapping[str, Chains]
"""Table name → chain name → rules in order, both for planned and for observed rules."""


class RulePlan(NamedTuple):
    """The planned rules of one address family; rules of other programs are not in `state`."""

    family: Family
    state: State

    @property
    def rules(self) -> tuple[tuple[str, Rule], ...]:
        """Every (table, rule), in the order of rendering."""
        return tuple(
            (table, rule)
            for table, chains in self.state.items()
            for rules in chains.values()
            for rule in rules
        )


def words(spec: Iterable[str]) -> str:
    """Join the words of a rule into text, quoted so that iptables-restore reads the same words."""
    return " ".join(f'"{w}"' if not w or any(c.isspace() for c in w) else w for w in spec)


def render(state: State, *, comments: bool = False) -> str:
    """Return text for `iptables-restore --noflush` that adds the rules of `state`.

    It is for a namespace that has none of these rules yet. With `comments` every labelled rule
    carries its label as a comment, which `iptables -nvL` shows.
    """
    return "".join(
        _block(table, [*_new(chains), *_added(chains, comments)]) for table, chains in state.items()
    )


def parse(text: str) -> dict[str, dict[str, tuple[Rule, ...]]]:
    """Parse text of iptables-save or iptables-restore; return table → chain → rules.

    Built-in chains without rules are left out. Raises ValueError, with the line, for a line that is
    not a rule or a chain, for example one that deletes or flushes.
    """
    state: dict[str, dict[str, list[Rule]]] = {}
    chains: dict[str, list[Rule]] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("*"):
            chains = state.setdefault(line[1:].strip(), {})
        elif line == "COMMIT":
            chains = None
        elif chains is None:
            raise ValueError(f"line {number} is outside any table: {line}")
        else:
            _parse_line(number, line, chains)
    return {
        table: {name: tuple(rules) for name, rules in table_chains.items()}
        for table, table_chains in state.items()
    }


def marks_in(state: State) -> frozenset[str]:
    """Return the packet marks that TPROXY rules in the ISTIO_ chains of `state` set or match.

    A mark looks like `0x539/0xffffffff`. It is not enough to look at the rules that set a mark:
    when no inbound port is captured, no ISTIO_ chain sets the mark, but ISTIO_INBOUND matches it.
    """
    meanings = [
        meaning(rule.spec)
        for name, rules in state.get("mangle", {}).items()
        if name.startswith(OWN_PREFIX)
        for rule in rules
    ]
    set_there = {
        value
        for _, _, options in meanings
        for option, value in options
        if option in ("--set-xmark", "--tproxy-mark")
    }
    matched = {value for conditions, _, _ in meanings for _, option, value in conditions
               if option == "--mark"}  # fmt: skip
    return frozenset(set_there | matched)


def ours(observed: State, planned: State, marks: frozenset[str] = frozenset()) -> State:
    """Return the part of `observed` that belongs to this program.

    To it belong the chains named ISTIO_*, the rules that jump to them, the planned rules, and in
    table mangle the rules that use one of `marks` or a mark that the ISTIO_ chains use. `marks` are
    the packet marks of TPROXY mode. They are needed to find the rules of an earlier run in TPROXY
    mode.
    """
    marks = marks | marks_in(observed)
    result: dict[str, dict[str, tuple[Rule, ...]]] = {}
    for table, chains in observed.items():
        kept: dict[str, tuple[Rule, ...]] = {}
        for name, rules in chains.items():
            if name.startswith(OWN_PREFIX):
                kept[name] = rules
                continue
            expected = [meaning(rule.spec) for rule in planned.get(table, {}).get(name, ())]
            mine = tuple(r for r in rules if _is_ours(table, r, expected, marks))
            if mine:
                kept[name] = mine
        if kept:
            result[table] = kept
    return result


def differences(observed: State, planned: State) -> list[str]:
    """Return a phrase for each difference between `observed` and `planned`; [] if they are equal.

    `observed` holds only this program's rules, as `ours` returns them.
    """
    result: list[str] = []
    for table in _tables(observed, planned):
        have, want = observed.get(table, {}), planned.get(table, {})
        for chain in [*want, *(name for name in have if name not in want)]:
            if chain not in have:
                result.append(f"{table}: chain {chain} is missing")
            elif chain not in want:
                result.append(f"{table}: {_what(chain)} should not be there")
            else:
                result += _chain_differences(table, have[chain], want[chain])
    return result


def replacement(
    observed: State, planned: State, *, comments: bool = False, force: bool = False
) -> str:
    """Return text for `iptables-restore --noflush` that turns `observed` into `planned`.

    `observed` holds only this program's rules, as `ours` returns them. Without `force`, the text
    does not touch a table that is already as planned, so the table's counters are kept. Chains that
    exist are flushed and filled again in the same transaction, so that no packet meets a half-built
    table.
    """
    text = []
    for table in _tables(observed, planned):
        have, want = observed.get(table, {}), planned.get(table, {})
        if not force and not differences({table: have}, {table: want}):
            continue
        lines = [
            f"-D {rule.chain} {words(rule.spec)}"
            for name, rules in have.items()
            if not name.startswith(OWN_PREFIX)
            for rule in rules
        ]
        own = [name for name in have if name.startswith(OWN_PREFIX)]
        lines += [f"-F {name}" for name in own]
        lines += [f"-X {name}" for name in own if name not in want]
        lines += [line for line in _new(want) if line.split()[1] not in have]
        text.append(_block(table, [*lines, *_added(want, comments)]))
    return "".join(text)


def _is_ours(table: str, rule: Rule, expected: list[Meaning], marks: frozenset[str]) -> bool:
    actual = meaning(rule.spec)
    if actual in expected or actual[1].startswith(OWN_PREFIX):
        return True
    if table != "mangle":
        return False
    values = {value for _, _, value in actual[0]} | {value for _, value in actual[2]}
    return not values.isdisjoint(marks)


def _tables(*states: State) -> list[str]:
    names = {name for state in states for name in state}
    return [name for name in TABLES if name in names]


def _what(chain: str) -> str:
    return f"chain {chain}" if chain.startswith(OWN_PREFIX) else f"a rule of ours in {chain}"


def _chain_differences(table: str, have: tuple[Rule, ...], want: tuple[Rule, ...]) -> list[str]:
    observed, planned = [meaning(r.spec) for r in have], [meaning(r.spec) for r in want]
    if observed == planned:
        return []
    result = [f"{table}: missing: {r.text}" for r in want if meaning(r.spec) not in observed]
    result += [f"{table}: unexpected: {r.text}" for r in have if meaning(r.spec) not in planned]
    if result:
        return result
    name = (have or want)[0].chain
    return [f"{table}: {name} holds the right rules in another order or number"]


def _parse_line(number: int, line: str, chains: dict[str, list[Rule]]) -> None:
    if line.startswith(":"):
        name = line[1:].split()[0]
        if name not in BUILT_IN:
            chains.setdefault(name, [])
        return
    if line.startswith("["):  # counters, as `iptables-save -c` prints them
        line = line.partition("]")[2].strip()
    verb, *rest = shlex.split(line)
    if verb == "-N" and len(rest) == 1:
        chains.setdefault(rest[0], [])
    elif verb == "-A" and rest:
        chains.setdefault(rest[0], []).append(Rule(rest[0], tuple(rest[1:])))
    elif verb == "-I" and len(rest) > 1:
        index = int(rest[1]) - 1
        chains.setdefault(rest[0], []).insert(index, Rule(rest[0], tuple(rest[2:])))
    else:
        raise ValueError(f"line {number} is not a rule or a chain: {line}")


def _new(chains: Chains) -> list[str]:
    return [f"-N {name}" for name in chains if name.startswith(OWN_PREFIX)]


def _added(chains: Chains, comments: bool) -> list[str]:
    lines = []
    for name, rules in chains.items():
        for position, rule in enumerate(rules, start=1):
            spec = _commented(rule) if comments and rule.label else rule.spec
            verb = f"-I {name} {position}" if rule.first else f"-A {name}"
            lines.append(f"{verb} {words(spec)}")
    return lines


def _commented(rule: Rule) -> tuple[str, ...]:
    at = rule.spec.index("-j") if "-j" in rule.spec else len(rule.spec)
    return (*rule.spec[:at], "-m", "comment", "--comment", rule.label, *rule.spec[at:])


def _block(table: str, lines: list[str]) -> str:
    return "\n".join([f"* {table}", *lines, "COMMIT", ""])
