"""Rules as data: what is rendered is read back the same, and a difference is named."""

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.grammar.traffic_grammar import EVERYTHING, Everything, Mode
from lab.mesh.redirection.plan import plan
from lab.mesh.redirection.rule_meaning import meaning
from lab.mesh.redirection.rules import Family, differences, ours, parse, render, replacement, words
from lab.mesh.redirection.settings import Network, Settings

PORTS = st.lists(st.integers(1, 65535), max_size=6).map(tuple)
OWNERS = st.lists(st.integers(0, 2**31 - 1).map(str), min_size=1, max_size=3).map(tuple)
NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9.@]{0,14}", fullmatch=True), max_size=3).map(tuple)
NETWORKS: st.SearchStrategy[tuple[Network, ...]] = st.lists(
    st.one_of(
        st.builds(
            lambda a, p: IPv4Network((a, p), strict=False),
            st.integers(0, 2**32 - 1),
            st.integers(0, 32),
        ),
        st.builds(
            lambda a, p: IPv6Network((a, p), strict=False),
            st.integers(0, 2**128 - 1),
            st.integers(0, 128),
        ),
    ),
    max_size=4,
).map(tuple)
ALL: st.SearchStrategy[Everything] = st.just(EVERYTHING)
MODES: st.SearchStrategy[Mode] = st.sampled_from(["REDIRECT", "TPROXY"])
FAMILIES: st.SearchStrategy[Family] = st.sampled_from(["ipv4", "ipv6"])
SETTINGS = st.builds(
    Settings,
    proxy_port=st.integers(1, 65535),
    inbound_port=st.integers(1, 65535),
    tunnel_port=st.integers(1, 65535),
    proxy_uids=OWNERS,
    proxy_gids=OWNERS,
    mode=MODES,
    tproxy_mark=st.integers(1, 2**32 - 1),
    inbound_ports=st.one_of(PORTS, ALL),
    exclude_inbound_ports=PORTS,
    outbound_ranges=st.one_of(NETWORKS, ALL),
    captures_loopback=st.booleans(),
    exclude_outbound_ranges=NETWORKS,
    outbound_ports=PORTS,
    exclude_outbound_ports=PORTS,
    exclude_interfaces=NAMES,
    virtual_interfaces=NAMES,
    owner_groups=st.one_of(OWNERS, ALL),
    exclude_owner_groups=OWNERS,
    redirect_dns=st.booleans(),
    capture_all_dns=st.booleans(),
    dns_servers=st.sampled_from([(), ("10.96.0.10",), ("10.96.0.10", "fd00::a")]),
    drop_invalid=st.booleans(),
    ipv6=st.booleans(),
)


def default_table() -> str:
    """What `iptables-save -t nat` showed after Istio's program ran with the default arguments."""
    return (Path(__file__).parent / "istio-default.txt").read_text()


def test_default_plan_is_exactly_istios_list() -> None:
    want = default_table().splitlines()
    made = [rule.text for table, rule in plan(Settings()).rules if table == "nat"]
    assert sorted(made) == sorted(want)
    for chain in {line.split()[1] for line in want}:
        in_chain = [line for line in want if line.split()[1] == chain]
        assert [line for line in made if line.split()[1] == chain] == in_chain
    assert set(plan(Settings()).state) == {"nat"}


def test_log_shows_the_walkthroughs_lines_in_its_order() -> None:
    lines = render(plan(Settings()).state).splitlines()
    assert lines[:6] == [
        "* nat",
        "-N ISTIO_REDIRECT",
        "-N ISTIO_IN_REDIRECT",
        "-N ISTIO_INBOUND",
        "-N ISTIO_OUTPUT",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
    ]
    assert lines[-1] == "COMMIT"


@given(SETTINGS, FAMILIES)
def test_what_is_rendered_is_parsed_back_the_same(settings: Settings, family: Family) -> None:
    made = plan(settings, family)
    assert parse(render(made.state)) == made.state
    assert ours(made.state, made.state, settings.marks) == made.state
    assert differences(parse(render(made.state, comments=True)), made.state) == []


@given(SETTINGS, SETTINGS, FAMILIES)
def test_of_an_earlier_run_with_any_flags_only_bare_interface_rules_are_not_known_again(
    before: Settings, after: Settings, family: Family
) -> None:
    there = plan(before, family).state
    known = ours(there, plan(after, family).state, after.marks)
    for table, chains in there.items():
        for name, rules in chains.items():
            left = [rule for rule in rules if rule not in known.get(table, {}).get(name, ())]
            # Such a rule could be anybody's.
            assert all(re.fullmatch(r"(-i|-o) \S+ -j RETURN", words(r.spec)) for r in left), left


@given(SETTINGS, FAMILIES)
def test_every_rule_has_a_label_and_a_sentence(settings: Settings, family: Family) -> None:
    for _, rule in plan(settings, family).rules:
        assert rule.label.startswith("sidecar-lab:")
        assert len(rule.label) < 256  # what xt_comment holds
        assert rule.purpose.endswith(".")
        assert rule.purpose[0].isupper() or rule.purpose.startswith("localhost")


@given(SETTINGS)
def test_no_plan_captures_what_the_proxy_sends(settings: Settings) -> None:
    rules = [rule.text for t, rule in plan(settings).rules if t == "nat"]
    for kind, ids in (("uid", settings.proxy_uids), ("gid", settings.proxy_gids)):
        for owner in ids:
            guard = f"-A ISTIO_OUTPUT -m owner --{kind}-owner {owner} -j RETURN"
            captures = [n for n, text in enumerate(rules) if text.endswith("-j ISTIO_REDIRECT")]
            outgoing = [n for n in captures if rules[n].startswith("-A ISTIO_OUTPUT")]
            assert all(rules.index(guard) < n for n in outgoing)


@given(SETTINGS)
def test_without_ipv6_nothing_is_planned_for_it(settings: Settings) -> None:
    assert plan(settings._replace(ipv6=False), "ipv6").state == {}


@given(SETTINGS, SETTINGS)
def test_replacement_names_every_table_that_differs_and_no_other(
    before: Settings, after: Settings
) -> None:
    have, want = plan(before).state, plan(after).state
    text = replacement(have, want)
    touched = {line[2:] for line in text.splitlines() if line.startswith("* ")}
    differing = {
        table
        for table in {*have, *want}
        if differences({table: have.get(table, {})}, {table: want.get(table, {})})
    }
    assert touched == differing


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-p tcp --dport 80 -j RETURN", "-p tcp -m tcp --dport 80 -j RETURN"),
        ("-o lo -s 127.0.0.6/32 -j RETURN", "-s 127.0.0.6 -o lo -j RETURN"),
        ("-p 6 -j REDIRECT --to-port 15001", "-p tcp -j REDIRECT --to-ports 15001"),
        ("-d 10.1.2.3/8 -j RETURN", "--destination 10.0.0.0/8 --jump RETURN"),
        ("-d 0.0.0.0/0 -j RETURN", "-j RETURN"),
        ("-j MARK --set-mark 1337", "-j MARK --set-xmark 0x539/0xffffffff"),
        ("-m mark --mark 1337 -j RETURN", "-m mark --mark 0x539 -j RETURN"),
        ("-j CONNMARK --save-mark", "-j CONNMARK --save-mark --nfmask 0xffffffff"),
        ('-j RETURN -m comment --comment "of ours"', "-j RETURN"),
        (
            "-m conntrack --ctstate ESTABLISHED,RELATED",
            "-m conntrack --ctstate RELATED,ESTABLISHED",
        ),
    ],
)
def test_two_spellings_of_a_rule_mean_the_same(one: str, other: str) -> None:
    first, second = (parse(f"*nat\n-A X {text}\nCOMMIT")["nat"]["X"][0] for text in (one, other))
    assert first.means(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-p tcp -j RETURN", "-p udp -j RETURN"),
        ("! -d 10.0.0.0/8 -j RETURN", "-d 10.0.0.0/8 -j RETURN"),
        ("! -d 0.0.0.0/0 -j RETURN", "-j RETURN"),
        ("-j REDIRECT --to-ports 15001", "-j REDIRECT --to-ports 15006"),
        ("-m owner --uid-owner 1337 -j RETURN", "-m owner --gid-owner 1337 -j RETURN"),
        ("-j RETURN", "-j ACCEPT"),
    ],
)
def test_two_different_rules_do_not_mean_the_same(one: str, other: str) -> None:
    assert meaning(one.split()) != meaning(other.split())


def test_save_output_with_counters_policies_and_strangers_is_read() -> None:
    text = """# Generated by iptables-nft-save v1.8.9
*nat
:PREROUTING ACCEPT [1:2]
:ISTIO_INBOUND - [0:0]
[3:180] -A PREROUTING -p tcp -j ISTIO_INBOUND
-A PREROUTING -m comment --comment "a stranger's rule" -j ACCEPT
-A ISTIO_INBOUND -p tcp -j RETURN
COMMIT
# Completed
"""
    state = parse(text)
    assert [r.target for r in state["nat"]["PREROUTING"]] == ["ISTIO_INBOUND", "ACCEPT"]
    mine = ours(state, {})
    assert [r.target for r in mine["nat"]["PREROUTING"]] == ["ISTIO_INBOUND"]


@pytest.mark.parametrize("text", ["-A X -j RETURN", "*nat\nrubbish\nCOMMIT", "*nat\n-X Y"])
def test_text_that_describes_no_state_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        parse(text)


def test_each_kind_of_difference_is_named() -> None:
    want = plan(Settings()).state
    lines = render(want)
    cases = {
        "missing: -A ISTIO_REDIRECT": lines.replace(
            "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n", ""
        ),
        "unexpected: -A ISTIO_OUTPUT -p udp": lines.replace(
            "COMMIT", "-A ISTIO_OUTPUT -p udp -j RETURN\nCOMMIT"
        ),
        "chain PREROUTING is missing": lines.replace("-A PREROUTING -p tcp -j ISTIO_INBOUND\n", ""),
        "chain ISTIO_OLD should not be there": lines.replace("COMMIT", "-N ISTIO_OLD\nCOMMIT"),
        "another order": lines.replace("--dport 15090", "--dport X")
        .replace("--dport 15021", "--dport 15090")
        .replace("--dport X", "--dport 15021"),
    }
    for sentence, text in cases.items():
        found = differences(parse(text), want)
        assert len(found) == 1, found
        assert sentence in found[0]
