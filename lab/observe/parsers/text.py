"""What the parsers share: finding the table in the text around it, and saying what was unread."""

from collections.abc import Iterator

from lab.errors import ObservationError


def lines_after(text: str, *titles: str) -> Iterator[str]:
    """Non-blank lines after the first that begins with these column titles, in order.

    Raises ObservationError when no line has them.
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
    """The error for a line that has no known shape."""
    return ObservationError(f"cannot read this line of {tool}: {row!r}")


def count(text: str) -> int:
    """A counter as iptables -L abbreviates it (K, M, G are thousands)."""
    scale = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}.get(text[-1:], 1)
    return int(text.rstrip("KMGT")) * scale
