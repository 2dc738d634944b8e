"""Thousands of made-up Locations: where they lead, by Go's own URLs and by ours."""

import json
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lab.mesh.grammar import probe_url

COUNT: Final = 20_000
_BASES: Final = (
    "http://10.0.0.1:80/a/b/c?x=y",
    "https://[fd00::1]:8443/",
    "http://10.0.0.1",
    "http://me:secret@10.0.0.1:80/a%2Fb/..%2e/c",
)
_PIECES: Final = (
    *("/", "//", "///", ".", "..", "./", "../", "a", "b%2Fc", "%41", "%zz", "%", "%2", "%C3%BC"),
    *("?", "#", "&", "=", ":", "@", ";", ",", "+", "~", "!", "'", "(", ")", "*", "$", '"', "<"),
    *(" ", "\t", "\x7f", "\\", "^", "`", "{", "|", "[", "]", "\u00fc", "\u00e9\u00ff"),
    *("http:", "https:", "HTTP:", "ftp:", "mailto:", "1a:", "a+b-c.d:", "http://", "https://"),
    *("10.0.0.1", "10.0.0.1:80", "[fd00::1]", "[fd00::1]:80", "[fd00::1%25lo]", "[::ffff:1.2.3.4]"),
    *("[1.2.3.4]", "[", "]", ":80", ":0", ":99999", ":x", ":", "user@", "user:pa%20ss@", "u:%zz@"),
    *("elsewhere.example", "%31", "%C3%A9", "EXAMPLE", "localhost", "x=1", "q?r", "z" * 40),
)


def pairs(count: int = COUNT) -> list[tuple[str, str]]:
    """Pairs of base and reference, the same every time."""
    chance = random.Random(11)

    def made() -> Iterator[tuple[str, str]]:
        for _ in range(count):
            pieces = chance.choices(_PIECES, k=chance.randint(0, 6))
            yield chance.choice(_BASES), "".join(pieces)

    return list(made())


def ours(base: str, reference: str) -> str:
    """Where it leads, as the Go program prints it; "" where it leads nowhere."""
    raw = reference.encode().decode("latin-1")
    try:
        to = probe_url.parse(base).resolve(raw)
    except ValueError:
        return ""
    given = to.host.rpartition(":")[2] if to.host.startswith("[") or ":" in to.host else ""
    port = given if given.isascii() and given.isdigit() else ""
    said = f"{to.scheme} {to.hostname} {port} {to.request_uri}"
    return said.encode("latin-1").decode(errors="replace")


def differ(prober: Path, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence for each pair of which the two differ."""
    lines = (
        json.dumps({"name": str(number), "base": base, "reference": reference}) + "\n"
        for number, (base, reference) in enumerate(wanted)
    )
    done = subprocess.run(
        [prober], input="".join(lines), capture_output=True, text=True, timeout=300, check=True
    )
    told = []
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        base, reference = wanted[int(answer["name"])]
        found = ours(base, reference)
        if found != answer["output"]:
            told.append(
                f"Location {reference!r} from {base}: kubelet {answer['output']!r}"
                f" {answer.get('error', '')}, the agent {found!r}"
            )
    return told
