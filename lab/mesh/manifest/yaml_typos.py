"""Finds the typing mistakes that stop a YAML parser, line by line, so that all are reported.

A parser ends at the first bad line. If that happens, this module searches every line of the
document for the mistakes that people make. It corrects them in a copy of the text, so that a parser
can go on and find the mistakes further down. The copy is for messages only.
"""

import re
from dataclasses import dataclass
from typing import Final

from lab.mesh.manifest.reading import Problem

TEMPLATE: Final = "a template, not YAML yet"
_KEY_ONLY: Final = re.compile(r"(\s*(?:- +)*)([A-Za-z][\w./-]*)\s*(?:#.*)?")
_NO_BLANK: Final = re.compile(r"(\s*(?:- +)*)([A-Za-z][\w./-]*):([^\s:/'\"\]}#][^#]*|[\"'].*)")
_NO_DASH_BLANK: Final = re.compile(r"(\s*)-([A-Za-z][\w./-]*:(?:\s.*)?)")
_KEY: Final = re.compile(r"\s*(?:- +)*(?:[\"'][^\"']*[\"']|[^\s#:\"'-][^:#]*):(?:\s|$)")


@dataclass(frozen=True)
class Corrected:
    """The mistakes that were found, and the text with those mistakes corrected."""

    problems: tuple[Problem, ...]
    text: str

    @property
    def is_template(self) -> bool:
        """Whether the text is a template, such as Helm's.

        Other mistakes in a template mean nothing until the template is rendered.
        """
        return any(problem.text == TEMPLATE for problem in self.problems)


def find(source: str) -> Corrected:
    """Finds typing mistakes in a document, and corrects them in a copy of its text.

    They are: a key without a colon, a colon or dash without a blank after it, a tab, a template.
    """
    problems: list[Problem] = []
    lines = source.splitlines(keepends=True)
    block_indent: int | None = None
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip("\r\n")
        indent = len(line) - len(line.lstrip(" "))
        if block_indent is not None:
            if not line.strip() or indent > block_indent:
                continue
            block_indent = None
        if not line.strip() or line.lstrip().startswith(("#", "---", "...", "%")):
            continue
        mistake = _mistake(line, _next_content(lines, number))
        if mistake:
            text, hint, corrected = mistake
            problems.append(Problem(number, text, hint))
            lines[number - 1] = corrected + raw[len(line) :]
        if _begins_text(lines[number - 1]):
            block_indent = indent
    return Corrected(tuple(problems), "".join(lines))


def _begins_text(line: str) -> bool:
    """Whether a line begins a block scalar (`key: |-`), so that the lines after it are text."""
    header = line.partition("#")[0].rstrip()
    sign = header.rstrip("-+0123456789")
    key = sign[:-1]
    if sign[-1:] not in ("|", ">") or key[-1:].strip():
        return False
    key = key.strip()
    return len(key) > 1 and key[0] not in "'\"" and key[-1] in ":-"


def _mistake(line: str, following: str | None) -> tuple[str, str, str] | None:
    """Returns (mistake, hint, corrected line) for a line; None if no mistake is found."""
    if "{{" in line and "}}" in line:
        return (TEMPLATE, "render it first, for instance `helm template`", "")
    margin = line[: len(line) - len(line.lstrip())]
    if "\t" in margin:
        corrected = margin.replace("\t", "  ") + line.lstrip()
        return ("a tab in the indentation", "YAML is indented with blanks", corrected)
    if (hit := _NO_BLANK.fullmatch(line.rstrip())) and not re.match(
        r"\w*://", hit[2] + ":" + hit[3]
    ):
        lead, key, value = hit.groups()
        shown = f"{key}: {value.strip()}"
        corrected = f"{lead}{shown}"
        return (f"no blank after the colon of {key!r}", f"write `{shown}`", corrected)
    if hit := _NO_DASH_BLANK.fullmatch(line):
        shown = f"- {hit[2].strip()}"
        return ("no blank after the dash", f"write `{shown}`", f"{hit[1]}{shown}")
    if (hit := _KEY_ONLY.fullmatch(line)) and _opens_block(line, hit, following):
        lead, key = hit.groups()
        return (f"no colon after {key!r}", f"write `{key}:`", f"{lead}{key}:")
    return None


def _opens_block(line: str, hit: re.Match[str], following: str | None) -> bool:
    """Whether a line with one word is a key that lacks its colon.

    It is one if the next line with content is nested in it.
    """
    if following is None or "- " in hit[1]:
        return False
    deeper = len(following) - len(following.lstrip()) > len(line) - len(line.lstrip())
    same_list = following.lstrip().startswith("- ") and (
        len(following) - len(following.lstrip()) == len(line) - len(line.lstrip())
    )
    nested = following.lstrip().startswith("- ") or bool(_KEY.match(following))
    nested = nested or bool(_NO_BLANK.fullmatch(following.rstrip()))
    return (deeper and nested) or same_list


def _next_content(lines: list[str], after: int) -> str | None:
    for line in lines[after:]:
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            return line.rstrip("\r\n")
    return None
