"""Defines the flags and variables of istio-iptables: their names, and the parser of each.

The long names and the variables are those of Istio's program; --comments is this lab's own.
istio-iptables parses its settings with this module. The injector uses it to check whether
istio-iptables would accept the settings of an istio-init container.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lab.mesh.errors import SettingError
from lab.mesh.grammar import traffic_grammar as grammar

Reader = Callable[[str], Any]
NumberOf = Callable[[str], int | None]


class Flag(NamedTuple):
    """One setting of istio-iptables, which a flag or an environment variable chooses.

    `read`: parses the text. `variables`: if several are set, the first one counts. `switch`: the
    flag may stand without a value, which means true. `blank_is_default`: an empty text means the
    default, rather than a value or a mistake.
    """

    short: str
    name: str
    read: Reader
    variables: tuple[str, ...] = ()
    switch: bool = False
    blank_is_default: bool = False

    @property
    def title(self) -> str:
        """The name of the flag in messages."""
        return f"{self.short}/--{self.name}" if self.short else f"--{self.name}"


class ChosenSetting(NamedTuple):
    """A setting that the user chose: its flag, its text, and `where` (the flag or `$VARIABLE`)."""

    flag: Flag
    where: str
    text: str

    def value(self) -> Any:
        """Parses the text; returns the value, or None for the default. Raises SettingError."""
        text = self.text.strip()
        # No shell removes the quotes of "" if the arguments come from YAML.
        quoted = text in ('""', "''")
        if quoted or not text:
            unset = self.flag.switch and self.where.startswith("$")
            if unset or self.flag.blank_is_default:
                return None
        if quoted:
            text = ""
        elif self.flag.read in _TO_THE_LETTER:
            text = self.text
        try:
            return self.flag.read(text)
        except ValueError as problem:
            raise SettingError(
                f"{self.where}: {problem} (value {grammar.shown(self.text)})", setting=self.where
            ) from problem


def _flag(short: str, name: str, read: Reader, more: str = "", **kind: bool) -> Flag:
    own = name.upper().replace("-", "_")
    return Flag(short, name, read, (more, own) if more else (own,), **kind)


def existing_file(text: str) -> str:
    """Returns the path of an existing file, such as a network namespace's. Raises ValueError."""
    import os

    if not os.access(text, os.F_OK):
        raise ValueError(f"expected a file such as /proc/PID/ns/net, found nothing at {text!r}")
    return text


_TO_THE_LETTER: Final = frozenset(
    {
        *(grammar.ports, grammar.ports_with_gaps, grammar.ports_or_all),
        *(grammar.ranges, grammar.ranges_or_all, grammar.interfaces, grammar.mode),
    }
)
"""These parsers get the text with the blanks around it, as the injector passes annotations."""

VALUES: Final = (
    # Istio's program does not read $ENVOY_PORT, so neither does this one.
    Flag("-p", "envoy-port", grammar.port),
    _flag("-z", "inbound-capture-port", grammar.port),
    _flag("-e", "inbound-tunnel-port", grammar.port),
    _flag("-u", "proxy-uid", grammar.owners, blank_is_default=True),
    _flag("-g", "proxy-gid", grammar.owners, blank_is_default=True),
    _flag("-m", "istio-inbound-interception-mode", grammar.mode, blank_is_default=True),
    _flag("-b", "istio-inbound-ports", grammar.ports_or_all),
    _flag("-d", "istio-local-exclude-ports", grammar.ports),
    _flag("-i", "istio-service-cidr", grammar.ranges_or_all),
    _flag("-x", "istio-service-exclude-cidr", grammar.ranges),
    _flag("-q", "istio-outbound-ports", grammar.ports_with_gaps),
    _flag("-o", "istio-local-outbound-ports-exclude", grammar.ports),
    _flag("-c", "istio-exclude-interfaces", grammar.interfaces),
    _flag("-k", "kube-virt-interfaces", grammar.interfaces),
    _flag("-t", "istio-inbound-tproxy-mark", grammar.mark),
    _flag("-r", "istio-inbound-tproxy-route-table", grammar.table),
    _flag("", "network-namespace", existing_file, blank_is_default=True),
    _flag("", "iptables-probe-port", grammar.port),
    _flag("", "probe-timeout", grammar.duration),
)
SWITCHES: Final = (
    _flag("-n", "dry-run", grammar.boolean, switch=True),
    _flag("", "skip-rule-apply", grammar.boolean, switch=True),
    _flag("", "run-validation", grammar.boolean, switch=True),
    _flag("", "cleanup-only", grammar.boolean, switch=True),
    _flag("", "reconcile", grammar.boolean, switch=True),
    _flag("", "force-apply", grammar.boolean, switch=True),
    _flag("", "comments", grammar.boolean, "SIDECAR_LAB_RULE_COMMENTS", switch=True),
    _flag("", "redirect-dns", grammar.boolean, "ISTIO_META_DNS_CAPTURE", switch=True),
    _flag("", "capture-all-dns", grammar.boolean, switch=True),
    _flag("", "drop-invalid", grammar.boolean, "INVALID_DROP", switch=True),
    _flag("", "dual-stack", grammar.boolean, "ISTIO_DUAL_STACK", switch=True),
)
OWNER_GROUPS: Final = "ISTIO_OUTBOUND_OWNER_GROUPS"
EXCLUDED_OWNER_GROUPS: Final = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"
LOOPBACK_RANGE: Final = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"


def _variables(number_of: NumberOf) -> tuple[Flag, ...]:
    """Returns the settings that only an environment variable can choose, no flag.

    `number_of`: see `chosen_settings`.
    """
    groups = grammar.groups_known(number_of)

    def some_or_all(text: str) -> tuple[str, ...] | grammar.Everything:
        return grammar.EVERYTHING if text == "*" else grammar.at_most(groups(text))

    return (
        Flag("", OWNER_GROUPS, some_or_all, (OWNER_GROUPS,)),
        Flag("", EXCLUDED_OWNER_GROUPS, groups, (EXCLUDED_OWNER_GROUPS,)),
        Flag("", LOOPBACK_RANGE, grammar.loopback, (LOOPBACK_RANGE,)),
    )


FLAGS: Final = (*VALUES, *SWITCHES)


def chosen_settings(
    texts: Mapping[str, str],
    env: Mapping[str, str],
    number_of: NumberOf = grammar.IMAGE_GROUPS.get,
) -> dict[str, ChosenSetting]:
    """Returns the settings that the user chose; the keys are their names.

    If a flag and a variable choose the same setting, the flag wins.

    `texts`: the values of flags; the keys are names of flags (see `split`). `env`: the environment.
    `number_of`: takes the name of a group; returns its id, or None if there is no such group.
    """
    chosen = {}
    for flag in (*FLAGS, *_variables(number_of)):
        if flag.name in texts:
            chosen[flag.name] = ChosenSetting(flag, flag.title, texts[flag.name])
        elif (name := next((v for v in flag.variables if v in env), None)) is not None:
            chosen[flag.name] = ChosenSetting(flag, f"${name}", env[name])
    return chosen


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Flag]:
    short = {flag.short: flag for flag in FLAGS if flag.short}
    return {f"--{flag.name}": flag for flag in FLAGS} | short


def split(argv: Sequence[str]) -> dict[str, str]:
    """Parses a command line; returns the texts of its flags, with the flags' names as keys.

    Raises SettingError for an unknown flag and for a missing value.
    """
    by_name = _by_name()
    texts: dict[str, str] = {}
    words = list(reversed(argv))
    while words:
        word = words.pop()
        name, assigned, text = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("--") and len(word) > 2 and word[:2] in by_name:
            name, assigned, text = word[:2], "=", word[2:].removeprefix("=")
        flag = by_name.get(name)
        if flag is None:
            raise SettingError(f"istio-iptables has no flag {word!r}", hint=_HELP, setting=word)
        if assigned:
            texts[flag.name] = text
        elif not flag.switch:
            if not words:
                raise SettingError(f"{flag.title}: a value is missing", hint=_HELP, setting=word)
            texts[flag.name] = words.pop()
        else:
            alone = not words or words[-1].startswith("-")
            texts[flag.name] = "true" if alone else words.pop()
    return texts


_HELP: Final = "istio-iptables --help"
