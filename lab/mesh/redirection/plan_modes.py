"""Adds the rules for DNS capture, for TPROXY mode and for dropping invalid packets.

Does no I/O. `plan` calls each function at the place that its rules have in Istio's order.
"""

from lab.mesh import contract
from lab.mesh.redirection.rules import Family, Rule
from lab.mesh.redirection.settings import AGENT_DNS_PORT, DNS_PORT, OUTBOUND_MARK, Settings


class Draft:
    """Collects the rules of one address family. `s`: the settings.

    `loopback`, `passthrough` and `servers` hold addresses of this family only.
    """

    def __init__(self, settings: Settings, family: Family) -> None:
        self.s = settings
        self.family = family
        v4 = family == "ipv4"
        self.loopback = str(settings.loopback) if v4 else "::1/128"
        self.passthrough = f"{contract.INBOUND_PASSTHROUGH_SOURCE}/32" if v4 else "::6/128"
        self.tproxy = settings.mode == "TPROXY"
        self.servers = [s for s in settings.dns_servers if (":" not in s) == v4]
        has_dns = settings.capture_all_dns or bool(settings.dns_servers)
        self.dns = settings.redirect_dns and has_dns
        self.state: dict[str, dict[str, list[Rule]]] = {}

    def add(
        self, table: str, chain: str, spec: str, label: str, purpose: str, *, first: bool = False
    ) -> None:
        """Append a rule; `spec` is what iptables-save prints after `-A CHAIN`."""
        rule = Rule(chain, tuple(spec.split()), f"sidecar-lab:{label}", purpose, first)
        self.state.setdefault(table, {}).setdefault(chain, []).append(rule)

    def out(self, spec: str, label: str, purpose: str) -> None:
        """Append a rule to the chain that every outgoing connection passes."""
        self.add("nat", contract.CHAIN_OUTPUT, spec, label, purpose)


def drop_invalid(draft: Draft) -> None:
    """Add the rules that drop packets which belong to no connection; so nothing answers them."""
    draft.add(
        "mangle",
        "PREROUTING",
        "-m conntrack --ctstate INVALID -j ISTIO_DROP",
        "invalid",
        "Pick out packets that belong to no connection.",
    )
    draft.add("mangle", "ISTIO_DROP", "-j DROP", "drop", "Drop them, instead of a reset.")


def capture_dns(draft: Draft) -> None:
    """Add the rules that send DNS queries to the agent, and those for connection tracking zones.

    Two zones keep the agent's queries and the application's queries apart.
    """
    s, chain = draft.s, "ISTIO_OUTPUT_DNS"
    to_agent = f"-j REDIRECT --to-ports {AGENT_DNS_PORT}"
    answer = "Send DNS questions to the agent."
    bits = 32 if draft.family == "ipv4" else 128
    servers = [""] if s.capture_all_dns else [f"-d {ip}/{bits} " for ip in draft.servers]
    if servers:
        draft.out(f"-j {chain}", "dns", "Look for DNS questions.")
    for protocol in ("tcp", "udp"):
        for server in servers:
            spec = f"{server}-p {protocol} -m {protocol} --dport {DNS_PORT} {to_agent}"
            draft.add("nat", chain, spec, f"dns-{protocol}", answer)
    zones = "Keep questions of the agent and of the application apart in connection tracking."
    hook = (f"-j {chain}", "dns-zones", zones)
    draft.add("raw", "OUTPUT", *hook)
    for kind, ids in (("uid", s.proxy_uids), ("gid", s.proxy_gids)):
        for owner in ids:
            who = f"-m owner --{kind}-owner {owner}"
            ask = f"-p udp -m udp --dport {DNS_PORT} {who} -j CT --zone 1"
            reply = f"-p udp -m udp --sport {AGENT_DNS_PORT} {who} -j CT --zone 2"
            draft.add("raw", chain, ask, f"dns-agent-asks-{kind}-{owner}", zones)
            draft.add("raw", chain, reply, f"dns-agent-answers-{kind}-{owner}", zones)
    if servers:
        draft.add("raw", "PREROUTING", f"-j {contract.CHAIN_INBOUND}", "dns-inbound", zones)
    for server in servers:
        ask = f"{server}-p udp -m udp --dport {DNS_PORT} -j CT --zone 2"
        back = server.replace("-d ", "-s ")
        reply = f"{back}-p udp -m udp --sport {DNS_PORT} -j CT --zone 1"
        draft.add("raw", chain, ask, "dns-app-asks", zones)
        draft.add("raw", contract.CHAIN_INBOUND, reply, "dns-server-answers", zones)


def tproxy_inbound(draft: Draft) -> None:
    """Add TPROXY's chains, and the rules for traffic that is not captured as inbound."""
    mark = f"{draft.s.tproxy_mark:#x}"
    any_address = "0.0.0.0" if draft.family == "ipv4" else "::"  # noqa: S104  not a listener
    shared = (
        ("ISTIO_DIVERT", f"-j MARK --set-xmark {mark}/0xffffffff", "Have it routed locally."),
        ("ISTIO_DIVERT", "-j ACCEPT", "Nothing further to decide."),
        (
            "ISTIO_TPROXY",
            f"! -d {draft.loopback} -p tcp -j TPROXY --on-port {draft.s.inbound_port} "
            f"--on-ip {any_address} --tproxy-mark {mark}/0xffffffff",
            "Give the packet to Envoy's inbound listener, addresses unchanged.",
        ),
        (
            contract.CHAIN_INBOUND,
            f"-p tcp -m mark --mark {mark} -j RETURN",
            "Already marked: never twice.",
        ),
        (
            contract.CHAIN_INBOUND,
            f"-s {draft.passthrough} -i lo -p tcp -j RETURN",
            "Envoy's own connection to the application.",
        ),
        (
            contract.CHAIN_INBOUND,
            f"-i lo -p tcp -m mark ! --mark {OUTBOUND_MARK:#x} -j RETURN",
            "The application talks to itself.",
        ),
    )
    # Where nothing is captured, Istio leaves out the chains that only captured traffic uses.
    for chain, spec, purpose in shared:
        if chain == contract.CHAIN_INBOUND or draft.s.inbound_ports:
            draft.add("mangle", chain, spec, f"tproxy-{chain.lower()}", purpose)


def tproxy_marks(draft: Draft) -> None:
    """Add the rules that set, save and restore the packet marks of TPROXY mode."""
    mark = f"{draft.s.tproxy_mark:#x}"
    masks = "--nfmask 0xffffffff --ctmask 0xffffffff"
    draft.add(
        "mangle",
        "PREROUTING",
        f"-p tcp -m mark --mark {mark} -j CONNMARK --save-mark {masks}",
        "tproxy-save",
        "Remember on the connection that Envoy keeps the client's address.",
    )
    draft.add(
        "mangle",
        "OUTPUT",
        f"-o lo -p tcp -m mark --mark {mark} -j RETURN",
        "tproxy-marked",
        "Already marked: never twice.",
    )
    for kind, ids in (("uid", draft.s.proxy_uids), ("gid", draft.s.proxy_gids)):
        for owner in ids:
            draft.add(
                "mangle",
                "OUTPUT",
                f"! -d {draft.loopback} -o lo -p tcp -m owner --{kind}-owner {owner} "
                f"-j MARK --set-xmark {OUTBOUND_MARK:#x}/0xffffffff",
                f"tproxy-self-{kind}-{owner}",
                "Envoy calls its own pod by a service address: have it captured inbound.",
            )
    draft.add(
        "mangle",
        "OUTPUT",
        f"-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark {masks}",
        "tproxy-restore",
        "Answers of the application find their way back to Envoy.",
    )
