"""Checks whether the programs in the injected containers accept their settings. Pure.

The settings are arguments and environment variables. If istio-iptables or the agent refused them,
the pod would never start, and only a container's log would have the reason. These checks name the
annotation or the user's container that set the value.
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
from lab.mesh.manifest.reading import FieldPath

MOST: Final = 128 * 1024 - 1
"""The most bytes that Linux passes to a program in one argument or variable (`NAME=value`)."""
DNS_VARIABLES: Final = ("ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS")
"""Variables that would redirect DNS to the agent, which does not answer DNS in this mesh."""
_OF_CONTAINERS: Final = {
    "ISTIO_META_APP_CONTAINERS": "names",
    "ISTIO_META_POD_PORTS": "ports",
    contract.PROBES_VARIABLE: "probes",
}
"""Variables of istio-proxy that describe the pod's containers, and what each one lists."""
_ELSEWHERE: Final = "network-namespace"


def check_init(init: Mapping[str, Any], wishes: Wishes, own: Own) -> None:
    """Checks whether istio-iptables accepts the settings of istio-init.

    `own`: the user's settings for the injected containers. If the user replaced the program of
    istio-init by another one, nothing is checked. Raises AnnotationError or UnfitError.
    """
    if not wishes.config.metadata and not own.settings:
        return  # These are our own arguments, and the same grammar has read their values.
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
        chosen = traffic_flags.chosen_settings(traffic_flags.split(command[1:]), variables)
        if (elsewhere := chosen.pop(_ELSEWHERE, None)) and elsewhere.text.strip():
            problem = f"{elsewhere.where}: istio-init sets the rules of its own pod only"
            raise SettingError(problem, setting=elsewhere.where)
        for setting in chosen.values():
            setting.value()
    except SettingError as bad:
        raise _blamed(bad, wishes, own) from bad


def _words(container: Mapping[str, Any], key: str) -> list[str]:
    """Returns the words of `command` or `args`; [] if there are none or one of them is no text."""
    words = container.get(key) or []
    usable = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words if usable else []


def _read(name: str, value: str) -> None:
    try:
        traffic_grammar.boolean(value)
    except ValueError as problem:
        raise SettingError(f"${name}: {problem}", setting=f"${name}") from problem


def _blamed(bad: SettingError, wishes: Wishes, own: Own) -> AnnotationError | UnfitError:
    """Returns the error that names the annotation or the user's container that set the value."""
    name = bad.setting.removeprefix("$")
    annotations = wishes.annotations
    user = own.settings.get(contract.INIT_CONTAINER) or {}
    variables = [entry.get("name") for entry in user.get("env") or ()]
    if bad.setting.startswith("$") and name in wishes.config.metadata and name not in variables:
        problem = f"field proxyMetadata.{name}: {bad.message.partition(': ')[2]}"
        return AnnotationError(names.PROXY_CONFIG, annotations.get(names.PROXY_CONFIG, ""), problem)
    problem = f"istio-init could not use its settings: {bad.message}"
    if not user and (place := own.place(contract.PROXY_CONTAINER)):
        return UnfitError((*place, "securityContext", "runAsUser"), problem)
    if not (place := own.place(contract.INIT_CONTAINER)):
        return AnnotationError(names.OVERRIDES, annotations.get(names.OVERRIDES, ""), problem)
    if bad.setting.startswith("$") and name in variables:
        return UnfitError((*place, "env", variables.index(name)), problem)
    return UnfitError((*place, "args" if user.get("args") else "command"), problem)


def check_sizes(containers: Sequence[Mapping[str, Any]], wishes: Wishes, own: Own) -> None:
    """Checks that no argument or variable is too long for Linux to pass to its program.

    Raises UnfitError if a field of the pod is the cause, AnnotationError if an annotation is.
    """
    for container in containers:
        for path, text in _texts(container):
            # The number of characters is cheaper than that of bytes, and excludes almost all texts.
            if len(text) * 5 > MOST and len(text.encode(errors="replace")) > MOST:
                raise _too_long(path, text, container["name"], wishes, own)


def _too_long(
    path: FieldPath, text: str, name: str, wishes: Wishes, own: Own
) -> AnnotationError | UnfitError:
    """Returns the error for a text that is too long; names the field or annotation that set it."""
    problem = f"would have more than {MOST} bytes, the most that Linux passes to a program"
    if place := own.place(name):
        for field, user_text in _texts(own.settings[name]):
            if user_text == text:
                return UnfitError((*place, *field), problem)
    variable = text.partition("=")[0] if path[0] == "env" else ""
    if part := _OF_CONTAINERS.get(variable):
        return UnfitError(("spec", "containers"), f"their {part} in {variable} {problem}")
    annotations = wishes.annotations
    if not annotations:
        return UnfitError(("spec",), f"{field_types.show(path)} of {name} {problem}")
    cause = max(annotations, key=lambda key: len(annotations[key]))
    return AnnotationError(
        cause, annotations[cause], f"{field_types.show(path)} of {name} {problem}"
    )


def _texts(container: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    """Yields the field and the text of each argument and of each variable (`NAME=value`)."""
    for key in ("command", "args"):
        for index, word in enumerate(_words(container, key)):
            yield (key, index), word
    for index, entry in enumerate(container.get("env") or ()):
        if isinstance(value := entry.get("value"), str):
            yield ("env", index, "value"), f"{entry['name']}={value}"
