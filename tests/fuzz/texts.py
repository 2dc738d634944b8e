"""Mutated manifests: lines, tokens, bytes and structure of YAML and JSON. Pure."""

import copy
import json
from random import Random
from typing import Any, Final

import yaml

from lab.mesh.errors import SidecarLabError
from lab.mesh.manifest import documents
from lab.mesh.workloads import WORKLOADS
from tests.fuzz import odd, pods
from tests.fuzz.reviews import damaged

Seed = tuple[str, bytes]
TOKENS: Final = (
    "&a ", "*a", "!!int ", "!!str ", "!custom ", "!!binary ", "<<: *a", "? ", "- ", ": ", "|\n",
    ">-\n", "{", "}", "[", "]", ",", "#", "'", '"', "%YAML 1.2\n", "---\n", "--- ", "...\n", "\t",
    "\r", "\u2028", "\x85", "\ufeff", "\x00", "y", "on", "1e3", "0o17", "012", "~", "null",
    "{{ x }}", "@", "`", "\\", "\\x41", "=", "!!timestamp ", "!<tag:yaml.org,2002:int> ",
    "  ", "é", "😀",
)  # fmt: skip
HEADS: Final = (
    "\ufeff", "---\n", "# comment\n", "%YAML 1.1\n---\n", "\n\n", "---\n---\n", "...\n",
)  # fmt: skip
POD: Final = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n"


def make(rng: Random, seeds: list[Seed]) -> bytes:
    """One mutated file of manifests."""
    how = rng.random()
    data = rng.choice(seeds)[1]
    if how < 0.35:
        data = lines(rng, data)
    elif how < 0.5:
        data = damaged(rng, data)
    elif how < 0.8:
        data = structure(rng, data)
    elif how < 0.88:
        data = special(rng)
    else:
        data = joined(rng, [rng.choice(seeds)[1] for _ in range(rng.choice((2, 2, 3, 8)))])
    if rng.random() < 0.1:
        data = data.replace(b"\n", b"\r\n")
    if rng.random() < 0.1:
        data = rng.choice(HEADS).encode() + data
    return data


def lines(rng: Random, data: bytes) -> bytes:
    """Lines taken out, doubled, moved, indented otherwise, and tokens put in."""
    rows = data.decode(errors="surrogateescape").split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(rows))
        row = rows[at]
        what = rng.randrange(9)
        if what == 0:
            del rows[at : at + rng.choice((1, 1, 5))]
        elif what == 1:
            rows.insert(at, row)
        elif what == 2:
            rows.insert(rng.randrange(len(rows)), rows.pop(at))
        elif what == 3:
            rows[at] = rng.choice((" ", "  ", "\t", "      ")) + row
        elif what == 4:
            rows[at] = row[1:] if row.startswith(" ") else row.lstrip()
        elif what == 5:
            rows[at] = row + rng.choice(("  # comment", " ", "\r", " :", ":", " #"))
        elif what == 6:
            key, colon, _ = row.partition(":")
            scalar = rng.choice((*TOKENS, *odd.TEXTS, *map(str, odd.NUMBERS)))
            rows[at] = f"{key}{colon} {scalar}"
        else:
            column = rng.randrange(len(row) + 1)
            rows[at] = row[:column] + rng.choice(TOKENS) + row[column:]
        rows = rows or [""]
    return "\n".join(rows).encode(errors="surrogatepass")


def structure(rng: Random, data: bytes) -> bytes:
    """The data of a seed changed, and written anew in some style."""
    try:
        read = [one.value for one in documents.read(data, "seed") if one.value]
    except SidecarLabError:
        return damaged(rng, data)
    values = copy.deepcopy(read)
    for value in values:
        for _ in range(rng.choice((0, 1, 1, 3))):
            if rng.random() < 0.5:
                pods.change(rng, _template(value))
            else:
                odd.mutate(rng, value)
    try:
        if rng.random() < 0.2:
            return "\n".join(
                json.dumps(one, indent=rng.choice((None, 1))) for one in values
            ).encode()
        text = yaml.dump_all(
            values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
            default_flow_style=rng.choice((None, False, False, True)),
            allow_unicode=rng.random() < 0.5, width=rng.choice((20, 80, 4000)),
            explicit_start=rng.random() < 0.5, sort_keys=False,
            default_style=rng.choice((None, None, None, '"', "|")),
        )  # fmt: skip
        return str(text).encode(errors="surrogatepass")
    except (RecursionError, UnicodeEncodeError, yaml.YAMLError):
        return b"[" * 3_000


def _template(value: Any) -> Any:
    """The pod in a workload, made where it is missing: changes need one to work on."""
    workload = WORKLOADS.get(str(value.get("kind")))
    for key in workload.template if workload else ():
        if not isinstance(value.get(key), dict):
            value[key] = {}
        value = value[key]
    return value


def joined(rng: Random, parts: list[bytes]) -> bytes:
    """Several files as one stream, with separators of all sorts."""
    between = (
        b"---\n",
        b"\n---\n",
        b"--- # next\n",
        b"\n...\n",
        b"\n---\n---\n",
        b"",
        b"\r\n---\r\n",
    )
    made = parts[0]
    for part in parts[1:]:
        made += rng.choice(between) + part
    return lines(rng, made) if rng.random() < 0.3 else made


def special(rng: Random) -> bytes:
    """What no honest manifest is like: bombs of aliases, depth, size, odd tags."""
    width, levels = rng.choice((2, 9, 10)), rng.choice((2, 5, 9, 40))
    bomb = "a0: &a0 [x, y]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]\n" for n in range(1, levels)
    )
    merges = "m0: &m0 {a: 1}\n" + "".join(
        f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * width)}]\n" for n in range(1, levels)
    )
    depth = rng.choice((50, 190, 210, 5_000, 100_000))
    big = "x" * rng.choice((10_000, 1_000_000))
    return rng.choice((
        POD + bomb, POD + merges, bomb + POD, f"{POD}    args: &loop [*loop]\n",
        f"{POD}  deep: {'[' * depth}{']' * depth}\n",
        f"{POD}  deep: {'{a: ' * depth}{'}' * depth}\n",
        "".join(f"{' ' * n}a:\n" for n in range(min(depth, 1_000))), "- " * min(depth, 5_000),
        f"{POD}    args: ['{big}']\n",
        f"{POD}    args:\n    - |\n" + "      line\n" * len(big[:20_000]),
        f"{POD}    {big}: 1\n", f"{POD}    args: [{'1,' * min(len(big), 100_000)}]\n",
        "---\n" * 5_000 + POD, (POD + "---\n") * 40, f"{POD}    ? [complex, key]\n    : x\n",
        f"{POD}    tty: !!bool maybe\n", f"{POD}    args: !!set {{a, b}}\n",
        f"{POD}    image: !!binary {big[:40]}\n", f"{POD}    image: !!python/object:os.system x\n",
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [odd.value(rng)]}),
        '{"a":' * depth, "[" * depth, "&a " * 50, "*a", "? " * 2_000, "!" * 300, "\ufeff" * 3, "",
    )).encode()  # fmt: skip
