"""Of the firewall, just what a daemon made is taken away: whatever others' rules say."""

import shlex
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lab.cluster.host_changes import network_rules
from lab.cluster.host_changes.network_rules import DaemonRules, Rules

PROGRAMS = ("iptables-nft", "ip6tables-nft", "iptables-legacy")
DOCKERS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""
FOREIGN = (
    "-A INPUT -s 172.17.0.0/16 -j ACCEPT",
    "-A INPUT -p tcp -m comment --comment DOCKER -j ACCEPT",
    '-A INPUT -m comment --comment "what -j DOCKER does" -j ACCEPT',
    "-A MY-DOCKER -j RETURN",
    "-A FORWARD -j MY-DOCKER",
    "-A FORWARD -s 10.0.0.0/8 -j DROP",
    "-A OUTPUT -d 172.17.0.1/32 -j LOG",
)
LATER = (
    "-A DOCKER-USER -s 192.0.2.0/24 -j DROP",
    "-A DOCKER -p tcp -j LOG",
    "-A INPUT -i docker0 -p tcp -m tcp --dport 22 -j ACCEPT",
    "-A INPUT -j DOCKER-USER",
    "-A FORWARD -o docker0 -j DOCKER",  # as the daemon's own, once more
)


class Firewall:
    """One table-wise firewall that the commands of `undo` work on as iptables would."""

    def __init__(
        self, rows: dict[tuple[str, str], list[str]], chains: set[tuple[str, ...]]
    ) -> None:
        self.rows, self.chains = rows, chains
        self.policies: dict[tuple[str, ...], str] = {}

    @classmethod
    def of(cls, found: Rules) -> "Firewall":
        made = cls({}, set())
        for chain in found.chains:
            made.chains.add((chain.program, chain.table, chain.name))
            made.policies[chain.program, chain.table, chain.name] = chain.policy
        for rule in found.rules:
            made.rows.setdefault((rule.program, rule.table), []).append(rule.text)
        return made

    def do(self, command: list[str]) -> None:
        program, wait, option, table, verb, name, *rest = command
        assert (wait, option) == ("-w", "-t")
        rows = self.rows.get((program, table), [])
        if verb == "-D":
            words = ["-A", name, *rest]
            rows.remove(next(row for row in rows if shlex.split(row) == words))
        elif verb == "-P":
            self.policies[program, table, name] = rest[0]
        else:
            assert verb == "-X"
            held = [row for row in rows if name in (row.split()[1], row.split()[-1])]
            assert not held, "iptables would refuse"
            self.chains.remove((program, table, name))


def parsed(rows: list[str], *, program: str, dockers: str = "") -> Rules:
    """Others' rules, before and between a daemon's."""
    names = {row.split()[1] for row in rows} - {"INPUT", "FORWARD", "OUTPUT"}
    own = {line[1:].split()[0] for line in dockers.splitlines() if line.startswith(":")}
    chains = [f":{one} - [0:0]" for one in sorted(names - own)]
    if not dockers:
        chains += [f":{one} ACCEPT [0:0]" for one in ("INPUT", "FORWARD", "OUTPUT")]
        return network_rules.parse({program: "\n".join(["*filter", *chains, *rows, "COMMIT"])})
    head, tail = dockers.split("-A FORWARD -j DOCKER-USER\n", 1)
    middle = "\n".join([*chains, *rows])
    text = f"{head}{middle}\n-A FORWARD -j DOCKER-USER\n{tail}"
    return network_rules.parse({program: text})


rules = st.lists(st.sampled_from(FOREIGN), max_size=8)


@given(rules, st.lists(st.sampled_from(LATER), max_size=6), st.sampled_from(PROGRAMS))
def test_whatever_others_have_stays_and_all_that_the_daemon_made_goes(
    foreign: list[str], later: list[str], program: str
) -> None:
    before = parsed(foreign, program=program)
    after = parsed(foreign, program=program, dockers=DOCKERS)
    made = network_rules.difference(before, after)
    now = parsed([*foreign, *later], program=program, dockers=DOCKERS)
    firewall = Firewall.of(now)
    for command in network_rules.undo(made, now):
        firewall.do(command)
    left = Counter(row for rows in firewall.rows.values() for row in rows)
    assert left == Counter([*foreign, *later])
    assert firewall.policies[program, "filter", "FORWARD"] == "ACCEPT"
    # A chain of Docker's stays only for what somebody put into it, or leads to it by.
    held = {word for row in left for word in (row.split()[1], row.split()[-1])}
    names = {name for _, _, name in firewall.chains if name.startswith("DOCKER")}
    assert names <= held


@given(rules)
def test_what_was_there_before_a_daemon_is_never_its_own(foreign: list[str]) -> None:
    there = parsed(foreign, program="iptables-nft", dockers=DOCKERS)
    assert network_rules.difference(there, there) == DaemonRules()


@given(rules, rules)
def test_what_others_add_while_a_daemon_starts_is_not_its_own(
    foreign: list[str], meanwhile: list[str]
) -> None:
    before = parsed(foreign, program="iptables-nft")
    after = parsed([*foreign, *meanwhile], program="iptables-nft", dockers=DOCKERS)
    made = network_rules.difference(before, after)
    assert not {one.text for one in made.rules} & set(FOREIGN)
    assert "MY-DOCKER" not in {one.name for one in made.chains}


def test_several_starts_add_up_and_the_first_policy_counts() -> None:
    empty = parsed([], program="iptables-nft")
    first = parsed([], program="iptables-nft", dockers=DOCKERS)
    more = DOCKERS.replace(
        "-A DOCKER-USER -j RETURN",
        "-A FORWARD -i docker0 -o docker0 -j ACCEPT\n-A DOCKER-USER -j RETURN",
    )
    second = parsed([], program="iptables-nft", dockers=more)
    made = network_rules.difference(empty, first).and_then(network_rules.difference(first, second))
    assert Counter(made.rules) == Counter(second.rules)
    assert [one.policy for one in made.policies] == ["ACCEPT"]


def test_a_policy_that_was_no_daemons_work_stays() -> None:
    strict = DOCKERS.replace("-A ", "#")
    before = network_rules.parse({"iptables-nft": strict})
    after = network_rules.parse({"iptables-nft": DOCKERS})
    assert network_rules.difference(before, after).policies == ()
