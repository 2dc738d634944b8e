"""Finds the firewall rules that a Docker daemon added; makes commands that remove only these.

The functions do no I/O: they take texts of `iptables-save` and return commands. A rule is the
daemon's if it was added since the daemon started and refers to a new chain of Docker's or to the
interface `docker0`. Every other rule belongs to somebody else. So the earlier set of rules is never
restored as a whole: that would remove rules that others added meanwhile.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

PREFIX = "DOCKER"
"""The names of Docker's chains begin with this prefix."""
BRIDGE = "docker0"
_JUMPS = ("-j", "-g", "--jump", "--goto")
_INTERFACES = ("-i", "-o", "--in-interface", "--out-interface")


@dataclass(frozen=True, order=True)
class Chain:
    """One chain. `program`: the iptables variant that lists it. `policy`: "-" if it has none."""

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
        """The rule as a list of iptables arguments."""
        return shlex.split(self.text)

    @property
    def chain(self) -> str:
        """The chain that contains the rule."""
        return self.words[1]

    @property
    def target(self) -> str:
        """The chain or target that the rule jumps to; "" if the rule does not jump."""
        return _after(self.words, _JUMPS)[-1] if _after(self.words, _JUMPS) else ""


@dataclass(frozen=True)
class Rules:
    """All chains and rules that the iptables variants list, in the order of their lists."""

    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class DaemonRules:
    """What the daemon changed in the firewall: the chains and rules that it added, and policies.

    `policies`: the chains whose policy the daemon changed, each with its earlier policy.
    """

    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    policies: tuple[Chain, ...] = ()

    def and_then(self, later: "DaemonRules") -> "DaemonRules":
        """Returns these changes and those of a later start of the daemon (`later`) as one."""
        known = {_key(chain) for chain in self.policies}
        policies = tuple(chain for chain in later.policies if _key(chain) not in known)
        return DaemonRules(
            self.chains + tuple(chain for chain in later.chains if chain not in self.chains),
            self.rules + later.rules,
            self.policies + policies,
        )


def parse(saved: Mapping[str, str]) -> Rules:
    """Parses outputs of `iptables-save`; leaves out counters and comment lines.

    `saved`: iptables variant (iptables-nft, …) → the output of its `-save` program.
    """
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


def difference(before: Rules, after: Rules) -> DaemonRules:
    """Returns what the daemon added. `before` and `after`: the rules before and after its start."""
    known = {_key(chain): chain.policy for chain in before.chains}
    new = [chain for chain in after.chains if _key(chain) not in known]
    # An unused table has no chains; its first rule brings the built-in ones along.
    chains = [chain for chain in new if chain.name.startswith(PREFIX) or chain.policy != "-"]
    dockers = {_key(chain) for chain in chains if chain.policy == "-"}
    left = Counter(before.rules)
    rules = []
    for rule in after.rules:
        if left[rule] > 0:
            left[rule] -= 1
        elif _is_the_daemons(rule, dockers):
            rules.append(rule)
    policies = [
        Chain(chain.program, chain.table, chain.name, was)
        for chain in after.chains
        if (was := known.get(_key(chain), "ACCEPT")) != chain.policy
        and chain.name == "FORWARD"
        and chain.policy != "-"
    ]
    return DaemonRules(tuple(chains), tuple(rules), tuple(policies))


def _is_the_daemons(rule: Rule, dockers: set[tuple[str, str, str]]) -> bool:
    return (
        (rule.program, rule.table, rule.chain) in dockers
        or (rule.program, rule.table, rule.target) in dockers
        or BRIDGE in _after(rule.words, _INTERFACES)
    )


def undo(added: DaemonRules, now: Rules) -> list[list[str]]:
    """Returns the commands that remove those of the daemon's additions that still exist, in order.

    If somebody else's rule is in a chain or jumps to it, both the chain and that rule stay.
    """
    present = Counter(now.rules)
    removed: Counter[Rule] = Counter()
    commands = []
    for rule in reversed(added.rules):
        if present[rule] - removed[rule] > 0:
            removed[rule] += 1
            words = rule.words
            commands.append([rule.program, "-w", "-t", rule.table, "-D", *words[1:]])
    stays = present - removed
    for was in added.policies:
        current = [chain for chain in now.chains if _same(chain, was)]
        # Only if the policy is still the one that the daemon set.
        if current and current[0].policy == "DROP" and was.policy == "ACCEPT":
            commands.append([was.program, "-w", "-t", was.table, "-P", was.name, was.policy])
    for chain in added.chains:
        if any(_same(other, chain) for other in now.chains) and not _in_use(chain, stays):
            commands.append([chain.program, "-w", "-t", chain.table, "-X", chain.name])
    return commands


def _in_use(chain: Chain, rules: Iterable[Rule]) -> bool:
    return any(
        (rule.program, rule.table) == (chain.program, chain.table)
        and chain.name in (rule.chain, rule.target)
        for rule in rules
    )


def _key(chain: Chain) -> tuple[str, str, str]:
    return chain.program, chain.table, chain.name


def _same(first: Chain, second: Chain) -> bool:
    return _key(first) == _key(second)


def _after(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Returns every word that directly follows one of the options."""
    return [word for option, word in pairwise(words) if option in options]
