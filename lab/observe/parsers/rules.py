"""Converts the words of an iptables rule into a canonical form.

A user can write the same rule in several ways: with `--to-port` or `--to-ports`, with or without
`-m tcp`, with `-d` before or after `-p`. iptables-save prints the options in its own order, and
adds missing ones. In the canonical form, all these rules are equal.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.errors import ObservationError
from lab.observe.readings import Rule

_LONG = {
    "--protocol": "-p",
    "--proto": "-p",
    "--source": "-s",
    "--src": "-s",
    "--destination": "-d",
    "--dst": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--match": "-m",
    "--jump": "-j",
    "--goto": "-g",
    "--append": "-A",
    "--insert": "-I",
    "--destination-port": "--dport",
    "--source-port": "--sport",
    "--destination-ports": "--dports",
    "--source-ports": "--sports",
    "--to-port": "--to-ports",
}
_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}
_FIRST = ("-s", "-d", "-i", "-o", "-p", "-m")
"""The options that belong to no extension, in the order in which iptables-save prints them."""


@dataclass
class Draft:
    """Collects the parts of a rule while it is parsed.

    `matches`: unsorted pairs; each has an option and the match as text.
    """

    chain: str
    matches: list[tuple[str, str]] = field(default_factory=list)
    target: str | None = None
    options: list[str] = field(default_factory=list)
    goto: bool = False
    comment: str | None = None

    def match(self, option: str, values: Sequence[str], *, negated: bool = False) -> None:
        """Add one match in canonical form. A match that every packet meets is left out."""
        if option == "-p":
            name = values[0].lower()
            values = [_PROTOCOLS.get(name, name)]
            if values[0] in ("all", "0"):
                return
        elif option in ("-s", "-d"):
            values = [_cidr(values[0])]
            if values[0] in ("0.0.0.0/0", "::/0") and not negated:
                return
        elif option in ("-i", "-o") and values[0] in ("*", "+"):
            return
        text = " ".join((*(["!"] if negated else []), option, *values))
        self.matches.append((option, text))

    def rule(self, *, packets: int | None = None, bytes_: int | None = None) -> Rule:
        """Return the finished rule, with sorted matches."""

        def place(match: tuple[str, str]) -> tuple[int, str, str]:
            option, text = match
            return (_FIRST.index(option) if option in _FIRST else len(_FIRST), option, text)

        return Rule(
            chain=self.chain,
            matches=tuple(text for _, text in sorted(self.matches, key=place)),
            target=self.target,
            options=tuple(self.options),
            goto=self.goto,
            comment=self.comment,
            packets=packets,
            bytes=bytes_,
        )


def read_rule(words: Sequence[str]) -> Draft:
    """Parse the words of `-A CHAIN …` or `-I CHAIN …`. Raises ObservationError for other words."""
    if len(words) < 2 or _LONG.get(words[0], words[0]) not in ("-A", "-I"):
        raise ObservationError(f"this is not a rule: {' '.join(words)!r}")
    draft = Draft(words[1])
    rest = list(words[2:])
    module: str | None = None
    in_target = negated = False
    while rest:
        word = rest.pop(0)
        if word == "!":
            negated = True
            continue
        option = _LONG.get(word, word)
        if not option.startswith("-"):
            raise ObservationError(f"cannot read {word!r} in the rule {' '.join(words)!r}")
        values = []
        if option == "--comment" and rest:
            values = [rest.pop(0)]  # a comment may begin with any character
        while rest and option != "--comment" and not rest[0].startswith(("-", "!")):
            values.append(rest.pop(0))
        if len(rest) > 1 and rest[0] == "!" and not values and option != "-m":
            rest.pop(0)  # the old syntax: `--dport ! 80`
            negated, values = True, [rest.pop(0)]
        if not values and option in (*_FIRST, "-j", "-g"):
            raise ObservationError(f"{option} has no value in the rule {' '.join(words)!r}")
        if option in ("-j", "-g"):
            _keep_bare(draft, module)
            draft.target, draft.goto, in_target, module = values[0], option == "-g", True, None
        elif option == "-m":
            _keep_bare(draft, module)
            module, in_target = values[0], False
        elif option == "--comment":
            draft.comment, module = " ".join(values), None
        elif in_target and option not in _FIRST:
            draft.options.append(" ".join((option, *values)))
        else:
            draft.match(option, values, negated=negated)
            module = module if option in _FIRST else None
        negated = False
    _keep_bare(draft, module)
    draft.options.sort()
    return draft


def _keep_bare(draft: Draft, module: str | None) -> None:
    # The options of a module imply it. A module without options counts if it matches by itself.
    if module and module not in ("tcp", "udp", "comment"):
        draft.match("-m", [module])


def _cidr(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text  # a host name in input of iptables-restore: compare it as written
