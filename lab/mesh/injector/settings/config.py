"""Reads the injector's configuration file: which pods it injects by default, and how.

YAML or JSON, with Istio's names where Istio has them:

    policy: enabled                 # or disabled
    neverInjectSelector:            # one match is enough; an empty selector matches no pod
    - matchLabels: {job: batch}
    alwaysInjectSelector: []
    revision: default               # in the pod's status annotation and istio.io/rev
    nativeSidecars: disabled        # or enabled, or auto (by the nodes' Kubernetes version)
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lab.mesh.errors import DocumentError, Place, SidecarLabError
from lab.mesh.injector.decision import Policy
from lab.mesh.injector.settings.pod_settings import Settings, native_by_version
from lab.mesh.label_selectors import LabelSelector, Requirement
from lab.mesh.manifest import documents, yaml_reader

FIELDS: Final = (
    "policy", "neverInjectSelector", "alwaysInjectSelector", "revision", "nativeSidecars",
)  # fmt: skip
POLICIES: Final = ("enabled", "disabled")
NATIVE: Final = ("auto", "enabled", "disabled")
WITH_VALUES: Final = ("In", "NotIn")
WITHOUT_VALUES: Final = ("Exists", "DoesNotExist")


def read(
    text: str, file: str, base: Settings | None = None, kubelets: Iterable[str] = ()
) -> Settings:
    """Parses `text`; returns the settings of `base`, except for those that `text` sets.

    If `base` is None, the default settings take its place. The selectors of `base` are always
    replaced. `file`: the file's name for messages. `kubelets`: the versions of the kubelets, which
    `nativeSidecars: auto` needs. Raises DocumentError, which names file and field.
    """
    reading = yaml_reader.read(text)
    if reading.problems:
        first = reading.problems[0]
        raise DocumentError(first.text, Place(file, line=first.line))
    fields = reading.value if reading.value is not None else {}
    if not isinstance(fields, dict):
        raise DocumentError("must be a mapping", Place(file))
    for name in fields:
        if name not in FIELDS:
            raise _wrong(file, name, f"is not one of {', '.join(FIELDS)}")
    settings = base or Settings()
    policy = Policy(
        _one_of(fields, "policy", POLICIES, settings.policy.policy, file),
        _selectors(fields, "neverInjectSelector", file),
        _selectors(fields, "alwaysInjectSelector", file),
    )
    revision = fields.get("revision", settings.revision)
    if not isinstance(revision, str) or not revision:
        raise _wrong(file, "revision", "must be text")
    return settings._replace(
        policy=policy,
        revision=revision,
        native_sidecar=_native(fields, settings.native_sidecar, kubelets, file),
    )


def read_file(path: Path, base: Settings, kubelets: Iterable[str] = ()) -> Settings:
    """Reads the configuration file at `path`, and parses it as `read` does.

    Also raises SidecarLabError if the file cannot be read, and DocumentErrors if it is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as bad:
        raise SidecarLabError(f"cannot read {path}: {bad.strerror}") from bad
    return read(documents.decode(data, str(path)), str(path), base, kubelets)


def _wrong(file: str, field: str, problem: str) -> DocumentError:
    return DocumentError(problem, Place(file, field=field))


def _native(fields: Mapping[str, Any], default: bool, kubelets: Iterable[str], file: str) -> bool:
    choice = _one_of(fields, "nativeSidecars", NATIVE, "", file)
    if choice != "auto":
        return default if not choice else choice == "enabled"
    try:
        return native_by_version(kubelets)
    except ValueError as bad:
        raise _wrong(file, "nativeSidecars", f"auto: {bad}") from bad


def _one_of(
    fields: Mapping[str, Any], name: str, known: tuple[str, ...], default: str, file: str
) -> str:
    value = fields.get(name, default)
    if name in fields and value not in known:
        raise _wrong(file, name, f"must be one of {', '.join(known)}")
    return str(value)


def _selectors(found: Mapping[str, Any], name: str, file: str) -> tuple[LabelSelector, ...]:
    given = found.get(name) or []
    if not isinstance(given, list):
        raise _wrong(file, name, "must be a list of label selectors")
    return tuple(selector(item, file, f"{name}[{index}]") for index, item in enumerate(given))


def selector(given: Any, file: str, place: str) -> LabelSelector:
    """Returns a label selector from its parsed YAML.

    Raises DocumentError, which names `file` and the field `place`.
    """
    if not isinstance(given, dict) or not given.keys() <= {"matchLabels", "matchExpressions"}:
        raise _wrong(file, place, "must hold matchLabels, matchExpressions or both")
    labels = given.get("matchLabels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise _wrong(file, f"{place}.matchLabels", "must be a mapping of labels to texts")
    expressions = given.get("matchExpressions") or []
    if not isinstance(expressions, list):
        raise _wrong(file, f"{place}.matchExpressions", "must be a list")
    requirements = [Requirement(key, "In", (value,)) for key, value in labels.items()]
    requirements += (
        _expression(expression, file, f"{place}.matchExpressions[{index}]")
        for index, expression in enumerate(expressions)
    )
    return LabelSelector(tuple(requirements))


def _expression(given: Any, file: str, place: str) -> Requirement:
    fields = given if isinstance(given, dict) else {}
    key, operator = fields.get("key"), fields.get("operator")
    values = fields.get("values") or []
    if not isinstance(key, str) or not key:
        raise _wrong(file, f"{place}.key", "must be the name of a label")
    if operator not in (*WITH_VALUES, *WITHOUT_VALUES):
        known = ", ".join((*WITH_VALUES, *WITHOUT_VALUES))
        raise _wrong(file, f"{place}.operator", f"must be one of {known}")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _wrong(file, f"{place}.values", "must be a list of texts")
    if bool(values) != (operator in WITH_VALUES):
        wanted = "must not be empty" if operator in WITH_VALUES else "must be empty"
        raise _wrong(file, f"{place}.values", f"{wanted} with {operator}")
    return Requirement(key, operator, tuple(values))
