"""Flags and environment of istio-iptables: what injection gives, and how a bad value is told."""

import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.errors import SettingError
from lab.mesh.redirection.options import RedirectionOptions, parse
from lab.mesh.redirection.settings import Settings

INJECTED = [
    *("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"),
    *("-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"),
]


@pytest.mark.parametrize("nothing", ["", '""', "''"])
def test_the_injected_arguments_are_the_default_settings(nothing: str) -> None:
    argv = [nothing if word == "" else word for word in INJECTED]
    assert parse(argv, {}) == RedirectionOptions(Settings())


def test_long_names_mean_the_same_as_short_ones() -> None:
    argv = [
        "--envoy-port=15001",
        "--inbound-capture-port=15006",
        "--proxy-uid=1337",
        "--istio-inbound-interception-mode=REDIRECT",
        "--istio-service-cidr=*",
        "--istio-service-exclude-cidr=",
        "--istio-inbound-ports=*",
        "--istio-local-exclude-ports=15090,15021,15020",
    ]
    assert parse(argv, {}) == parse(INJECTED, {})


def test_without_flags_nothing_is_captured_as_with_istio() -> None:
    settings = parse([], {}).settings
    assert settings.inbound_ports == ()
    assert settings.outbound_ranges == ()
    assert settings.exclude_inbound_ports == ()


def test_the_environment_fills_in_and_a_flag_wins() -> None:
    env = {
        "INBOUND_CAPTURE_PORT": "16006",
        "ISTIO_INBOUND_PORTS": "80, 443",
        "ISTIO_SERVICE_CIDR": "10.1.2.3/8,fd00::/8",
        "ISTIO_OUTBOUND_OWNER_GROUPS": "202,203",
        "INVALID_DROP": "true",
    }
    settings = parse(["-p", "17001"], env).settings
    assert settings.proxy_port == 17001
    assert settings.inbound_port == 16006
    assert parse(["-z", "17006"], env).settings.inbound_port == 17006
    assert settings.inbound_ports == (80, 443)
    assert settings.outbound_ranges == (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8"))
    assert settings.owner_groups == ("202", "203")
    assert settings.drop_invalid


def test_the_group_follows_the_user_unless_given() -> None:
    assert parse(["-u", "1000"], {}).settings.proxy_gids == ("1000",)
    assert parse(["-u", "1000", "-g", "2000"], {}).settings.proxy_gids == ("2000",)


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["-p", "0"], ["-p/--envoy-port", "1 to 65535", "'0'"]),
        (["-z", "http"], ["-z/--inbound-capture-port", "a port", "http"]),
        (["-u", "istio-proxy"], ["-u/--proxy-uid", "1337", "istio-proxy"]),
        (["-u", "4294967295"], ["-u/--proxy-uid", "at most 4294967294"]),
        (["-g", "20-10"], ["-g/--proxy-gid", "20-10"]),
        (["-m", "redirect"], ["-m/--istio-inbound-interception-mode", "REDIRECT or TPROXY"]),
        (["-b", "80,x"], ["-b/--istio-inbound-ports", "a port", "'x'"]),
        (["-d", "*"], ["-d/--istio-local-exclude-ports", "'*'"]),
        (["-i", "10.0.0.0"], ["-i/--istio-service-cidr", "10.0.0.0/8"]),
        (["-x", "*"], ["-x/--istio-service-exclude-cidr", "a range"]),
        (["-x", "10.0.0.0/33"], ["-x/--istio-service-exclude-cidr", "10.0.0.0/33"]),
        (["-q", "70000"], ["-q/--istio-outbound-ports", "70000"]),
        (["-o", "-1"], ["-o/--istio-local-outbound-ports-exclude"]),
        (["-c", "a-name-that-is-too-long"], ["-c/--istio-exclude-interfaces", "15"]),
        (["-k", "a/b"], ["-k/--kube-virt-interfaces", "a/b"]),
        (["-t", "0"], ["-t/--istio-inbound-tproxy-mark", "packet mark"]),
        (["-r", "main"], ["-r/--istio-inbound-tproxy-route-table", "main"]),
        (["--drop-invalid=maybe"], ["--drop-invalid", "true or false"]),
        (["--probe-timeout", "soon"], ["--probe-timeout", "5s"]),
        (["--network-namespace", "/no/such"], ["--network-namespace", "/no/such", "ns/net"]),
        (["--force-iptables-binary", "nft"], ["--force-iptables-binary is not implemented"]),
        (["-p", ""], ["-p/--envoy-port", "a port", "''"]),
        (["-z", "015006"], ["-z/--inbound-capture-port", "a port"]),
        (["-t", "0x539"], ["-t/--istio-inbound-tproxy-mark", "a packet mark", "0x539"]),
        (["-i", "10.0.0.0/255.0.0.0"], ["-i/--istio-service-cidr", "10.0.0.0/8"]),
        (["-i", "10.0.0.0/08"], ["-i/--istio-service-cidr", "10.0.0.0/8"]),
        (["-c", "+"], ["-c/--istio-exclude-interfaces", "'+'"]),
        (["--probe-timeout", "5"], ["--probe-timeout", "5s"]),
        (["--dual-stack="], ["--dual-stack", "true or false"]),
        (["--iptables-trace-logging"], ["--iptables-trace-logging is not implemented"]),
        (["--no-such-flag"], ["--no-such-flag"]),
        (["stray"], ["stray"]),
    ],
)
def test_a_bad_flag_is_named_with_value_and_expectation(argv: list[str], names: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        parse(argv, {})
    for part in names:
        assert part in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ({"INBOUND_CAPTURE_PORT": "x"}, "$INBOUND_CAPTURE_PORT"),
        ({"ISTIO_OUTBOUND_OWNER_GROUPS": "no-such-group"}, "no-such-group"),
        ({"ISTIO_OUTBOUND_OWNER_GROUPS": ",".join(map(str, range(65)))}, "at most 64"),
        ({"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "10.0.0.0/8"}, "127.0.0.0/8"),
    ],
)
def test_a_bad_variable_is_named(env: dict[str, str], part: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse([], env)
    assert next(iter(env)) in caught.value.message
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("env", "captured"),
    [
        ({"REDIRECT_DNS": "true"}, True),
        ({"ISTIO_META_DNS_CAPTURE": "true"}, True),
        ({"REDIRECT_DNS": "true", "ISTIO_META_DNS_CAPTURE": "false"}, False),
        ({"REDIRECT_DNS": ""}, False),
    ],
)
def test_the_second_variable_of_a_flag_counts(env: dict[str, str], captured: bool) -> None:
    assert parse([], env).settings.redirect_dns is captured


@pytest.mark.parametrize(
    ("ranges", "loopback"),
    [("*", False), ("10.0.0.0/8", False), ("10.0.0.0/8,127.0.0.1/4", True), ("::1/64", True)],
)
def test_a_range_written_with_a_loopback_address_is_told(ranges: str, loopback: bool) -> None:
    assert parse(["-i", ranges], {}).settings.captures_loopback is loopback


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_a_time_is_written_as_in_go(text: str, seconds: float) -> None:
    assert parse(["--probe-timeout", text], {}).probe_timeout == seconds


def test_a_range_of_one_id_is_that_id() -> None:
    assert parse(["-u", "1337-1337,20-30"], {}).settings.proxy_uids == ("1337", "20-30")


@given(
    st.lists(
        st.sampled_from(["-p", "-i", "-b", "-x", "-t", "-u", "*", "80", "10.0.0.0/8", "", "é"])
    )
)
def test_any_words_give_settings_or_a_named_refusal(argv: list[str]) -> None:
    try:
        parse(argv, {})
    except SettingError as refused:
        assert refused.message  # noqa: PT017  either outcome is right; a traceback is not


def test_help_shows_every_flag_examples_and_exit_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.mesh.redirection", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for part in ("istio-iptables", "-p", "--run-validation", "examples:", "exit codes:", "126"):
        assert part in done.stdout


def test_a_bad_value_exits_2_before_anything_is_touched() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.mesh.redirection", "-p", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "-p/--envoy-port" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
