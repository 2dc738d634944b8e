"""Checks whether the programs in our containers accept arguments and environment. Pure.

A pod whose init program or agent refuses its settings never starts, and the reason is in a log that
few look for. These checks name the annotation or the container that brought the setting.
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
"""Bytes of the longest argument or variable that Linux passes to a program."""
DNS_VARIABLES: Final = ("ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS")
"""With them the rules would send DNS to the agent, and this agent does not answer it."""
_OF_CONTAINERS: Final = {
    "ISTIO_META_APP_CONTAINERS": "names",
    "ISTIO_META_POD_PORTS": "ports",
    contract.PROBES_VARIABLE: "probes",
}
"""Variables of istio-proxy made from the pod's containers, and what each holds of them."""
_ELSEWHERE: Final = "network-namespace"


def check_init(init: Mapping[str, Any], wishes: Wishes, own: Own) -> None:
    """Checks whether istio-iptables accepts its settings. Raises AnnotationError or UnfitError.

    `own`: the user's settings for our containers. A container that runs another program is the
    user's own business.
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
            problem = f"{elsewhere.where}: the init container sets the rules of its own pod"
            raise SettingError(problem, setting=elsewhere.where)
        for setting in chosen.values():
            setting.value()
    except SettingError as bad:
        raise _blamed(bad, wishes, own) from bad


def _words(container: Mapping[str, Any], key: str) -> list[str]:
    """Returns the words of a command; [] for a wrong type, which an API server refuses."""
    words = container.get(key) or []
    usable = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words if usable else []


def _read(name: str, value: str) -> None:
    try:
        traffic_grammar.boolean(value)
    except ValueError as problem:
        raise SettingError(f"${name}: {problem}", setting=f"${name}") from problem


def _blamed(bad: SettingError, wishes: Wishes, own: Own) -> AnnotationError | UnfitError:
    """Returns the error, which names the annotation or the container that brought the setting."""
    name = bad.setting.removeprefix("$")
    annotations = wishes.annotations
    user = own.settings.get(contract.INIT_CONTAINER) or {}
    variables = [entry.get("name") for entry in user.get("env") or ()]
    if bad.setting.startswith("$") and name in wishes.config.metadata and name not in variables:
        problem = f"field proxyMetadata.{name}: {bad.message.partition(': ')[2]}"
        return AnnotationError(names.PROXY_CONFIG, annotations.get(names.PROXY_CONFIG, ""), problem)
    problem = f"istio-iptables would refuse {bad.message}"
    if not user and (place := own.place(contract.PROXY_CONTAINER)):
        return UnfitError((*place, "securityContext", "runAsUser"), problem)
    if not (place := own.place(contract.INIT_CONTAINER)):
        return AnnotationError(names.OVERRIDES, annotations.get(names.OVERRIDES, ""), problem)
    if bad.setting.startswith("$") and name in variables:
        return UnfitError((*place, "env", variables.index(name)), problem)
    return UnfitError((*place, "args" if user.get("args") else "command"), problem)


def check_sizes(containers: Sequence[Mapping[str, Any]], wishes: Wishes, own: Own) -> None:
    """Checks whether Linux can pass every argument and variable to the programs.

    Raises AnnotationError, or UnfitError if a container of the pod brought a text too long.
    """
    for container in containers:
        for path, text in _texts(container):
            # The number of characters is cheaper than that of bytes, and excludes almost all texts.
            if len(text) * 5 > MOST and len(text.encode(errors="replace")) > MOST:
                raise _too_long(path, text, container["name"], wishes, own)


def _too_long(
    path: FieldPath, text: str, name: str, wishes: Wishes, own: Own
) -> AnnotationError | UnfitError:
    """Returns the error, which names the container, else the annotation, that brought the text."""
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
    """Yields the field and the text of each argument and variable, as a program gets it."""
    for key in ("command", "args"):
        for index, word in enumerate(_words(container, key)):
            yield (key, index), word
    for index, entry in enumerate(container.get("env") or ()):
        if isinstance(value := entry.get("value"), str):
            yield ("env", index, "value"), f"{entry['name']}={value}"
