"""Parsers for the output of the walkthrough's tools. They turn text into frozen data. Pure.

A parser that cannot read a line of its table raises ObservationError, which quotes the line. The
parsers for ps, netstat and route skip what comes before the column titles; those for iptables skip
comments.
"""

from lab.observe.parsers.ifconfig import parse_ifconfig
from lab.observe.parsers.init_log import InitLog, parse_init_log
from lab.observe.parsers.iptables_list import parse_iptables_list
from lab.observe.parsers.iptables_save import parse_iptables_save, parse_rule
from lab.observe.parsers.netstat import parse_netstat
from lab.observe.parsers.ps import parse_ps
from lab.observe.parsers.route import parse_route

__all__ = [
    "InitLog",
    "parse_ifconfig",
    "parse_init_log",
    "parse_iptables_list",
    "parse_iptables_save",
    "parse_netstat",
    "parse_ps",
    "parse_route",
    "parse_rule",
]
