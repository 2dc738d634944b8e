"""Defines the exceptions of the mesh, and the root of every exception of this project.

SidecarLabError
├── DocumentError        a document cannot be read or injected (file, document, line, field)
├── DocumentErrors       all the DocumentErrors of one run, reported together
├── AnnotationError      a pod annotation has a value that cannot be used
├── UnfitError           a field of the pod rules out a sidecar (names the field)
├── AdmissionError       an admission request is malformed (carries an HTTP status)
├── RulesError           the redirection rules could not be planned, applied or verified
│   ├── SettingError     a flag or variable of istio-iptables cannot be used (names it)
│   ├── UnusableError    neither iptables-nft nor iptables-legacy works here
│   ├── ApplyError       the kernel refused the rules
│   ├── VerifyError      the rules that the kernel reports are not the planned ones
│   └── ValidationError  a connection dialled through the rules landed elsewhere
├── BootstrapError       an Envoy bootstrap cannot be made from the pod's settings
├── EnvoyError           Envoy could not be started, or gave up after its retries
└── DiscoveryError       discovery or trust cannot do its work, or refuses a stream or resource
(the operator's side adds its own in lab/errors.py)
"""

from collections.abc import Iterable
from typing import NamedTuple


class SidecarLabError(Exception):
    """An error whose text a user can understand.

    `message` names what is wrong; `hint` says what would fix it ("" if that is not known).
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Place(NamedTuple):
    """A place in the input: file name ("-" is stdin), document, line and field path.

    Documents and lines are counted from 1.
    """

    file: str
    document: int | None = None
    line: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        parts = [self.file if self.line is None else f"{self.file}:{self.line}"]
        if self.document is not None:
            parts.append(f"document {self.document}")
        if self.field:
            parts.append(f"field {self.field}")
        return ", ".join(parts)


class DocumentError(SidecarLabError):
    """A document cannot be read or injected."""

    exit_code = 2

    def __init__(self, problem: str, place: Place, *, hint: str = "") -> None:
        super().__init__(f"{place}: {problem}", hint=hint)
        self.problem = problem
        self.place = place


MOST_LISTED = 100
"""A run lists at most this many mistakes and counts the rest."""


MOST_SHOWN = 300
"""A message shows at most this many characters of a wrong value."""


class DocumentErrors(SidecarLabError):  # noqa: N818 - several at once
    """All mistakes in the documents of one run, each with its place; at least one."""

    exit_code = 2

    def __init__(self, errors: Iterable[DocumentError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        if len(self.errors) == 1:
            super().__init__(first.message, hint=first.hint)
            return
        shown = self.errors[:MOST_LISTED]
        lines = [f"  {e.message}" + (f" ({e.hint})" if e.hint else "") for e in shown]
        if more := len(self.errors) - len(shown):
            lines.append(f"  and {more} more")
        count = len(self.errors)
        super().__init__("\n".join([f"{count} mistakes, nothing was written:", *lines]))


class AnnotationError(SidecarLabError):
    """A pod annotation has a value that cannot be used; the message names the annotation."""

    exit_code = 2

    def __init__(self, annotation: str, value: str, problem: str) -> None:
        shown = repr(value) if len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]!r} and so on"
        super().__init__(f"annotation {annotation}: {problem} (value {shown})")
        self.annotation = annotation
        self.value = value


class UnfitError(SidecarLabError):
    """A field of the pod rules out a sidecar. `path`: the field's path, from the pod's root."""

    exit_code = 2

    def __init__(self, path: tuple[str | int, ...], problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint=hint)
        self.path = path


class AdmissionError(SidecarLabError):
    """An admission request is malformed. `status`: the HTTP status of the answer."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class RulesError(SidecarLabError):
    """The redirection rules could not be planned, applied or verified."""


class SettingError(RulesError):
    """A flag or variable of istio-iptables cannot be used; the message names it.

    `setting`: the flag or `$VARIABLE`, as the message spells it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", setting: str = "") -> None:
        super().__init__(message, hint=hint)
        self.setting = setting


class UnusableError(RulesError):
    """Neither iptables-nft nor iptables-legacy works in this network namespace."""

    exit_code = 3


class ApplyError(RulesError):
    """The kernel refused the rules of a table, or an `ip` command."""

    exit_code = 4


class VerifyError(RulesError):
    """The rules that the kernel reports are not the planned ones."""

    exit_code = 5


class ValidationError(RulesError):
    """A connection dialled through the rules landed elsewhere. The exit code is Istio's."""

    exit_code = 126


class BootstrapError(SidecarLabError):
    """An Envoy bootstrap cannot be made from the pod's settings."""


class EnvoyError(SidecarLabError):
    """Envoy could not be started, or died more often than the retries allow."""


class DiscoveryError(SidecarLabError):
    """Discovery or trust cannot do its work, or refuses a stream or resource."""
