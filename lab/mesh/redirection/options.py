"""Parses the command line and environment of istio-iptables into settings; errors name the flag.

Every flag has the long name, the environment variables and the default of Istio's program, with
one exception: rules that differ are replaced unless `--reconcile=false` is given. A flag overrides
the environment. A flag that this program does not implement is refused.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh.errors import SettingError
from lab.mesh.grammar import traffic_flags, traffic_grammar
from lab.mesh.grammar.traffic_flags import ChosenSetting
from lab.mesh.grammar.traffic_grammar import EVERYTHING, Everything, Mode
from lab.mesh.redirection.settings import LOOPBACK, Settings


class RedirectionOptions(NamedTuple):
    """The settings of the redirection, and the flags that say what to do with these settings.

    `probe_timeout` is in seconds.
    """

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


def parse(argv: Sequence[str], env: Mapping[str, str]) -> RedirectionOptions:
    """Parse the command line and the environment; return the options.

    Raises SettingError naming the flag or variable. `--help` prints the help and exits.
    """
    for word in argv:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name in _REFUSED:
            raise SettingError(f"--{name} is not implemented", hint=_REFUSED[name], setting=word)
    if {"-h", "--help"} & set(argv):
        print(_help())
        sys.exit(0)
    chosen = traffic_flags.chosen_settings(traffic_flags.split(argv), env, _number_of)
    read = _Reader(chosen).value
    uids = read("proxy-uid", Settings().proxy_uids)
    redirect: Mode = "REDIRECT"
    nothing: tuple[int, ...] | Everything = ()  # without -b Istio captures nothing inbound
    captured = chosen.get("istio-service-cidr")
    settings = Settings(
        proxy_port=read("envoy-port", 15001),
        inbound_port=read("inbound-capture-port", 15006),
        tunnel_port=read("inbound-tunnel-port", 15008),
        proxy_uids=uids,
        proxy_gids=read("proxy-gid", uids) or uids,
        mode=read("istio-inbound-interception-mode", redirect),
        tproxy_mark=read("istio-inbound-tproxy-mark", 1337),
        tproxy_route_table=read("istio-inbound-tproxy-route-table", 133),
        inbound_ports=read("istio-inbound-ports", nothing),
        exclude_inbound_ports=read("istio-local-exclude-ports", ()),
        outbound_ranges=(outbound := read("istio-service-cidr", ())),
        captures_loopback=bool(outbound)
        and captured is not None
        and traffic_grammar.names_loopback(captured.text),
        exclude_outbound_ranges=read("istio-service-exclude-cidr", ()),
        outbound_ports=read("istio-outbound-ports", ()),
        exclude_outbound_ports=read("istio-local-outbound-ports-exclude", ()),
        exclude_interfaces=read("istio-exclude-interfaces", ()),
        virtual_interfaces=read("kube-virt-interfaces", ()),
        owner_groups=read(traffic_flags.OWNER_GROUPS, EVERYTHING),
        exclude_owner_groups=read(traffic_flags.EXCLUDED_OWNER_GROUPS, ()),
        loopback=read(traffic_flags.LOOPBACK_RANGE, LOOPBACK),
        redirect_dns=read("redirect-dns", False),
        capture_all_dns=read("capture-all-dns", False),
        drop_invalid=read("drop-invalid", False),
    )
    return RedirectionOptions(
        settings,
        dry_run=read("dry-run", False),
        skip_rule_apply=read("skip-rule-apply", False),
        run_validation=read("run-validation", False),
        cleanup_only=read("cleanup-only", False),
        reconcile=read("reconcile", True),
        force_apply=read("force-apply", False),
        comments=read("comments", False),
        dual_stack=read("dual-stack", False),
        network_namespace=read("network-namespace", ""),
        probe_port=read("iptables-probe-port", 15002),
        probe_timeout=read("probe-timeout", 5.0),
    )


class _Reader:
    """Returns the value of a setting, or its default if the setting was not given."""

    def __init__(self, chosen: Mapping[str, ChosenSetting]) -> None:
        self.chosen = chosen

    def value(self, name: str, default: Any) -> Any:
        value = self.chosen[name].value() if name in self.chosen else None
        return default if value is None else value


_ABOUT: Final = {
    "envoy-port": ("PORT", "Envoy's outbound listener (default 15001)"),
    "inbound-capture-port": ("PORT", "Envoy's inbound listener (default 15006)"),
    "inbound-tunnel-port": ("PORT", "port that is never captured (default 15008)"),
    "proxy-uid": ("UIDS", "users whose traffic is not captured (default 1337)"),
    "proxy-gid": ("GIDS", "groups whose traffic is not captured (default: as -u)"),
    "istio-inbound-interception-mode": ("MODE", "REDIRECT (default) or TPROXY"),
    "istio-inbound-ports": ("PORTS", "inbound ports to capture, * for all"),
    "istio-local-exclude-ports": ("PORTS", "inbound ports to leave alone, with -b *"),
    "istio-service-cidr": ("CIDRS", "outbound ranges to capture, * for all"),
    "istio-service-exclude-cidr": ("CIDRS", "outbound ranges to leave alone"),
    "istio-outbound-ports": ("PORTS", "outbound ports to capture at any address"),
    "istio-local-outbound-ports-exclude": ("PORTS", "outbound ports to leave alone"),
    "istio-exclude-interfaces": ("NAMES", "interfaces to leave alone"),
    "kube-virt-interfaces": ("NAMES", "interfaces of virtual machines in the pod"),
    "istio-inbound-tproxy-mark": ("MARK", "packet mark of TPROXY mode (default 1337)"),
    "istio-inbound-tproxy-route-table": ("N", "route table of TPROXY (default 133)"),
    "network-namespace": ("PATH", "set the rules of this network namespace"),
    "iptables-probe-port": ("PORT", "port that validation dials (default 15002)"),
    "probe-timeout": ("SECONDS", "how long validation waits (default 5)"),
    "dry-run": ("", "print what would be applied, apply nothing"),
    "skip-rule-apply": ("", "apply nothing (for use with --run-validation)"),
    "run-validation": ("", "dial through the rules; exit with 126 if a connection lands elsewhere"),
    "cleanup-only": ("", "remove every rule of ours"),
    "reconcile": ("", "replace rules of ours that differ (default true)"),
    "force-apply": ("", "apply again also when nothing differs"),
    "comments": ("", "label every rule by a comment"),
    "redirect-dns": ("", "send DNS to an agent on 15053"),
    "capture-all-dns": ("", "with redirect-dns: any server, not only resolv.conf's"),
    "drop-invalid": ("", "drop packets that belong to no connection"),
    "dual-stack": ("", "capture IPv6 as well as IPv4"),
}
_REFUSED: Final = {
    "iptables-trace-logging": "use `xtables-monitor --trace` with `-j TRACE` in the raw table",
    "cni-mode": "this lab has no CNI plugin: the init container sets the rules",
    "host-nsenter-exec": "name the namespace: --network-namespace PATH",
    "native-nftables": "this lab uses iptables; `nft list ruleset` prints iptables-nft's rules",
    "force-iptables-binary": "take the other variant off PATH; the log says which variant is used",
}


def _number_of(group: str) -> int | None:
    import grp  # rarely needed, and every import delays each pod's start

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _help() -> str:
    lines = []
    for flag in traffic_flags.FLAGS:
        metavar, about = _ABOUT[flag.name]
        value = " [true|false]" if flag.switch else f" {metavar}"
        short = f"{flag.short}, " if flag.short else ""
        description = "; ".join([about, *(f"${name}" for name in flag.variables)])
        lines += [f"  {short}--{flag.name}{value}", f"        {description}"]
    return "\n".join([_USAGE, *lines, "", _EPILOG]).rstrip("\n")


_USAGE: Final = """\
usage: istio-iptables [FLAG VALUE | --FLAG=VALUE]...

Redirect a pod's TCP traffic to Envoy, by netfilter rules that are read back and verified. A second
run changes nothing.

flags:
  -h, --help
        show this and exit"""


_EPILOG: Final = """\
also read from the environment:
  ISTIO_OUTBOUND_OWNER_GROUPS, ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE  groups (at most 64), * for all
  ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR                                 default 127.0.0.1/32

examples:
  istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x "" -b '*' -d 15090,15021,15020
  istio-iptables -n -i 10.0.0.0/8 -b 80,443        print the rules for these, apply nothing
  istio-iptables --cleanup-only                    remove every rule of ours

exit codes:
  0    the rules are there, read back and verified (or there was nothing to do)
  2    a flag or variable has a value that cannot be used
  3    neither iptables-nft nor iptables-legacy works here
  4    the kernel refused the rules
  5    the rules read back are not the planned ones
  126  --run-validation: a connection did not land where it should
"""
