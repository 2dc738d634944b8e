"""Reduces the words of a rule to their meaning, so that two spellings of a rule compare as equal.

iptables-save prints a rule in its own words, not as it was typed: it writes out abbreviations and
default masks, and iptables-nft and iptables-legacy use different words for the same rule.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

Meaning = tuple[frozenset[tuple[bool, str, str]], str, frozenset[tuple[str, str]]]
"""A rule's conditions (negated, option, value), its target, and the target's (option, value)s."""


def meaning(spec: Iterable[str]) -> Meaning:
    """Return the meaning of a rule's words; their order, spelling and defaults do not change it."""
    conditions: set[tuple[bool, str, str]] = set()
    options: set[tuple[str, str]] = set()
    target, negated = "", False
    rest = list(spec)
    while rest:
        word = rest.pop(0)
        if word == "!":
            negated = True
            continue
        option = _ALIASES.get(word, word)
        value = rest.pop(0) if rest and not _is_option(rest[0]) else ""
        if option == "-m" or option == "--comment":
            pass
        elif option == "-j":
            target = value
        elif target:
            if (option, _plain(option, value)) not in _TARGET_DEFAULTS:
                options.add((option, _plain(option, value)))
        elif negated or option not in ("-s", "-d") or not value.endswith("/0"):
            conditions.add((negated, option, _plain(option, value)))
        negated = False
    return frozenset(conditions), target, frozenset(options)


_ALIASES: Final = {
    "--source": "-s",
    "--src": "-s",
    "--destination": "-d",
    "--dst": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--protocol": "-p",
    "--proto": "-p",
    "--match": "-m",
    "--jump": "-j",
    "--destination-port": "--dport",
    "--source-port": "--sport",
    "--destination-ports": "--dports",
    "--to-port": "--to-ports",
    "--set-mark": "--set-xmark",
}
_PROTOCOLS: Final = {"6": "tcp", "17": "udp"}
_TARGET_DEFAULTS: Final = frozenset(
    {
        ("--nfmask", "0xffffffff"),
        ("--ctmask", "0xffffffff"),
        ("--on-ip", "0.0.0.0"),  # noqa: S104  TPROXY's "no other address", not a listener
        ("--on-ip", "::"),
    }
)


def _plain(option: str, value: str) -> str:
    if option in ("-s", "-d") and value:
        return str(ipaddress.ip_network(value, strict=False))
    if option in ("--mark", "--set-xmark", "--tproxy-mark"):
        mark, _, mask = value.partition("/")
        return f"{int(mark, 0):#x}/{int(mask or '0xffffffff', 0):#x}"
    if option in ("--dports", "--sports", "--ctstate"):
        return ",".join(sorted(value.split(",")))
    if option == "-p":
        return _PROTOCOLS.get(value, value)
    return value


def _is_option(word: str) -> bool:
    return word == "!" or (word.startswith("-") and not word[1:].isdigit())
