"""Turns settings into the rules of a pod's network namespace, each with its purpose.

Does no I/O. The rules are in Istio's order, which matters: the first rule that matches a packet
decides where the packet goes. Sources: the package `capture` of istio-iptables, and the rules that
Istio's own program sets.
"""

from typing import Final

from lab.mesh import contract
from lab.mesh.grammar.traffic_grammar import EVERYTHING
from lab.mesh.redirection import plan_modes as modes
from lab.mesh.redirection.rules import Family, RulePlan
from lab.mesh.redirection.settings import DNS_PORT, Network, Settings

__all__ = ["Settings", "plan"]


def plan(settings: Settings, family: Family = "ipv4") -> RulePlan:
    """Return the rules of one address family. Without `settings.ipv6` the IPv6 plan is empty."""
    if family == "ipv6" and not settings.ipv6:
        return RulePlan("ipv6", {})
    planner = _Planner(settings, family)
    planner.plan()
    order = [name for name in ("raw", "mangle", "nat") if name in planner.state]
    return RulePlan(
        family,
        {
            table: {
                chain: tuple(rules)
                for chain, rules in planner.state[table].items()
                if rules or chain.startswith("ISTIO_")
            }
            for table in order
        },
    )


class _Planner(modes.Draft):
    """Collects all rules in Istio's order, including those that `plan_modes` adds."""

    def plan(self) -> None:
        """Collect every rule."""
        # Chains are opened in the order in which the walkthrough's log shows them.
        self.add(
            "nat",
            contract.CHAIN_REDIRECT,
            f"-p tcp -j REDIRECT --to-ports {self.s.proxy_port}",
            "to-outbound",
            "Hand an outgoing connection to Envoy's outbound listener.",
        )
        self.add(
            "nat",
            contract.CHAIN_IN_REDIRECT,
            f"-p tcp -j REDIRECT --to-ports {self.s.inbound_port}",
            "to-inbound",
            "Hand an incoming connection to Envoy's inbound listener.",
        )
        self._virtual_interfaces()
        self._excluded_interfaces()
        if self.s.drop_invalid:
            modes.drop_invalid(self)
        self._inbound()
        self._outbound()
        if self.tproxy:
            modes.tproxy_marks(self)

    def _virtual_interfaces(self) -> None:
        """Add rules for virtual machines in the pod, whose outbound traffic passes PREROUTING.

        Istio inserts each of these rules at the head of the chain, so the last inserted rule is the
        first in the chain.
        """
        lines = [(f"-i {name} -j RETURN", name, False) for name in self.s.virtual_interfaces]
        for wanted in self._ranges():
            match = f"-d {wanted} " if wanted else ""
            lines += [
                (f"{match}-i {name} -j {contract.CHAIN_REDIRECT}", name, True)
                for name in self.s.virtual_interfaces
            ]
        for spec, name, captured in reversed(lines):
            self.add(
                "nat",
                "PREROUTING",
                spec,
                f"vm-{'capture' if captured else 'rest'}-{name}",
                f"Treat what arrives from virtual interface {name} as outbound."
                if captured
                else f"Leave the rest from virtual interface {name} alone.",
                first=True,
            )

    def _ranges(self) -> list[str]:
        """Return the outbound ranges to capture in this address family; "" stands for all."""
        if self.s.outbound_ranges == EVERYTHING:
            return [""]
        return [str(n) if n.prefixlen else "" for n in self._mine(self.s.outbound_ranges)]

    def _mine(self, networks: tuple[Network, ...]) -> list[Network]:
        version = 4 if self.family == "ipv4" else 6
        return [n for n in networks if n.version == version]

    def _excluded_interfaces(self) -> None:
        for table in ("nat", "mangle") if self.tproxy else ("nat",):
            for name in self.s.exclude_interfaces:
                for chain, way in (("PREROUTING", "-i"), ("OUTPUT", "-o")):
                    self.add(
                        table,
                        chain,
                        f"{way} {name} -j RETURN",
                        f"exclude-interface-{name}",
                        f"Leave traffic of interface {name} alone, as asked.",
                    )

    def _inbound(self) -> None:
        s, chain = self.s, contract.CHAIN_INBOUND
        table = "mangle" if self.tproxy else "nat"
        if s.inbound_ports:
            hook = ("-p tcp -j ISTIO_INBOUND", "inbound", "Look at every incoming TCP connection.")
            self.add(table, "PREROUTING", *hook)
        self.add(
            "nat",
            chain,
            f"-p tcp -m tcp --dport {s.tunnel_port} -j RETURN",
            "inbound-tunnel",
            "Leave Istio's tunnel port alone: what arrives there is meant for the proxy.",
        )
        if self.tproxy:
            modes.tproxy_inbound(self)
        if s.inbound_ports == EVERYTHING:
            for port in s.exclude_inbound_ports:
                self.add(
                    table,
                    chain,
                    f"-p tcp -m tcp --dport {port} -j RETURN",
                    f"inbound-exclude-{port}",
                    _EXCLUDED.get(port, f"Leave port {port} alone, as asked."),
                )
            self._capture_inbound("")
        else:
            for port in s.inbound_ports:
                self._capture_inbound(f"-m tcp --dport {port} ")

    def _capture_inbound(self, match: str) -> None:
        if not self.tproxy:
            self.add(
                "nat",
                contract.CHAIN_INBOUND,
                f"-p tcp {match}-j {contract.CHAIN_IN_REDIRECT}",
                "inbound-capture",
                "Everything else that comes in goes through Envoy.",
            )
            return
        self.add(
            "mangle",
            contract.CHAIN_INBOUND,
            f"-p tcp {match}-m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
            "inbound-known",
            "Packets of a connection that Envoy has go to Envoy's socket.",
        )
        self.add(
            "mangle",
            contract.CHAIN_INBOUND,
            f"-p tcp {match}-j ISTIO_TPROXY",
            "inbound-capture",
            "A new connection goes to Envoy with its addresses unchanged.",
        )

    def _outbound(self) -> None:
        s, chain = self.s, contract.CHAIN_OUTPUT
        self.add("nat", "OUTPUT", f"-j {chain}", "outbound", "Look at every outgoing connection.")
        for port in s.exclude_outbound_ports:
            for protocol in ("tcp", "udp"):
                self.out(
                    f"-p {protocol} -m {protocol} --dport {port} -j RETURN",
                    f"outbound-exclude-{protocol}-{port}",
                    f"Leave port {port} alone, as asked.",
                )
        self.out(
            f"-s {self.passthrough} -o lo -j RETURN",
            "outbound-passthrough",
            "Envoy hands an inbound connection to the application: do not capture it again.",
        )
        for kind, ids in (("uid", s.proxy_uids), ("gid", s.proxy_gids)):
            for owner in ids:
                self._proxy_owner(kind, owner)
        self._owner_groups()
        if self.dns:
            modes.capture_dns(self)
        self.out(f"-d {self.loopback} -j RETURN", "outbound-loopback", "localhost is left alone.")
        for network in self._mine(s.exclude_outbound_ranges):
            match = f"-d {network} " if network.prefixlen else ""
            self.out(
                f"{match}-j RETURN",
                f"outbound-exclude-{network}",
                f"Leave {network} alone, as asked.",
            )
        for port in s.outbound_ports:
            self.out(
                f"-p tcp -m tcp --dport {port} -j {contract.CHAIN_REDIRECT}",
                f"outbound-include-{port}",
                f"Capture port {port} whatever its address, as asked.",
            )
        for wanted in self._ranges():
            match = f"-d {wanted} " if wanted else ""
            self.out(
                f"{match}-j {contract.CHAIN_REDIRECT}",
                "outbound-capture",
                f"Connections to {wanted} go to Envoy."
                if wanted
                else "Everything else goes to Envoy.",
            )

    def _proxy_owner(self, kind: str, owner: str) -> None:
        s = self.s
        who = f"{'user' if kind == 'uid' else 'group'} {owner}"
        # Istio leaves port 53 alone for users but not for groups, and so does this program.
        if self.dns and kind == "uid":
            port = f"-m multiport ! --dports {DNS_PORT},{s.tunnel_port}"
        else:
            port = f"-m tcp ! --dport {s.tunnel_port}"
        self.out(
            f"! -d {self.loopback} -o lo -p tcp {port} -m owner --{kind}-owner {owner} "
            f"-j {contract.CHAIN_IN_REDIRECT}",
            f"outbound-self-{kind}-{owner}",
            f"Envoy ({who}) calls its own pod by a service address: take it in as inbound.",
        )
        if not s.captures_loopback:
            spared = f" -p tcp -m tcp ! --dport {DNS_PORT}" if self.dns else ""
            self.out(
                f"-o lo{spared} -m owner ! --{kind}-owner {owner} -j RETURN",
                f"outbound-local-{kind}-{owner}",
                "The application calls itself by its own address: leave it alone.",
            )
        self.out(
            f"-m owner --{kind}-owner {owner} -j RETURN",
            f"outbound-proxy-{kind}-{owner}",
            f"What the proxy ({who}) sends is never captured: it would come back for ever.",
        )

    def _owner_groups(self) -> None:
        if self.s.owner_groups == EVERYTHING:
            for group in self.s.exclude_owner_groups:
                self.out(
                    f"-m owner --gid-owner {group} -j RETURN",
                    f"outbound-exclude-group-{group}",
                    f"Leave what group {group} sends alone, as asked.",
                )
            return
        none_of = "".join(f"-m owner ! --gid-owner {group} " for group in self.s.owner_groups)
        self.out(
            f"{none_of}-j RETURN",
            "outbound-other-groups",
            "Only the groups asked for are captured.",
        )


_EXCLUDED: Final = {
    contract.ENVOY_STATS_PORT: "Scrapers reach Envoy's statistics directly.",
    contract.ENVOY_HEALTH_PORT: "Health checks of newer Istio reach their port directly.",
    contract.AGENT_PORT: "The kubelet's probes reach the agent directly.",
}
