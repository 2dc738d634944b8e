"""Templates of command output: texts with typed holes for the parts that change with each run.

    jiuxi-<hash>-<hash>   1/1     Running   0          <age>

A hole is `<type>` or `<type:name>`. Holes with the same name must match the same text;
`Match.holes` maps the name to this text. One or more blanks match one or more blanks. A line of
dots (`...` or `......`, as the walkthrough prints) matches any number of lines. `{name}` is
replaced as in commands. All other text is literal. The template must match the whole output, except
blank lines at both ends.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.errors import ScenarioError

HOLES = {
    "any": r".*?",
    "word": r"\S+",
    "name": r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?",
    "number": r"\d+(?:\.\d+)?",
    "pid": r"\d+",
    "port": r"\d{1,5}",
    "ip": r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)",
    "mac": r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}",
    "hash": r"[a-z0-9]{4,12}",
    "digest": r"sha256:[0-9a-f]{64}",
    "age": r"(?:\d+(?:ms|[smhdy]))+",
    "time": r"\d{1,2}:\d{2}(?::\d{2})?|\S*\d{2}:\d{2}:\d{2}\S*",
}
"""The types of holes and their regular expressions; a hole never matches more than one line."""
LITERAL = frozenset({"none", "unknown", "pending", "nil", "unset", "invalid"})
"""Words that kubectl itself prints in angle brackets, like `<none>`; they are not holes."""
_HOLE = re.compile(r"<([a-z]+)(?::([a-z][a-z0-9_]*))?>")
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_DOTS = re.compile(r"\s*(?:\.{3,}|…)\s*")


@dataclass(frozen=True)
class Match:
    """The result of comparing an output with a template.

    If the output fits, `holes` maps the names of holes to the texts that they matched, and
    `expected` and `observed` are "". If it does not fit, `holes` is empty, `expected` is the first
    line of the template that does not match, and `observed` is the line of the output in its place.
    """

    holes: dict[str, str] = field(default_factory=dict)
    expected: str = ""
    observed: str = ""

    @property
    def ok(self) -> bool:
        """Whether the output fits the template."""
        return not self.expected and not self.observed


@dataclass(frozen=True)
class Template:
    """A parsed template, for comparison with outputs; `text` is its source.

    Raises ScenarioError for an unknown type of hole.
    """

    text: str

    def __post_init__(self) -> None:
        for line in self._lines():
            _pattern(line, {})

    def fill(self, resolve: Callable[[str], str]) -> "Template":
        """The same template with every `{name}` replaced by `resolve(name)`."""
        return Template(_PLACEHOLDER.sub(lambda placeholder: resolve(placeholder[1]), self.text))

    def match(self, output: str) -> Match:
        """Compare `output` with the template."""
        return _fit(self._lines(), _trim(output), {})

    def _lines(self) -> list[str]:
        return _trim(self.text)


def parse(text: str) -> Template:
    """Make a template of `text`. Raises ScenarioError for a type of hole that does not exist."""
    return Template(text)


def _trim(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _fit(template: list[str], output: list[str], holes: dict[str, str]) -> Match:
    # `at` and `line` are the positions in template and output. After a mismatch, go back to the
    # last line of dots and let it take one more line (as `*` in file name patterns), so the work
    # stays within template x output.
    at = line = 0
    resume: tuple[int, int, dict[str, str]] | None = None
    worst = Match(expected="…", observed="…")
    reached = -1
    while at < len(template) or line < len(output):
        if at < len(template) and _DOTS.fullmatch(template[at]):
            resume = (at, line, dict(holes))
            at += 1
            continue
        filled_holes = (
            _line(template[at], output[line], holes) if _both(at, line, template, output) else None
        )
        if filled_holes is not None:
            holes = filled_holes
            at, line = at + 1, line + 1
            continue
        if at > reached:
            reached = at
            worst = Match(
                expected=template[at] if at < len(template) else "the end of the output",
                observed=output[line] if line < len(output) else "the end of the output",
            )
        if resume is None or resume[1] >= len(output):
            return worst
        at, line, holes = resume[0] + 1, resume[1] + 1, dict(resume[2])
        resume = (resume[0], resume[1] + 1, resume[2])
    return Match(holes=holes)


def _both(at: int, line: int, template: list[str], output: list[str]) -> bool:
    return at < len(template) and line < len(output)


def _line(template: str, output: str, holes: dict[str, str]) -> dict[str, str] | None:
    match = re.fullmatch(_pattern(template, holes), output.strip())
    return None if match is None else {**holes, **match.groupdict()}


def _pattern(line: str, known: dict[str, str]) -> str:
    parts: list[str] = []
    named: set[str] = set()
    at = 0
    for hole in _HOLE.finditer(line.strip()):
        kind, name = hole[1], hole[2]
        if kind in LITERAL and name is None:
            continue
        if kind not in HOLES:
            raise ScenarioError(
                f"`{hole[0]}` is not a hole: there is no such type",
                hint=f"the types are: {', '.join(sorted(HOLES))}",
            )
        parts.append(_literal(line.strip()[at : hole.start()]))
        if name in known:
            parts.append(re.escape(known[name]))
        elif name in named:
            parts.append(f"(?P={name})")
        else:
            parts.append(f"(?P<{name}>{HOLES[kind]})" if name else f"(?:{HOLES[kind]})")
            named |= {name} if name else set()
        at = hole.end()
    parts.append(_literal(line.strip()[at:]))
    return "".join(parts)


def _literal(text: str) -> str:
    return "".join(
        r"\s+" if part.isspace() else re.escape(part) for part in re.split(r"(\s+)", text)
    )
