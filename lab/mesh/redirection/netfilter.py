"""Runs the iptables programs: chooses a variant, reads rules and applies rules.

There are two variants, iptables-nft and iptables-legacy; each sees only its own rules. This module
prefers the variant that already holds rules of this program, then legacy if it holds any rules
(somebody chose it for this namespace), then nft, then legacy.
"""

import os
import subprocess
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from lab.mesh.errors import ApplyError, UnusableError
from lab.mesh.redirection import addresses
from lab.mesh.redirection.rules import OWN_PREFIX, Family, State, parse

Kind = Literal["nft", "legacy"]
LOCK_FILE: Final = "/run/xtables.lock"
LOCK_WAIT: Final = 30
"""Seconds to wait while another iptables process holds the lock, as in Istio's program."""
COMMAND_TIMEOUT: Final = 60.0
_LEGACY_TABLES: Final = {
    "ipv4": "/proc/net/ip_tables_names",
    "ipv6": "/proc/net/ip6_tables_names",
}
_CAP_NET_ADMIN: Final = 12
_CLONE_NEWNET: Final = 0x40000000


class Variant(NamedTuple):
    """The iptables programs of one variant (nft or legacy), for one address family."""

    kind: Kind
    family: Family

    @property
    def name(self) -> str:
        """The variant's name, such as `iptables-nft` or `ip6tables-legacy`."""
        return f"{'iptables' if self.family == 'ipv4' else 'ip6tables'}-{self.kind}"

    @property
    def restore(self) -> tuple[str, ...]:
        """The command that applies rules from its standard input, in one transaction per table."""
        return (f"{self.name}-restore", "--noflush", f"--wait={LOCK_WAIT}")

    @property
    def save(self) -> tuple[str, ...]:
        """The command that prints the rules of every table that is in use."""
        return (f"{self.name}-save",)


class Candidate(NamedTuple):
    """A variant that works here, and all rules that this variant holds now."""

    variant: Variant
    state: State

    @property
    def holds_ours(self) -> bool:
        """Whether the variant holds a chain of this program, whose name begins with ISTIO_."""
        return any(name.startswith(OWN_PREFIX) for chains in self.state.values() for name in chains)

    @property
    def holds_rules(self) -> bool:
        """Whether the variant holds any rule or chain, whoever made it."""
        return any(self.state.values())


def candidates(family: Family) -> list[Candidate]:
    """Return the variants that work here, the preferred one first.

    Raises UnusableError with each variant's message when none works.
    """
    if not may_administer():
        raise UnusableError("no rule can be read or set here", hint=_why_unusable())
    working: list[Candidate] = []
    problems = []
    for kind in _KINDS:
        variant = Variant(kind, family)
        try:
            state = read(variant)
            if kind == "legacy" and not working:  # the last resort has to prove that it works
                _read(variant, (*variant.save, "-t", "nat"))
            working.append(Candidate(variant, state))
        except UnusableError as unusable:
            problems.append(unusable.message)
    if not working:
        raise UnusableError(
            f"no iptables works in this network namespace: {'; '.join(problems)}",
            hint=_why_unusable(),
        )
    working.sort(key=_preference)
    return working


def read(variant: Variant) -> State:
    """Return every rule that `variant` holds. Raises UnusableError if `variant` does not work."""
    if variant.kind == "legacy" and _installed(variant.save[0]) and _no_legacy_tables(variant):
        return {}  # the command would make the kernel create these tables
    return _read(variant, variant.save)


def _read(variant: Variant, argv: Sequence[str]) -> State:
    done = _run(argv)
    foreign = [line for line in done.stdout.splitlines() if "is incompatible" in line]
    if done.returncode or foreign:
        raise UnusableError(f"{variant.save[0]}: {_messages(done) or foreign[0].lstrip('# ')}")
    return parse(done.stdout)


def apply(variant: Variant, text: str) -> None:
    """Have iptables-restore apply `text`. Raises ApplyError with iptables-restore's message."""
    done = _run(variant.restore, text)
    if done.returncode:
        raise ApplyError(
            f"{variant.restore[0]} refused the rules: {_messages(done)}", hint=_why_refused(text)
        )


def enter(namespace: str) -> None:
    """Move this process into the network namespace at the path `namespace`.

    Raises UnusableError when the kernel refuses.
    """
    import ctypes  # Python has no function for setns before 3.12

    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise UnusableError(
                f"--network-namespace: {namespace} cannot be entered: {reason}",
                hint="this needs the capability SYS_ADMIN, and a file such as /proc/PID/ns/net",
            )
    finally:
        os.close(descriptor)


def may_administer() -> bool:
    """Return whether this process has CAP_NET_ADMIN, which reading and setting rules needs."""
    for line in addresses.text_of("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False


_KINDS: Final[tuple[Kind, ...]] = ("nft", "legacy")


def _preference(candidate: Candidate) -> tuple[bool, bool, bool]:
    legacy = candidate.variant.kind == "legacy"
    chosen_by_others = legacy and candidate.holds_rules and not candidate.holds_ours
    return (not candidate.holds_ours, not chosen_by_others, legacy)


def _installed(program: str) -> bool:
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in os.get_exec_path())


def _no_legacy_tables(variant: Variant) -> bool:
    try:
        return not addresses.text_of(_LEGACY_TABLES[variant.family]).split()
    except FileNotFoundError:  # the kernel part was never loaded
        return True
    except PermissionError:
        return False


def _run(argv: Sequence[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C", "XTABLES_LOCKFILE": _lock_file()},
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except FileNotFoundError as missing:
        raise UnusableError(f"{argv[0]}: not installed") from missing
    except PermissionError as refused:
        raise UnusableError(f"{argv[0]}: no permission to run it") from refused
    except subprocess.TimeoutExpired as late:
        raise UnusableError(
            f"{argv[0]} did not end within {COMMAND_TIMEOUT:.0f} s",
            hint=f"another program may hold the lock {_lock_file()}",
        ) from late


def _lock_file() -> str:
    """Return the path of the file that iptables-legacy locks; iptables-nft needs no lock.

    In an init container with a read-only root file system, the usual file cannot be created. Then
    the path is that of the network namespace's own file. All processes that can change the same
    rules are in this namespace, so they lock the same file.
    """
    configured = os.environ.get("XTABLES_LOCKFILE")
    if configured:
        return configured
    try:
        os.close(os.open(LOCK_FILE, os.O_CREAT | os.O_RDONLY, 0o600))
    except OSError:
        return "/proc/self/ns/net"
    return LOCK_FILE


def _messages(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith("# Warning"))


def _why_unusable() -> str:
    if not may_administer():
        return (
            "this process lacks the capability NET_ADMIN: give the container "
            "securityContext.capabilities.add [NET_ADMIN, NET_RAW] and runAsUser 0"
        )
    return (
        "the kernel lacks netfilter's tables: load nf_tables (with nft_compat) or ip_tables and "
        "iptable_nat on the node"
    )


def _why_refused(text: str) -> str:
    if not may_administer():
        return _why_unusable()
    modules = ["nf_nat", "xt_REDIRECT", "xt_owner", "xt_tcpudp"]
    modules += [name for word, name in _NEEDS.items() if word in text]
    return f"the kernel may lack one of the modules {', '.join(modules)}: load them on the node"


_NEEDS: Final = {
    "-m comment": "xt_comment",
    "-m multiport": "xt_multiport",
    "-m conntrack": "xt_conntrack",
    "-m connmark": "xt_connmark",
    "-j TPROXY": "xt_TPROXY",
    "-j CT": "xt_CT",
}
