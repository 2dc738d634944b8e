"""Each parser on output recorded from the real tool (net-tools 2.10, procps 4, iptables 1.8.9)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import ObservationError
from lab.observe.parsers import (
    parse_ifconfig,
    parse_init_log,
    parse_iptables_list,
    parse_iptables_save,
    parse_netstat,
    parse_ps,
    parse_route,
    parse_rule,
)
from lab.observe.readings import Listener, Process, Route, Rule, seen_from

DATA = Path(__file__).parent / "data"


def sample(name: str) -> str:
    return (DATA / name).read_text()


def test_netstat_gives_address_port_and_owner() -> None:
    assert parse_netstat(sample("netstat.txt")) == {
        Listener("0.0.0.0", 80, "nginx: master pro", 2),
        Listener("127.0.0.1", 15000, "envoy", 3),
        Listener("0.0.0.0", 15001, "envoy", 3),
        Listener("0.0.0.0", 15006, "envoy", 3),
        Listener("0.0.0.0", 15090, "envoy", 3),
        Listener("::", 8080, "envoy", 3),
    }


def test_what_netstat_may_not_see_is_unknown() -> None:
    head = "Proto Recv-Q Send-Q Local Address Foreign Address State PID/Program name\n"
    row = "tcp 0 0 0.0.0.0:15001 0.0.0.0:* LISTEN -\n"
    assert parse_netstat(head + row) == {Listener("0.0.0.0", 15001)}


def test_the_error_of_a_missing_netstat_is_not_an_empty_pod() -> None:
    with pytest.raises(ObservationError, match="executable file not found"):
        parse_netstat('exec: "netstat": executable file not found in $PATH')


def test_a_reading_from_outside_is_cut_to_what_netstat_in_one_container_shows() -> None:
    outside = {
        Listener("0.0.0.0", 80, "nginx: master process nginx -g daemon off;", 1, "nginx"),
        Listener("127.0.0.1", 15000, "envoy", 14, "istio-proxy"),
    }
    assert seen_from(outside, "nginx") == {
        Listener("0.0.0.0", 80, "nginx: master pro", 1),
        Listener("127.0.0.1", 15000),
    }
    assert seen_from(outside, "istio-proxy") == {
        Listener("0.0.0.0", 80),
        Listener("127.0.0.1", 15000, "envoy", 14),
    }


def test_ifconfig_gives_addresses_flags_and_mac() -> None:
    eth0, lo = parse_ifconfig(sample("ifconfig.txt"))
    assert (eth0.name, eth0.mtu, eth0.ipv4, eth0.address) == (
        "eth0",
        1500,
        ("10.244.7.5/24",),
        "10.244.7.5",
    )
    assert eth0.flags == {"UP", "BROADCAST", "RUNNING", "MULTICAST"}
    assert eth0.broadcast == "10.244.7.255"
    assert eth0.mac is not None
    assert eth0.ipv6[0].startswith("fe80::")
    assert eth0.tx_packets > 0
    assert (lo.name, lo.ipv4, lo.ipv6, lo.mac) == ("lo", ("127.0.0.1/8",), ("::1/128",), None)


def test_counters_do_not_make_two_readings_of_an_interface_unequal() -> None:
    text = sample("ifconfig.txt")
    assert parse_ifconfig(text) == parse_ifconfig(text.replace("TX packets ", "TX packets 9"))


def test_route_gives_the_default_route_and_the_network() -> None:
    assert parse_route(sample("route.txt")) == (
        Route("0.0.0.0/0", "10.244.7.1", "eth0", "UG"),
        Route("10.244.7.0/24", None, "eth0", "U"),
    )


def test_ps_gives_the_tree_and_whole_commands() -> None:
    found = parse_ps(sample("ps.txt"))
    assert found[1] == Process(
        2, 1, "root", "nginx: master process nginx -g daemon off; /tmp/hF/nginx.py n"
    )
    assert found[1].program == "nginx"
    assert found[2].program == "envoy"


def test_list_and_save_read_as_the_same_table() -> None:
    saved = parse_iptables_save(sample("iptables-save-c.txt"))["nat"]
    listed = parse_iptables_list(sample("iptables-nvl.txt"))
    assert listed == saved
    assert [one.packets for one in listed.rules] == [one.packets for one in saved.rules]
    assert [one.comment for one in listed.rules] == [one.comment for one in saved.rules]
    assert saved.chain("ISTIO_OUTPUT").hits == 3
    assert listed.chain("ISTIO_REDIRECT").references == 1


def test_save_knows_built_in_chains_from_made_ones() -> None:
    saved = parse_iptables_save(sample("iptables-save-c.txt"))["nat"]
    assert saved.user_chains == {
        "ISTIO_REDIRECT",
        "ISTIO_IN_REDIRECT",
        "ISTIO_INBOUND",
        "ISTIO_OUTPUT",
    }
    assert saved.chain("PREROUTING").policy == "ACCEPT"
    assert not saved.has("KUBE-SERVICES")
    assert saved.chain("KUBE-SERVICES").rules == ()


def test_the_log_of_the_init_program_holds_its_rules() -> None:
    log = parse_init_log(sample("init-log.txt"))
    assert log.chains == ("ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_INBOUND", "ISTIO_OUTPUT")
    assert log.lines[0] == "* nat"
    assert log.lines[-1] == "COMMIT"
    assert parse_rule("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-port 15001") in log.nat.rules


def test_only_the_first_of_two_texts_in_the_log_is_read() -> None:
    second = "* nat\n-A OUTPUT -d ::1/128 -j RETURN\nCOMMIT\n"
    assert parse_init_log(sample("init-log.txt") + second) == parse_init_log(sample("init-log.txt"))


def test_a_log_without_rules_or_cut_short_is_an_error() -> None:
    with pytest.raises(ObservationError, match="no rules"):
        parse_init_log("iptables: not found\n")
    with pytest.raises(ObservationError, match="cut off"):
        parse_init_log("* nat\n-N ISTIO_REDIRECT\n")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-A X -p tcp --dport 80 -j RETURN", "-A X -p tcp -m tcp --dport 80 -j RETURN"),
        ("-A X -p 6 --destination-port 80 -j RETURN", "-A X --dport 80 -p tcp -j RETURN"),
        ("-A X -j REDIRECT --to-port 1", "-A X -j REDIRECT --to-ports 1"),
        ("-A X -d 127.0.0.1 -j RETURN", "-A X --destination 127.0.0.1/32 -j RETURN"),
        ("-A X -d 0.0.0.0/0 -j RETURN", "-A X -j RETURN"),
        ("-A X -p tcp --dport ! 80 -j RETURN", "-A X -p tcp ! --dport 80 -j RETURN"),
        ("-A X -j RETURN -m comment --comment 'a b'", "-A X -j RETURN"),
        ("[5:300] -A X -o lo -s 127.0.0.6/32 -j RETURN", "-A X -s 127.0.0.6 -o lo -j RETURN"),
    ],
)
def test_ways_to_write_one_rule_are_one_rule(one: str, other: str) -> None:
    assert parse_rule(one) == parse_rule(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-A X -p tcp --dport 80 -j RETURN", "-A X -p tcp ! --dport 80 -j RETURN"),
        ("-A X -p tcp --dport 80 -j RETURN", "-A X -p udp --dport 80 -j RETURN"),
        ("-A X -j REDIRECT --to-ports 1", "-A X -j REDIRECT --to-ports 2"),
        ("-A X ! -d 0.0.0.0/0 -j RETURN", "-A X -j RETURN"),
        ("-A X -m socket -j RETURN", "-A X -j RETURN"),
        ("-A X -j Y", "-A X -g Y"),
    ],
)
def test_different_rules_stay_different(one: str, other: str) -> None:
    assert parse_rule(one) != parse_rule(other)


def test_a_detail_that_the_list_parser_does_not_know_is_kept() -> None:
    text = sample("iptables-nvl.txt").replace("owner UID match 1337", "quota: 5 bytes")
    listed = parse_iptables_list(text)
    assert any("(quota: 5 bytes)" in str(rule) for rule in listed.rules)


def test_abbreviated_counters_are_read() -> None:
    text = sample("iptables-nvl.txt").replace("    3   180 ISTIO_OUTPUT", "  12K   3M ISTIO_OUTPUT")
    rule = parse_iptables_list(text).chain("OUTPUT").rules[0]
    assert (rule.packets, rule.bytes) == (12_000, 3_000_000)


WORDS = (
    "-A",
    "-j",
    "-m",
    "-p",
    "!",
    "X",
    "--dport",
    "80",
    "-d",
    "1.2.3.4",
    "--comment",
    "tcp",
    "-g",
)
PORTS = st.integers(1, 65535)
MATCHES = st.lists(
    st.one_of(
        st.builds("-p tcp {}--dport {}".format, st.sampled_from(["", "! "]), PORTS),
        st.builds("{}-d 10.{}.0.0/16".format, st.sampled_from(["", "! "]), st.integers(0, 255)),
        st.builds("-m owner {}--uid-owner {}".format, st.sampled_from(["", "! "]), PORTS),
        st.sampled_from(["-o lo", "-i eth0", "-s 127.0.0.6/32"]),
    ),
    max_size=3,
    unique_by=lambda text: text.replace("! ", "").split()[:2][-1],
)


@given(MATCHES, st.randoms())
def test_the_order_of_matches_is_not_seen_and_the_text_reads_back(
    matches: list[str], random: object
) -> None:
    rule = parse_rule(" ".join(["-A X", *matches, "-j RETURN"]))
    shuffled = list(matches)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert parse_rule(" ".join(["-A X", *shuffled, "-j RETURN"])) == rule
    assert parse_rule(str(rule)) == rule


@given(st.text())
def test_no_text_breaks_a_parser_otherwise_than_by_its_error(text: str) -> None:
    for parse in (
        parse_netstat,
        parse_ifconfig,
        parse_route,
        parse_ps,
        parse_iptables_list,
        parse_iptables_save,
        parse_init_log,
        parse_rule,
    ):
        try:
            parse(text)
        except ObservationError as error:
            assert error.message  # noqa: PT017 - either outcome is right


@given(
    st.lists(
        st.sampled_from(
            [
                "-A",
                "-j",
                "-m",
                "-p",
                "!",
                "X",
                "--dport",
                "80",
                "-d",
                "1.2.3.4",
                "--comment",
                "tcp",
                "-g",
                "-o",
            ]
        )
    )
)
def test_no_row_of_rule_words_breaks_the_rule_parser(words: list[str]) -> None:
    try:
        assert isinstance(parse_rule(" ".join(["-A X", *words])), Rule)
    except ObservationError as error:
        assert error.message  # noqa: PT017
