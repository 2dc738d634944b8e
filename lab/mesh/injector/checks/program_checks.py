"""What the programs in our containers would refuse of arguments and environment. Pure.

A pod whose init program or agent refuses its settings never starts, and says so in a log that few
look for. Here the annotation or the container that brought the setting is named.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, SettingError, UnfitError
from lab.mesh.grammar import traffic_flags, traffic_grammar
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Wishes
from lab.mesh.injector.settings.user_containers import Own
from lab.mesh.manifest import field_types
from lab.mesh.manifest.yaml_reader import FieldPath

MOST: Final = 128 * 1024 - 1
"""Bytes: Linux gives a program no longer argument or variable."""
DNS_VARIABLES: Final = ("ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS")
"""They would have the rules send DNS to the agent, and this agent does not answer it."""
_OF_CONTAINERS: Final = {
    "ISTIO_META_APP_CONTAINERS": "names",
    "ISTIO_META_POD_PORTS": "ports",
    contract.PROBES_VARIABLE: "probes",
}
"""Variables of istio-proxy that are made of the pod's containers, and of what of them."""
_ELSEWHERE: Final = "network-namespace"


def check_init(init: Mapping[str, Any], wishes: Wishes, own: Own) -> None:
    """Whether istio-iptables takes what it is given. Raises AnnotationError, or UnfitError.

    `own`: the user's settings for our containers. A container that runs another program is its
    user's own business.
    """
    if not wishes.config.metadata and not own.settings:
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
        given = traffic_flags.chosen_settings(traffic_flags.split(command[1:]), variables)
        if (there := given.pop(_ELSEWHERE, None)) and there.text.strip():
            problem = f"{there.where}: the init container sets the rules of its own pod"
            raise SettingError(problem, setting=there.where)
        for one in given.values():
            one.value()
    except SettingError as bad:
        raise _blamed(bad, wishes, own) from bad


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


def _blamed(bad: SettingError, wishes: Wishes, own: Own) -> AnnotationError | UnfitError:
    """The refusal, by the annotation or the container that brought the setting."""
    name = bad.setting.removeprefix("$")
    given = wishes.annotations
    user = own.settings.get(contract.INIT_CONTAINER) or {}
    variables = [entry.get("name") for entry in user.get("env") or ()]
    if bad.setting.startswith("$") and name in wishes.config.metadata and name not in variables:
        problem = f"field proxyMetadata.{name}: {bad.message.partition(': ')[2]}"
        return AnnotationError(names.PROXY_CONFIG, given.get(names.PROXY_CONFIG, ""), problem)
    problem = f"istio-iptables would refuse {bad.message}"
    if not user and (place := own.place(contract.PROXY_CONTAINER)):
        return UnfitError((*place, "securityContext", "runAsUser"), problem)
    if not (place := own.place(contract.INIT_CONTAINER)):
        return AnnotationError(names.OVERRIDES, given.get(names.OVERRIDES, ""), problem)
    if bad.setting.startswith("$") and name in variables:
        return UnfitError((*place, "env", variables.index(name)), problem)
    return UnfitError((*place, "args" if user.get("args") else "command"), problem)


def check_sizes(containers: Sequence[Mapping[str, Any]], wishes: Wishes, own: Own) -> None:
    """Whether the kernel can hand over every argument and variable.

    Raises AnnotationError, or UnfitError where a container of the pod brought it.
    """
    for container in containers:
        for path, text in _texts(container):
            # Cheaper than counting bytes, and right for all but a few.
            if len(text) * 5 > MOST and len(text.encode(errors="replace")) > MOST:
                raise _too_long(path, text, container["name"], wishes, own)


def _too_long(
    path: FieldPath, text: str, name: str, wishes: Wishes, own: Own
) -> AnnotationError | UnfitError:
    """The refusal, by what of the pod brought the text: a container, else an annotation."""
    told = f"would have more than {MOST} bytes, and no program can be given so many"
    if place := own.place(name):
        for there, mine in _texts(own.settings[name]):
            if mine == text:
                return UnfitError((*place, *there), told)
    variable = text.partition("=")[0] if path[0] == "env" else ""
    if part := _OF_CONTAINERS.get(variable):
        return UnfitError(("spec", "containers"), f"their {part} in {variable} {told}")
    given = wishes.annotations
    if not given:
        return UnfitError(("spec",), f"{field_types.show(path)} of {name} {told}")
    cause = max(given, key=lambda key: len(given[key]))
    return AnnotationError(cause, given[cause], f"{field_types.show(path)} of {name} {told}")


def _texts(container: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    """Each argument and each variable as a program is given it, with its field."""
    for key in ("command", "args"):
        for index, word in enumerate(_words(container, key)):
            yield (key, index), word
    for index, entry in enumerate(container.get("env") or ()):
        if isinstance(value := entry.get("value"), str):
            yield ("env", index, "value"), f"{entry['name']}={value}"
