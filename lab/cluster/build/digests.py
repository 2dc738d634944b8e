"""Remembers which digest a registry's tag had at its first pull; later pulls use that digest.

A tag can be moved, a digest cannot. Where versions.py names a published digest, that one is pulled.
For every other tag, the first pull writes the digest into FILE in the cache. To pull what the
registry serves now, remove the tag's entry from that file.
"""

import json
import time
from pathlib import Path

from filelock import FileLock

from lab.errors import HostError
from lab.paths import cache_root

FILE = "digests.json"


def file() -> Path:
    """Returns the path of the record: JSON, reference → digest and time of the first pull."""
    return cache_root() / FILE


def repository(reference: str) -> str:
    """Returns the reference without tag and digest; a registry's port stays."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def pinned(reference: str) -> str:
    """Returns what to pull for a reference: with its own or its recorded digest, if there is one.

    Raises HostError when the record is damaged.
    """
    if "@" in reference:
        return reference
    known = _read().get(reference)
    return f"{repository(reference)}@{known['digest']}" if known else reference


def record(reference: str, digest: str) -> None:
    """Remember the digest (sha256:…) of a reference's first pull; later ones change nothing."""
    if "@" in reference:
        return
    cache_root().mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file()}.lock"):
        known = _read()
        if reference in known:
            return
        known[reference] = {
            "digest": digest,
            "pulled": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        partial = file().with_name(f"{FILE}.new")
        partial.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(file())


def _read() -> dict[str, dict[str, str]]:
    try:
        known = json.loads(file().read_text(encoding="utf-8"))
        assert all("digest" in entry for entry in known.values())
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, AssertionError) as error:
        raise HostError(
            f"{file()} is damaged: which digests were pulled is not known",
            hint="fix it, or remove it to pull what the registry serves now",
        ) from error
    return dict(known)
