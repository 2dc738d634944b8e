"""Remembers which digest a registry's tag had at its first pull; later pulls use that digest.

A registry can serve another image under the same tag later, but not under the same digest. Where
versions.py gives an image's digest, that digest is pulled. For every other image, the first pull
writes the digest into the file FILE in the cache. To pull what the registry serves now, remove the
image's entry from that file.
"""

import json
import time
from pathlib import Path

from filelock import FileLock

from lab.errors import HostError
from lab.paths import cache_root

FILE = "digests.json"


def file() -> Path:
    """Returns the path of the file that holds the digests.

    The file is JSON: it maps an image reference to the digest and time of its first pull.
    """
    return cache_root() / FILE


def repository(reference: str) -> str:
    """Returns an image reference without its tag and digest, but with its registry's port."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def pinned(reference: str) -> str:
    """Returns the reference that must be pulled for `reference`: one with a digest, if possible.

    A reference with a digest is returned as it is. For another reference, the digest of the first
    pull is added; if there was no pull yet, the reference is returned as it is. Raises HostError
    when the file of digests is damaged.
    """
    if "@" in reference:
        return reference
    known = _read().get(reference)
    return f"{repository(reference)}@{known['digest']}" if known else reference


def record(reference: str, digest: str) -> None:
    """Write the digest (sha256:…) of a reference's first pull into the file of digests.

    Does nothing if the reference has a digest, or if the file already holds a digest for it.
    """
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
            f"{file()} is damaged, so the digests of earlier pulls are not known",
            hint="repair the file, or remove it to pull what the registry serves now",
        ) from error
    return dict(known)
