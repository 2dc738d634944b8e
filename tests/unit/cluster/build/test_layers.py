"""Layers and archives: the same bytes for the same content, and nothing sent twice."""

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster.build import debian_packages, oci
from lab.cluster.build.tarball import Tarball
from lab.errors import BuildError


def layer(folder: Path, content: bytes) -> oci.Layer:
    folder.mkdir(exist_ok=True)
    return oci.pack(io.BytesIO(content), folder)


def archive(images: list[oci.Image], present: set[str]) -> tarfile.TarFile:
    out = io.BytesIO()
    oci.write_archive(images, present, out)
    return tarfile.open(fileobj=io.BytesIO(out.getvalue()))


def test_a_tarball_has_the_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    for name in ("one", "two"):
        source = tmp_path / f"source-{name}"
        source.write_text("content")
        with Tarball(tmp_path / name) as tar:
            tar.file("usr/bin/x", source, 0o755)
            tar.link("usr/bin/y", "x")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as tar:
        names = tar.getnames()
        assert names == ["usr", "usr/bin", "usr/bin/x", "usr/bin/y"]
        assert tar.getmember("usr/bin/x").mode == 0o755
        assert {member.uid for member in tar} == {0}


def test_a_tarball_refuses_a_name_twice(tmp_path: Path) -> None:
    with Tarball(tmp_path / "t") as tar:
        tar.file("a", b"1")
        with pytest.raises(ValueError, match="already"):
            tar.file("a", b"2")


@given(st.binary(max_size=5000))
def test_a_packed_layer_unpacks_to_its_content_and_is_named_by_it(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        packed = oci.pack(io.BytesIO(content), Path(folder))
        assert packed.path is not None
        blob = packed.path.read_bytes()
        assert gzip.decompress(blob) == content
        assert packed.diff_id == oci.digest(content)
        assert packed.digest == oci.digest(blob)
        assert packed.size == len(blob)


def test_an_archive_names_every_reference_and_shares_layers(tmp_path: Path) -> None:
    shared, own = layer(tmp_path, b"shared"), layer(tmp_path, b"own")
    one = oci.image(["r/a:1", "r/a:2"], [shared], "amd64")
    two = oci.image(["r/b:1"], [shared, own], "amd64", entrypoint=["/b"])
    with archive([one, two], set()) as tar:
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
        refs = [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]]
        assert refs == ["r/a:1", "r/a:2", "r/b:1"]
        names = tar.getnames()
        assert len(names) == len(set(names))
        for name in names:
            if name.startswith("blobs/"):
                data = tar.extractfile(name).read()  # type: ignore[union-attr]
                assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]


def test_an_archive_leaves_out_what_is_there_and_still_sends_the_manifest(tmp_path: Path) -> None:
    low, top = layer(tmp_path, b"low"), layer(tmp_path, b"top")
    one = oci.image(["r/a:1"], [low, top], "amd64")
    present = {low.digest, oci.digest(one.manifest), oci.digest(one.config)}
    with archive([one], present) as tar:
        names = set(tar.getnames())
    assert f"blobs/{low.digest.replace(':', '/')}" not in names
    assert f"blobs/{top.digest.replace(':', '/')}" in names
    assert f"blobs/{oci.digest(one.manifest).replace(':', '/')}" in names


def test_a_layer_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    lost = oci.Layer("sha256:d", "sha256:x", 1, oci.LAYER, None)
    with pytest.raises(FileNotFoundError, match="sha256:x"):
        oci.write_archive([oci.image(["r/a:1"], [lost], "amd64")], (), io.BytesIO())


def docker_save(path: Path, layers: list[bytes], *, linked: bool) -> None:
    """As docker 20 saves: a folder a layer, a link where a layer was written already."""
    config = json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [oci.digest(one) for one in layers]}}
    ).encode()
    with tarfile.open(path, "w") as tar:

        def put(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for number, data in enumerate(layers):
            if linked and number == 1:
                member = tarfile.TarInfo(f"l{number}/layer.tar")
                member.type, member.linkname = tarfile.SYMTYPE, "../l0/layer.tar"
                tar.addfile(member)
            else:
                put(f"l{number}/layer.tar", data)
        put("config.json", config)
        listing = {
            "Config": "config.json",
            "RepoTags": ["lab/x:1"],
            "Layers": [f"l{number}/layer.tar" for number in range(len(layers))],
        }
        put("manifest.json", json.dumps([listing]).encode())


def test_a_saved_image_is_read_and_known_layers_are_not_packed_again(tmp_path: Path) -> None:
    docker_save(tmp_path / "saved", [b"low", b"top"], linked=False)
    known = layer(tmp_path / "lower", b"low")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (image,) = oci.from_docker(
        tmp_path / "saved", {"lab/x:1": ["docker.io/lab/x:lab"]}, {known.diff_id: known}, blobs
    )
    assert image.references == ("docker.io/lab/x:lab",)
    assert image.layers[0] is known
    assert len(list(blobs.iterdir())) == 1


def test_a_saved_layer_behind_a_link_is_found(tmp_path: Path) -> None:
    docker_save(tmp_path / "saved", [b"same", b"same"], linked=True)
    (image,) = oci.from_docker(tmp_path / "saved", {"lab/x:1": ["r"]}, {}, tmp_path)
    assert image.layers[0].digest == image.layers[1].digest


def test_images_survive_being_written_and_read(tmp_path: Path) -> None:
    made = [oci.image(["r/a:1"], [layer(tmp_path, b"x"), layer(tmp_path, b"y")], "arm64")]
    oci.save_layers(made, tmp_path)
    assert oci.load_images(tmp_path) == made


def deb(path: Path, files: dict[str, bytes], *, name: str = "data.tar.xz") -> Path:
    """A package with these files, made as the format says."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for inner, data in files.items():
            member = tarfile.TarInfo(f"./{inner}")
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    content = lzma.compress(out.getvalue())
    members = b"!<arch>\n"
    for label, data in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"c"), (name, content)):
        members += f"{label:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        members += data + b"\n" * (len(data) % 2)
    path.write_bytes(members)
    return path


def test_a_package_becomes_files_where_merged_usr_has_them(tmp_path: Path) -> None:
    files = {
        "bin/tool": b"1",
        "usr/sbin/nginx": b"2",
        "usr/share/doc/x/README": b"3",
        "etc/nginx/nginx.conf": b"4",
        "lib/systemd/system/x.service": b"5",
    }
    package = deb(tmp_path / "x.deb", files)
    with Tarball(tmp_path / "layer") as target:
        assert debian_packages.add(target, [package], without={"etc/nginx/nginx.conf"}) == ["x.deb"]
    with tarfile.open(tmp_path / "layer") as tar:
        assert {m.name for m in tar if m.isfile()} == {"usr/bin/tool", "usr/sbin/nginx"}


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"hello")
    with pytest.raises(BuildError, match=r"x\.deb is not a Debian package"):
        list(debian_packages.members(tmp_path / "x.deb"))
    odd = deb(tmp_path / "y.deb", {}, name="data.tar.zst")
    with Tarball(tmp_path / "layer") as target, pytest.raises(BuildError, match=r"data\.tar\.zst"):
        debian_packages.add(target, [odd])
