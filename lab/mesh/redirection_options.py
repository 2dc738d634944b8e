"""The command line and environment of istio-iptables → settings, or an error that names the flag.

Every flag has its long name, its environment variables and its default from Istio's program, save
that rules that differ are replaced unless `--reconcile=false` is given. A flag given wins over the
environment. A flag that this program does not implement is refused.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, NoReturn, TypeVar

from lab.mesh import redirection_values as values
from lab.mesh.errors import SettingError
from lab.mesh.redirection_settings import EVERYTHING, LOOPBACK, Everything, Mode, Settings

T = TypeVar("T")


class Request(NamedTuple):
    """What was asked for: the settings, and what to do with them. `probe_timeout` is in seconds."""

    settings: Settings
    dry_run: bool = False
    skip_rule_apply: bool = False
    run_validation: bool = False
    cleanup_only: bool = False
    reconcile: bool = True
    force_apply: bool = False
    comments: bool = False
    dual_stack: bool = False
    network_namespace: str = ""
    probe_port: int = 15002
    probe_timeout: float = 5.0


def parse(argv: Sequence[str], env: Mapping[str, str]) -> Request:
    """Read flags and environment. Raises SettingError, naming the flag or the variable."""
    given = vars(_parser().parse_args(list(argv)))
    for name, why in _REFUSED.items():
        if given[_attribute(name)] not in (None, False):
            raise SettingError(f"--{name} is not implemented", hint=why)
    read = _Reader(given, env)
    uids = read.value("proxy-uid", values.owners, Settings().proxy_uids)
    redirect: Mode = "REDIRECT"
    nothing: tuple[int, ...] | Everything = ()  # without -b Istio captures nothing inbound
    settings = Settings(
        proxy_port=read.value("envoy-port", values.port, 15001),
        inbound_port=read.value("inbound-capture-port", values.port, 15006),
        tunnel_port=read.value("inbound-tunnel-port", values.port, 15008),
        proxy_uids=uids,
        proxy_gids=read.value("proxy-gid", values.owners, uids) or uids,
        mode=read.value("istio-inbound-interception-mode", values.mode, redirect),
        tproxy_mark=read.value("istio-inbound-tproxy-mark", values.mark, 1337),
        tproxy_route_table=read.value("istio-inbound-tproxy-route-table", values.table, 133),
        inbound_ports=read.value("istio-inbound-ports", values.ports_or_all, nothing),
        exclude_inbound_ports=read.value("istio-local-exclude-ports", values.ports, ()),
        outbound_ranges=read.value("istio-service-cidr", values.ranges_or_all, ()),
        captures_loopback=read.value("istio-service-cidr", values.names_loopback, False),
        exclude_outbound_ranges=read.value("istio-service-exclude-cidr", values.ranges, ()),
        outbound_ports=read.value("istio-outbound-ports", values.ports, ()),
        exclude_outbound_ports=read.value("istio-local-outbound-ports-exclude", values.ports, ()),
        exclude_interfaces=read.value("istio-exclude-interfaces", values.interfaces, ()),
        virtual_interfaces=read.value("kube-virt-interfaces", values.interfaces, ()),
        owner_groups=read.variable("ISTIO_OUTBOUND_OWNER_GROUPS", values.groups_or_all, EVERYTHING),
        exclude_owner_groups=read.variable(
            "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", values.groups, ()
        ),
        loopback=read.variable("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", values.loopback, LOOPBACK),
        redirect_dns=read.value("redirect-dns", values.boolean, False),
        capture_all_dns=read.value("capture-all-dns", values.boolean, False),
        drop_invalid=read.value("drop-invalid", values.boolean, False),
    )
    return Request(
        settings,
        dry_run=read.value("dry-run", values.boolean, False),
        skip_rule_apply=read.value("skip-rule-apply", values.boolean, False),
        run_validation=read.value("run-validation", values.boolean, False),
        cleanup_only=read.value("cleanup-only", values.boolean, False),
        reconcile=read.value("reconcile", values.boolean, True),
        force_apply=read.value("force-apply", values.boolean, False),
        comments=read.value("comments", values.boolean, False),
        dual_stack=read.value("dual-stack", values.boolean, False),
        network_namespace=read.value("network-namespace", values.existing_file, ""),
        probe_port=read.value("iptables-probe-port", values.port, 15002),
        probe_timeout=read.value("probe-timeout", values.duration, 5.0),
    )


class _Flag(NamedTuple):
    short: str
    name: str
    metavar: str
    help: str
    env: str = ""
    """A variable beside the one named like the flag; where both are set, this one counts."""

    @property
    def variables(self) -> tuple[str, ...]:
        own = self.name.upper().replace("-", "_")
        if self.name in _WITHOUT_VARIABLE:
            return ()
        return (self.env, own) if self.env else (own,)

    @property
    def about(self) -> str:
        return "; ".join([self.help, *(f"${name}" for name in self.variables)])


_WITHOUT_VARIABLE: Final = frozenset({"envoy-port"})
"""Istio's program does not read $ENVOY_PORT, so neither does this one."""


_VALUES: Final = (
    _Flag("-p", "envoy-port", "PORT", "Envoy's outbound listener (default 15001)"),
    _Flag("-z", "inbound-capture-port", "PORT", "Envoy's inbound listener (default 15006)"),
    _Flag("-e", "inbound-tunnel-port", "PORT", "port that is never captured (default 15008)"),
    _Flag("-u", "proxy-uid", "UIDS", "users whose traffic is not captured (default 1337)"),
    _Flag("-g", "proxy-gid", "GIDS", "groups whose traffic is not captured (default: as -u)"),
    _Flag("-m", "istio-inbound-interception-mode", "MODE", "REDIRECT (default) or TPROXY"),
    _Flag("-b", "istio-inbound-ports", "PORTS", "inbound ports to capture, * for all"),
    _Flag("-d", "istio-local-exclude-ports", "PORTS", "inbound ports to leave alone, with -b *"),
    _Flag("-i", "istio-service-cidr", "CIDRS", "outbound ranges to capture, * for all"),
    _Flag("-x", "istio-service-exclude-cidr", "CIDRS", "outbound ranges to leave alone"),
    _Flag("-q", "istio-outbound-ports", "PORTS", "outbound ports to capture at any address"),
    _Flag("-o", "istio-local-outbound-ports-exclude", "PORTS", "outbound ports to leave alone"),
    _Flag("-c", "istio-exclude-interfaces", "NAMES", "interfaces to leave alone"),
    _Flag("-k", "kube-virt-interfaces", "NAMES", "interfaces of virtual machines in the pod"),
    _Flag("-t", "istio-inbound-tproxy-mark", "MARK", "packet mark of TPROXY mode (default 1337)"),
    _Flag("-r", "istio-inbound-tproxy-route-table", "N", "route table of TPROXY (default 133)"),
    _Flag("", "network-namespace", "PATH", "set the rules of this network namespace"),
    _Flag("", "iptables-probe-port", "PORT", "port that validation dials (default 15002)"),
    _Flag("", "probe-timeout", "SECONDS", "how long validation waits (default 5)"),
)
_SWITCHES: Final = (
    _Flag("-n", "dry-run", "", "print what would be applied, apply nothing"),
    _Flag("", "skip-rule-apply", "", "apply nothing (for use with --run-validation)"),
    _Flag("", "run-validation", "", "dial through the rules and see where it lands; exit 126"),
    _Flag("", "cleanup-only", "", "remove every rule of ours"),
    _Flag("", "reconcile", "", "replace rules of ours that differ (default true)"),
    _Flag("", "force-apply", "", "apply again also when nothing differs"),
    _Flag("", "comments", "", "label every rule by a comment", "SIDECAR_LAB_RULE_COMMENTS"),
    _Flag("", "redirect-dns", "", "send DNS to an agent on 15053", "ISTIO_META_DNS_CAPTURE"),
    _Flag("", "capture-all-dns", "", "with redirect-dns: any server, not only resolv.conf's"),
    _Flag("", "drop-invalid", "", "drop packets that belong to no connection", "INVALID_DROP"),
    _Flag("", "dual-stack", "", "IPv6 beside IPv4", "ISTIO_DUAL_STACK"),
)
_REFUSED: Final = {
    "iptables-trace-logging": "use `xtables-monitor --trace` with `-j TRACE` in the raw table",
    "cni-mode": "this lab has no CNI plugin: the init container sets the rules",
    "host-nsenter-exec": "name the namespace: --network-namespace PATH",
    "native-nftables": "this lab shows iptables; `nft list ruleset` prints what it makes",
    "force-iptables-binary": "take the other variant off PATH; the log says which one is used",
}
_BY_NAME: Final = {flag.name: flag for flag in (*_VALUES, *_SWITCHES)}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(message, hint="istio-iptables --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="istio-iptables",
        description="Redirect a pod's TCP traffic to Envoy, by netfilter rules that are read back "
        "and verified. Run again it changes nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=_EPILOG,
    )
    for flag in _VALUES:
        names = [flag.short] if flag.short else []
        parser.add_argument(*names, f"--{flag.name}", metavar=flag.metavar, help=flag.about)
    for flag in _SWITCHES:
        names = [flag.short] if flag.short else []
        parser.add_argument(
            *names, f"--{flag.name}", metavar="true|false", nargs="?", const="true", help=flag.about
        )
    for name in _REFUSED:
        parser.add_argument(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    return parser


_EPILOG: Final = """\
also read from the environment:
  ISTIO_OUTBOUND_OWNER_GROUPS, ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE  groups (at most 64), * for all
  ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR                                 default 127.0.0.1/32

examples:
  istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x "" -b '*' -d 15090,15021,15020
  istio-iptables -n -i 10.0.0.0/8 -b 80,443        print the rules for these, apply nothing
  istio-iptables --cleanup-only                    remove every rule of ours

exit codes:
  0    the rules are there, read back and verified (or nothing was to be done)
  2    a flag or variable has a value that cannot be used
  3    neither iptables-nft nor iptables-legacy works here
  4    the kernel refused the rules
  5    what was read back is not what was planned
  126  --run-validation: a connection did not land where it should
"""


def _attribute(name: str) -> str:
    return name.replace("-", "_")


class _Reader:
    """Looks a setting up: flag, then environment, then default; says which one was bad."""

    def __init__(self, given: Mapping[str, str | None], env: Mapping[str, str]) -> None:
        self.given, self.env = given, env

    def value(self, name: str, convert: Callable[[str], T], default: T) -> T:
        flag = _BY_NAME[name]
        text = self.given[_attribute(name)]
        if text is not None:
            where = f"{flag.short}/--{name}" if flag.short else f"--{name}"
            return _converted(where, text, convert, default)
        name = next((known for known in flag.variables if known in self.env), "")
        return self.variable(name, convert, default)

    def variable(self, name: str, convert: Callable[[str], T], default: T) -> T:
        if name not in self.env:
            return default
        return _converted(f"${name}", self.env[name], convert, default)


def _converted(where: str, text: str, convert: Callable[[str], T], default: T) -> T:
    stripped = text.strip()
    # A quoted nothing reaches us as two quotes when args come from YAML rather than a shell.
    if stripped in ("", '""', "''"):
        stripped = ""
        unset = convert is values.boolean and where.startswith("$")
        if unset or convert in _EMPTY_IS_DEFAULT:
            return default
    try:
        return convert(stripped)
    except ValueError as problem:
        raise SettingError(f"{where}: {problem} (value {text!r})") from problem


_EMPTY_IS_DEFAULT: Final = frozenset({values.owners, values.mode, values.existing_file})
"""Elsewhere nothing is an empty list, or where one thing must be given a mistake."""
