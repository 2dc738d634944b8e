"""Functions that several parsers use: find a table, report an unreadable line, read a counter."""

from collections.abc import Iterator

from lab.errors import ObservationError


def lines_after(text: str, *titles: str) -> Iterator[str]:
    """Yield the non-blank lines after the first line that begins with these column titles.

    Raises ObservationError when no line begins with them.
    """
    rows = iter(text.splitlines())
    for row in rows:
        if row.split()[: len(titles)] == list(titles):
            break
    else:
        raise ObservationError(
            f"no line begins with {' '.join(titles)!r} in: {text.strip()[:300]!r}",
            hint="did the command run, or is this its error message?",
        )
    for row in rows:
        if row.strip():
            yield row.rstrip()


def unread(tool: str, row: str) -> ObservationError:
    """Return the error for the line `row` of the output of `tool`, which a parser cannot read."""
    return ObservationError(f"cannot read this line of {tool}: {row!r}")


def count(text: str) -> int:
    """Parse a counter of `iptables -L`, where K, M, G and T stand for powers of 1000."""
    scale = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}.get(text[-1:], 1)
    return int(text.rstrip("KMGT")) * scale
