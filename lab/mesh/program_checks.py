"""What the programs in our containers would refuse of arguments and environment. Pure.

A pod whose init program or agent refuses its settings never starts, and says so in a log that few
look for. Here the annotation that brought the setting is named.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from lab.mesh import annotations as names
from lab.mesh import contract, traffic_flags, traffic_grammar
from lab.mesh.errors import AnnotationError, SettingError
from lab.mesh.sidecar import Wishes

MOST: Final = 128 * 1024 - 1
"""Bytes: Linux gives a program no longer argument or variable."""
DNS_VARIABLES: Final = ("ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS")
"""They would have the rules send DNS to the agent, and this agent does not answer it."""
_ELSEWHERE: Final = "network-namespace"


def check_init(init: Mapping[str, Any], wishes: Wishes, *, users: bool = False) -> None:
    """Whether istio-iptables takes what it is given. Raises AnnotationError.

    `users`: a container of the pod itself has a part in it. A container that runs another program
    is its user's own business.
    """
    if not wishes.config.metadata and names.OVERRIDES not in wishes.annotations and not users:
        return  # Our own arguments, of values that were read by the same grammar.
    command = [*_words(init, "command"), *_words(init, "args")]
    if command[:1] != [contract.IPTABLES_PROGRAM]:
        return
    variables = {
        entry["name"]: str(entry.get("value") or "")
        for entry in init.get("env") or ()
        if not entry.get("valueFrom")
    }
    try:
        for name in DNS_VARIABLES:
            if value := wishes.config.metadata.get(name, "").strip():
                _read(name, value)
        given = traffic_flags.given(traffic_flags.split(command[1:]), variables)
        if (there := given.pop(_ELSEWHERE, None)) and there.text.strip():
            problem = f"{there.where}: the init container sets the rules of its own pod"
            raise SettingError(problem, setting=there.where)
        for one in given.values():
            one.value()
    except SettingError as bad:
        raise _blamed(bad, wishes) from bad


def _words(container: Mapping[str, Any], key: str) -> list[str]:
    """The words of a command; of a wrong type none, for an API server to judge."""
    words = container.get(key) or []
    usable = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words if usable else []


def _read(name: str, value: str) -> None:
    try:
        traffic_grammar.boolean(value)
    except ValueError as problem:
        raise SettingError(f"${name}: {problem}", setting=f"${name}") from problem


def _blamed(bad: SettingError, wishes: Wishes) -> AnnotationError:
    """The refusal, by the annotation that brought the setting."""
    name = bad.setting.removeprefix("$")
    given = wishes.annotations
    if bad.setting.startswith("$") and name in wishes.config.metadata:
        problem = f"field proxyMetadata.{name}: {bad.message.partition(': ')[2]}"
        return AnnotationError(names.PROXY_CONFIG, given.get(names.PROXY_CONFIG, ""), problem)
    problem = f"istio-iptables would refuse {bad.message}"
    return AnnotationError(names.OVERRIDES, given.get(names.OVERRIDES, ""), problem)


def check_sizes(containers: Sequence[Mapping[str, Any]], wishes: Wishes) -> None:
    """Whether the kernel can hand over every argument and variable. Raises AnnotationError."""
    for container in containers:
        for what, text in _texts(container):
            # Cheaper than counting bytes, and right for all but a few.
            if len(text) * 5 > MOST and len(f"{what}={text}".encode(errors="replace")) > MOST:
                given = wishes.annotations
                cause = max(given, key=lambda name: len(given[name]), default=names.PROXY_CONFIG)
                problem = f"{what} of {container['name']} would have more than {MOST} bytes"
                raise AnnotationError(cause, given.get(cause, ""), problem)


def _texts(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("command", "args"):
        for word in _words(container, key):
            yield key, word
    for entry in container.get("env") or ():
        if isinstance(value := entry.get("value"), str):
            yield entry["name"], value
