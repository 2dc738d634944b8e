"""Which firewall rules a Docker daemon made, by a comparison; and the commands that undo just them.

Pure: texts of `iptables-save` in, commands out. A rule is the daemon's when it was not there before
the daemon started and speaks of what came with it: a chain of Docker's that is new, or `docker0`.
Everything else, whatever words it holds, is somebody's, and so is a set of rules as a whole:
nothing is ever restored.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

PREFIX = "DOCKER"
"""How the names of the chains that the daemon makes begin."""
BRIDGE = "docker0"
_JUMPS = ("-j", "-g", "--jump", "--goto")
_INTERFACES = ("-i", "-o", "--in-interface", "--out-interface")


@dataclass(frozen=True, order=True)
class Chain:
    """One chain. `program` is the iptables that shows it, `policy` "-" for one of no policy."""

    program: str
    table: str
    name: str
    policy: str = "-"


@dataclass(frozen=True, order=True)
class Rule:
    """One rule, as `iptables-save` writes it (`-A CHAIN …`)."""

    program: str
    table: str
    text: str

    @property
    def words(self) -> list[str]:
        """The rule as arguments."""
        return shlex.split(self.text)

    @property
    def chain(self) -> str:
        """The chain that it stands in."""
        return self.words[1]

    @property
    def target(self) -> str:
        """The chain or target that it leads to; "" without one."""
        return _after(self.words, _JUMPS)[-1] if _after(self.words, _JUMPS) else ""


@dataclass(frozen=True)
class Rules:
    """Everything that the programs show, in their order."""

    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Made:
    """What a daemon made: rules, chains, and chains whose policy it changed (as they were)."""

    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    policies: tuple[Chain, ...] = ()

    def and_then(self, later: "Made") -> "Made":
        """With what a later start of the daemon made beside it."""
        known = {_key(one) for one in self.policies}
        fresh = tuple(one for one in later.policies if _key(one) not in known)
        return Made(
            self.chains + tuple(one for one in later.chains if one not in self.chains),
            self.rules + later.rules,
            self.policies + fresh,
        )


def parse(saved: Mapping[str, str]) -> Rules:
    """Program → its `iptables-save` text, as Rules. Counters and comments are left out."""
    chains: list[Chain] = []
    rules: list[Rule] = []
    for program, text in saved.items():
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:].strip()
            elif line.startswith(":"):
                name, policy, *_ = line[1:].split()
                chains.append(Chain(program, table, name, policy))
            elif line.startswith("-A "):
                rules.append(Rule(program, table, line.strip()))
    return Rules(tuple(chains), tuple(rules))


def difference(before: Rules, after: Rules) -> Made:
    """What a daemon that was started in between made."""
    known = {_key(one): one.policy for one in before.chains}
    fresh = [one for one in after.chains if _key(one) not in known]
    # A table that nobody used has no chains; the first rule brings the built-in ones along.
    chains = [one for one in fresh if one.name.startswith(PREFIX) or one.policy != "-"]
    dockers = {_key(one) for one in chains if one.policy == "-"}
    left = Counter(before.rules)
    rules = []
    for one in after.rules:
        if left[one] > 0:
            left[one] -= 1
        elif _is_the_daemons(one, dockers):
            rules.append(one)
    policies = [
        Chain(one.program, one.table, one.name, was)
        for one in after.chains
        if (was := known.get(_key(one), "ACCEPT")) != one.policy
        and one.name == "FORWARD"
        and one.policy != "-"
    ]
    return Made(tuple(chains), tuple(rules), tuple(policies))


def _is_the_daemons(rule: Rule, dockers: set[tuple[str, str, str]]) -> bool:
    return (
        (rule.program, rule.table, rule.chain) in dockers
        or (rule.program, rule.table, rule.target) in dockers
        or BRIDGE in _after(rule.words, _INTERFACES)
    )


def undo(made: Made, now: Rules) -> list[list[str]]:
    """The commands that take away what was made and is still there, in their order.

    A chain that holds, or is held by, what is somebody else's stays, and that with it.
    """
    there = Counter(now.rules)
    gone: Counter[Rule] = Counter()
    commands = []
    for rule in reversed(made.rules):
        if there[rule] - gone[rule] > 0:
            gone[rule] += 1
            words = rule.words
            commands.append([rule.program, "-w", "-t", rule.table, "-D", *words[1:]])
    stays = there - gone
    for was in made.policies:
        current = [one for one in now.chains if _same(one, was)]
        # Only where it is what the daemon made of it.
        if current and current[0].policy == "DROP" and was.policy == "ACCEPT":
            commands.append([was.program, "-w", "-t", was.table, "-P", was.name, was.policy])
    for chain in made.chains:
        if any(_same(one, chain) for one in now.chains) and not _in_use(chain, stays):
            commands.append([chain.program, "-w", "-t", chain.table, "-X", chain.name])
    return commands


def _in_use(chain: Chain, rules: Iterable[Rule]) -> bool:
    return any(
        (one.program, one.table) == (chain.program, chain.table)
        and chain.name in (one.chain, one.target)
        for one in rules
    )


def _key(one: Chain) -> tuple[str, str, str]:
    return one.program, one.table, one.name


def _same(one: Chain, two: Chain) -> bool:
    return _key(one) == _key(two)


def _after(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words that follow one of the options."""
    return [word for option, word in pairwise(words) if option in options]
