"""Tags pulled by the digest that they had at first."""

from pathlib import Path

import pytest

from lab.cluster.build import digests, docker_images
from lab.errors import HostError

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path))


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("debian:bookworm-slim", "debian"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b"),
        ("localhost:5000/a/b", "localhost:5000/a/b"),
        (f"kindest/node:v1@{ONE}", "kindest/node"),
    ],
)
def test_the_first_digest_of_a_tag_stays(reference: str, repository: str) -> None:
    assert digests.repository(reference) == repository
    assert digests.pinned(reference) == reference
    digests.record(reference, ONE)
    digests.record(reference, TWO)
    expected = reference if "@" in reference else f"{repository}@{ONE}"
    assert digests.pinned(reference) == expected
    assert docker_images.listed_as(f"{repository}:tag@{ONE}") == f"{repository}@{ONE}"


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {}}'])
def test_a_damaged_record_is_named_and_not_passed_over(text: str) -> None:
    digests.file().write_text(text)
    with pytest.raises(HostError, match=r"digests\.json is damaged"):
        digests.pinned("debian:x")
