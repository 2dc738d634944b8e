"""Defines the settings of the redirection: which traffic goes to Envoy.

Source: istio-iptables' options and the arguments that injection gives to istio-init.
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple

from lab.mesh import contract
from lab.mesh.grammar.traffic_grammar import EVERYTHING, Everything, Mode

Network = IPv4Network | IPv6Network

LOOPBACK: Final = IPv4Network("127.0.0.1/32")
DNS_PORT: Final = 53
AGENT_DNS_PORT: Final = 15053
"""Port of an agent's DNS proxy; the rules use it only when DNS is captured."""
OUTBOUND_MARK: Final = 1338
"""Packet mark. TPROXY mode sets it on what Envoy sends to its own pod, to capture that traffic."""


class Settings(NamedTuple):
    """Which traffic to redirect. The defaults are the arguments that injection gives to istio-init.

    Ports are TCP ports, ids are numbers (or `LOW-HIGH`), lists keep their order. "*" is everything.
    `exclude_inbound_ports` is used only if `inbound_ports` is "*", as in Istio.
    `captures_loopback`: whether a range of `outbound_ranges` was written with a loopback address.
    """

    proxy_port: int = contract.OUTBOUND_PORT
    inbound_port: int = contract.INBOUND_PORT
    tunnel_port: int = contract.TUNNEL_PORT
    proxy_uids: tuple[str, ...] = (str(contract.PROXY_UID),)
    proxy_gids: tuple[str, ...] = (str(contract.PROXY_GID),)
    mode: Mode = "REDIRECT"
    tproxy_mark: int = 1337
    tproxy_route_table: int = 133
    inbound_ports: tuple[int, ...] | Everything = EVERYTHING
    exclude_inbound_ports: tuple[int, ...] = (
        contract.ENVOY_STATS_PORT,
        contract.ENVOY_HEALTH_PORT,
        contract.AGENT_PORT,
    )
    outbound_ranges: tuple[Network, ...] | Everything = EVERYTHING
    captures_loopback: bool = False
    exclude_outbound_ranges: tuple[Network, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    owner_groups: tuple[str, ...] | Everything = EVERYTHING
    exclude_owner_groups: tuple[str, ...] = ()
    loopback: IPv4Network = LOOPBACK
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers: tuple[str, ...] = ()
    drop_invalid: bool = False
    ipv6: bool = False

    @property
    def marks(self) -> frozenset[str]:
        """Packet marks that only TPROXY mode's rules use, as iptables-save prints them."""
        return frozenset(f"{m:#x}/0xffffffff" for m in (self.tproxy_mark, OUTBOUND_MARK))
