"""istio-iptables on the real kernel: what it leaves behind, run again, broken, without rights."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lab.mesh.redirection.options import parse as parse_options
from lab.mesh.redirection.plan import plan
from lab.mesh.redirection.rules import render
from tests.dataplane import everyones
from tests.dataplane.everyones import ROOT
from tests.dataplane.world import INJECTED, Namespace, iptables

pytestmark = pytest.mark.dataplane

ISTIO_DEFAULT = (ROOT / "tests/unit/mesh/redirection/istio-default.txt").read_text().splitlines()
LEAST_RIGHTS = (
    "setpriv",
    "--inh-caps=-all,+net_admin,+net_raw",
    "--bounding-set=-all,+net_admin,+net_raw",
    "--no-new-privs",
)
READ_ONLY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none /run && exec "$@"', "sh")
"""A mount namespace in which /run, with the usual lock file, cannot be written."""


@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_the_kernel_holds_exactly_istios_rules(pod: Namespace, kind: str) -> None:
    if kind == "legacy":  # chosen where somebody already uses it
        pod.run("iptables-legacy", "-A", "INPUT", "-j", "ACCEPT")
    log = pod.program().stdout
    saved = pod.saved(kind=kind)
    for chain in {line.split()[1] for line in ISTIO_DEFAULT}:
        in_chain = [line for line in ISTIO_DEFAULT if line.split()[1] == chain]
        assert [line for line in saved if line.split()[1] == chain] == in_chain
    assert len(saved) == len(ISTIO_DEFAULT)
    assert f"Using iptables-{kind} " in log
    assert "verified, 18 rules" in log


def test_the_log_shows_the_text_given_to_iptables_restore(pod: Namespace) -> None:
    log = pod.program().stdout
    assert render(plan(parse_options(INJECTED, {}).settings).state) in log


def test_run_again_it_changes_nothing_and_keeps_counters(pod: Namespace) -> None:
    pod.program()
    pod.run("iptables", "-t", "nat", "-A", "ISTIO_REDIRECT", "-c", "7", "420", "-p", "udp")
    pod.run("iptables", "-t", "nat", "-D", "ISTIO_REDIRECT", "-p", "udp")
    pod.run("iptables-nft-restore", "--noflush", "--counters", stdin=COUNTED)
    before = pod.run("iptables-nft-save", "-c", "-t", "nat").stdout
    assert "[7:420]" in before
    log = pod.program().stdout
    after = pod.run("iptables-nft-save", "-c", "-t", "nat").stdout
    assert "nothing to change" in log
    assert without_comments(after) == without_comments(before)


def test_flag_sets_of_every_kind_are_read_back_as_planned(pod: Namespace) -> None:
    """Also word for word: what the plan renders is what iptables-save prints."""
    for flags in FLAG_SETS:
        pod.program(*flags)
        settings = parse_options(flags, {}).settings
        for table, chains in plan(settings).state.items():
            planned = sorted(rule.text for rules in chains.values() for rule in rules)
            assert sorted(pod.saved(table)) == planned, flags
        assert "nothing to change" in pod.program(*flags).stdout
        pod.program(*flags, "--cleanup-only")
        for table in ("raw", "mangle", "nat"):
            assert pod.saved(table) == [], flags


def test_from_any_flag_set_to_any_other_ends_in_the_same_rules(pod: Namespace) -> None:
    for before, after in zip(FLAG_SETS, (*FLAG_SETS[1:], FLAG_SETS[0]), strict=True):
        pod.program(*before)
        pod.program(*after)
        for table in ("raw", "mangle", "nat"):
            chains = plan(parse_options(after, {}).settings).state.get(table, {})
            planned = sorted(rule.text for rules in chains.values() for rule in rules)
            # A bare interface rule could be anybody's: it stays, and the log says so.
            held = [line for line in sorted(pod.saved(table)) if line not in STALE]
            assert held == [line for line in planned if line not in STALE], (before, after)
        policy = pod.run("ip", "rule").stdout
        assert policy.count("fwmark") == ("TPROXY" in after)
        pod.program(*before, "--cleanup-only")
        pod.program(*after, "--cleanup-only")
        assert "fwmark" not in pod.run("ip", "rule").stdout


def test_ipv6_is_mirrored_where_the_pod_has_it(pod: Namespace) -> None:
    pod.program(*INJECTED, "--dual-stack")
    saved = pod.saved(family="ip6")
    assert "-A ISTIO_OUTPUT -s ::6/128 -o lo -j RETURN" in saved
    assert "-A ISTIO_OUTPUT -d ::1/128 -j RETURN" in saved
    assert len(saved) == len(pod.saved()) == len(ISTIO_DEFAULT)
    assert "::6/128" in pod.run("ip", "-6", "addr", "show", "dev", "lo").stdout
    assert pod.program(*INJECTED, "--dual-stack").stdout.count("nothing to change") == 2
    pod.program("--cleanup-only")
    assert pod.saved(family="ip6") == []
    assert "::6/128" not in pod.run("ip", "-6", "addr", "show", "dev", "lo").stdout


def test_a_pod_with_only_ipv6_gets_ipv6_rules_unasked(pod: Namespace) -> None:
    pod.run("ip", "addr", "del", "10.210.0.2/24", "dev", "eth0")
    pod.program()
    assert len(pod.saved(family="ip6")) == len(ISTIO_DEFAULT)


def test_ipv6_that_is_no_longer_captured_is_withdrawn(pod: Namespace) -> None:
    pod.program(*INJECTED, "--dual-stack")
    told = pod.program(*INJECTED, "--reconcile=false", check=False)
    assert (told.returncode, "ipv6, which this run does not capture" in told.stdout) == (5, True)
    assert pod.saved(family="ip6")
    assert "ipv6 is no longer captured" in pod.program(*INJECTED).stdout
    assert pod.saved(family="ip6") == []
    assert "::6/128" not in pod.run("ip", "-6", "addr", "show", "dev", "lo").stdout


@pytest.mark.parametrize(
    "damage",
    [
        ["-D", "PREROUTING", "-p", "tcp", "-j", "ISTIO_INBOUND"],
        ["-D", "ISTIO_OUTPUT", "1"],
        ["-F", "ISTIO_REDIRECT"],
        ["-I", "ISTIO_OUTPUT", "1", "-j", "RETURN"],
        ["-A", "OUTPUT", "-j", "ISTIO_OUTPUT"],
        ["-N", "ISTIO_STRANGE"],
    ],
    ids=" ".join,
)
def test_damage_is_found_named_and_mended(pod: Namespace, damage: list[str]) -> None:
    pod.program()
    whole = pod.saved()
    pod.run("iptables", "-t", "nat", *damage)
    told = pod.program(*INJECTED, "--skip-rule-apply", "--run-validation", check=False)
    assert told.returncode == 126, told.stdout
    log = pod.program().stdout
    assert "what differs is replaced" in log
    assert pod.saved() == whole


def test_without_reconcile_a_difference_is_an_error_and_stays(pod: Namespace) -> None:
    pod.program()
    pod.run("iptables", "-t", "nat", "-F", "ISTIO_REDIRECT")
    damaged = pod.saved()
    told = pod.program(*INJECTED, "--reconcile=false", check=False)
    assert told.returncode == 5
    assert "missing: -A ISTIO_REDIRECT" in told.stdout
    assert pod.saved() == damaged


@pytest.mark.parametrize("lines", range(2, 20, 3))
def test_any_part_of_the_rules_is_completed(pod: Namespace, lines: int) -> None:
    text = render(plan(parse_options(INJECTED, {}).settings).state).splitlines()
    part = [*text[:5], *text[5 : 5 + lines], "COMMIT", ""]
    pod.run("iptables-nft-restore", "--noflush", stdin="\n".join(part))
    pod.program()
    assert sorted(pod.saved()) == sorted(ISTIO_DEFAULT)


def test_killed_at_any_moment_it_leaves_nothing_or_everything(pod: Namespace) -> None:
    """Killed after growing parts of the time that it needs; the table is never half-built."""
    started = time.monotonic()
    pod.program()
    needed = time.monotonic() - started
    pod.program("--cleanup-only")
    seen = []
    for part in range(14):
        argv = ["ip", "netns", "exec", pod.name, *iptables(), *INJECTED]
        env = everyones.environment()
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=env, cwd="/") as run:
            # The last one ends by itself, however busy this machine is.
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(needed * part / 10 if part < 13 else None)
            run.kill()
        pod.program("--cleanup-only", "-n")  # waits for a restore that is still under way
        held = len(pod.saved())
        seen.append(held)
        assert held in (0, len(ISTIO_DEFAULT))
        pod.program()
        assert sorted(pod.saved()) == sorted(ISTIO_DEFAULT)
        pod.program("--cleanup-only")
        assert pod.saved() == []
    assert (seen[0], seen[-1]) == (0, len(ISTIO_DEFAULT))


def test_rules_of_others_stay_and_are_told(pod: Namespace) -> None:
    pod.run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-j", "ACCEPT")
    log = pod.program().stdout
    assert "note: a rule that is not ours stays: nat  -A PREROUTING -p udp -j ACCEPT" in log
    pod.program("--cleanup-only")
    assert pod.saved() == ["-A PREROUTING -p udp -j ACCEPT"]


def test_rules_left_in_the_other_variant_are_removed(pod: Namespace) -> None:
    text = render(plan(parse_options(INJECTED, {}).settings).state)
    pod.run("iptables-legacy-restore", "--noflush", stdin=text)
    pod.run("iptables-nft-restore", "--noflush", stdin=text)
    pod.program()
    held = [kind for kind in ("nft", "legacy") if pod.saved(kind=kind)]
    assert held == ["nft"]


def test_the_variant_that_holds_our_rules_is_kept(pod: Namespace) -> None:
    text = render(plan(parse_options(INJECTED, {}).settings).state)
    pod.run("iptables-legacy-restore", "--noflush", stdin=text)
    log = pod.program().stdout
    assert "Using iptables-legacy (it holds rules of ours already)" in log
    assert "nothing to change" in log
    assert pod.saved(kind="nft") == []


def test_dry_run_prints_the_rules_and_applies_none(pod: Namespace) -> None:
    log = pod.program(*INJECTED, "--dry-run").stdout
    assert "-N ISTIO_REDIRECT" in log
    assert pod.saved() == []


def test_rules_are_labelled_on_request(pod: Namespace) -> None:
    pod.program(*INJECTED, "--comments")
    assert all("--comment sidecar-lab:" in line or '--comment "' in line for line in pod.saved())
    assert "nothing to change" in pod.program().stdout  # a label is no difference


@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_the_least_rights_and_a_read_only_root_are_enough(pod: Namespace, kind: str) -> None:
    if kind == "legacy":
        pod.run("iptables-legacy", "-A", "INPUT", "-j", "ACCEPT")
    log = pod.program(before=(*READ_ONLY, *LEAST_RIGHTS)).stdout
    assert f"Using iptables-{kind} " in log
    assert sorted(pod.saved(kind=kind)) == sorted(ISTIO_DEFAULT)


def test_without_net_admin_the_error_says_so(pod: Namespace) -> None:
    done = pod.program(
        before=("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_raw"), check=False
    )
    assert done.returncode == 3
    assert "hint: this process lacks the capability NET_ADMIN" in done.stdout
    assert pod.saved() == []


def test_without_iptables_installed_the_error_says_so(pod: Namespace) -> None:
    done = pod.program(check=False, before=("env", "PATH=/nonexistent"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "iptables-nft-save: not installed" in done.stdout


def test_a_refusal_in_a_later_table_takes_back_the_earlier_one(
    pod: Namespace, tmp_path: Path
) -> None:
    """mangle is applied, then nat is refused: here by a program that stops after one table."""
    for kind in ("nft", "legacy"):
        real = shutil.which(f"iptables-{kind}-restore")
        shim = tmp_path / f"iptables-{kind}-restore"
        shim.write_text(
            f'#!/bin/sh\n[ -e $0.once ] && exec {real} "$@"\n'
            + f'sed /COMMIT/q | {real} "$@"\ntouch $0.once\necho no nat for you >&2\nexit 1\n'
        )
        shim.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    flags = ("-m", "TPROXY", "-i", "*", "-b", "*")
    done = pod.program(*flags, check=False, before=("env", f"PATH={path}"))
    assert done.returncode == 4, done.stdout
    assert "iptables-nft-restore refused the rules: no nat for you" in done.stdout
    for kind in ("nft", "legacy"):
        assert pod.saved("mangle", kind) == []


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


COUNTED = """*nat
-D ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
[7:420] -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""
STALE = (
    "-A PREROUTING -i eth9 -j RETURN",
    "-A OUTPUT -o eth9 -j RETURN",
    "-A PREROUTING -i vnet0 -j RETURN",
    "-A PREROUTING -i vnet1 -j RETURN",
)
FLAG_SETS: tuple[tuple[str, ...], ...] = (
    INJECTED,
    ("-i", "10.0.0.0/8,172.16.0.0/12", "-x", "10.1.0.0/16", "-b", "80,443", "-q", "9090"),
    ("-i", "*", "-b", "*", "-o", "25,587", "-u", "1337,1338", "-g", "1340"),
    ("-i", "*", "-b", "*", "-c", "eth9", "-k", "vnet0,vnet1"),
    ("-i", "*", "-b", "*", "--redirect-dns", "--capture-all-dns"),
    ("-i", "127.0.0.0/8,10.0.0.0/8", "-b", "", "--drop-invalid"),
    ("-m", "TPROXY", "-i", "*", "-b", "*", "-d", "15090,15021,15020"),
    ("-m", "TPROXY", "-i", "10.0.0.0/8", "-b", "80,8080", "-t", "119", "-c", "eth9"),
)
