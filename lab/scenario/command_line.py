"""Parses the command lines of steps, which the lab runs without a shell.

The text is split into argv words once, when the chapter is imported. Placeholders are filled word
by word afterwards, so a value can never become two words or an operator. The reader sees exactly
the command that runs: a shell would split the shown text into the same words. Texts that a shell
would treat differently are rejected.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.errors import ScenarioError

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_OPERATORS = "|>"
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
_REFUSED = "&;()<`$*?[]~!#"
"""Characters with a meaning for a shell; they must be quoted (`~`, `#`: only at a word's start)."""

Resolve = Callable[[str], str]


@dataclass(frozen=True)
class Word:
    """One argv word: `written` is the word with its quotes, `meaning` the word without quotes."""

    written: str
    meaning: str

    def fill(self, resolve: Resolve) -> "Word":
        """Return the word with `resolve(name)` for each `{name}`, quoted again if it changed."""
        filled = _PLACEHOLDER.sub(lambda hole: resolve(hole[1]), self.meaning)
        return self if filled == self.meaning else Word(shlex.quote(filled), filled)


@dataclass(frozen=True)
class CommandLine:
    """A pipeline of one or more commands.

    `into` is the name of the file after `>`; None if the output does not go to a file.
    """

    stages: tuple[tuple[Word, ...], ...]
    into: Word | None = None

    @property
    def argvs(self) -> tuple[tuple[str, ...], ...]:
        """The argv of each command of the pipeline."""
        return tuple(tuple(word.meaning for word in stage) for stage in self.stages)

    @property
    def shown(self) -> str:
        """The text for the reader, who can paste it into a shell."""
        text = " | ".join(" ".join(word.written for word in stage) for stage in self.stages)
        return text if self.into is None else f"{text} > {self.into.written}"

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the placeholders, in order, without duplicates."""
        words = [word for stage in self.stages for word in stage]
        words += [self.into] if self.into else []
        return tuple(dict.fromkeys(n for w in words for n in _PLACEHOLDER.findall(w.meaning)))

    def fill(self, resolve: Resolve) -> "CommandLine":
        """The same command line with every placeholder replaced by `resolve(name)`."""
        return CommandLine(
            tuple(tuple(word.fill(resolve) for word in stage) for stage in self.stages),
            self.into.fill(resolve) if self.into else None,
        )


def parse(text: str) -> CommandLine:
    """Parse a command line. Raises ScenarioError for anything that needs a shell."""
    stages: list[list[Word]] = [[]]
    into: list[Word] = []
    redirected = False
    for token in _tokens(text):
        if token == _OPERATORS[0]:
            if redirected or not stages[-1]:
                raise ScenarioError(f"`{text}`: before `|` there must be a command without `>`")
            stages.append([])
        elif token == _OPERATORS[1]:
            if redirected:
                raise ScenarioError(f"`{text}`: only one `> FILE` is allowed")
            redirected = True
        else:
            assert isinstance(token, Word)
            (into if redirected else stages[-1]).append(token)
    if not all(stages):
        raise ScenarioError(f"`{text}`: there is no command before `>`, after `|` or at all")
    if len(into) != int(redirected):
        raise ScenarioError(f"`{text}`: the line must end with one file name after `>`")
    return CommandLine(tuple(tuple(stage) for stage in stages), into[0] if into else None)


def _tokens(text: str) -> Iterator[Word | str]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] in _OPERATORS:
            yield text[at]
            at += 1
        else:
            word, at = _word(text, at)
            yield word


def _word(text: str, start: int) -> tuple[Word, int]:
    meaning: list[str] = []
    bare: list[str] = []
    at = start
    while at < len(text) and not text[at].isspace() and text[at] not in _OPERATORS:
        char = text[at]
        if char in "'\"":
            inside, at = _quoted(text, at)
            meaning.append(inside)
        elif char == "\\":
            if at + 1 == len(text):
                raise ScenarioError(f"`{text}`: nothing follows the last backslash")
            meaning.append(text[at + 1])
            at += 2
        elif char in _REFUSED and (char not in "~#" or at == start):
            raise ScenarioError(
                f"`{text}`: {char!r} has a meaning for a shell, but steps run without a shell",
                hint="put the character in quotes if it is part of a word",
            )
        else:
            meaning.append(char)
            bare.append(char)
            at += 1
    if _BRACES.search("".join(bare)):
        raise ScenarioError(
            f"`{text}`: a shell would expand the braces", hint="put the word in single quotes"
        )
    return Word(text[start:at], "".join(meaning)), at


def _quoted(text: str, start: int) -> tuple[str, int]:
    quote = text[start]
    inside: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != quote:
        char = text[at]
        if quote == '"' and char in "$`!":
            raise ScenarioError(
                f"`{text}`: {char!r} has a meaning for a shell, even in double quotes",
                hint="use single quotes",
            )
        if quote == '"' and char == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            char = text[at + 1]
            at += 1
        inside.append(char)
        at += 1
    if at == len(text):
        raise ScenarioError(f"`{text}`: a quote is not closed")
    return "".join(inside), at + 1
