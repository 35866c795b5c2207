"""save, load and import: with skopeo's and Docker's formats, compressed or not, and archives made to do harm."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from image_support import (
    Shop,
    Told,
    collected,
    make_image,
    needs_skopeo,
    pieces,
    run,
    shop,
    skopeo,
    tar_of,
)

from cloudstead.engine.compression import decompressed, detect
from cloudstead.engine.errors import EngineError, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.images import tar_reader, tar_writer
from cloudstead.engine.images.api import ExecConfig, Platform
from cloudstead.engine.images.tar_reader import members
from cloudstead.engine.tar.writer import END

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "gzip members": lambda data: b"".join(gzip.compress(data[at : at + 70_000]) for at in range(0, len(data), 70_000)),
    "gzip padded": lambda data: gzip.compress(data) + bytes(700),
    "zstd": lambda data: zstandard.compress(data),
    "zstd frames": lambda data: b"".join(zstandard.compress(data[at : at + 70_000]) for at in range(0, len(data), 70_000)),
    "zstd skippable": lambda data: b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstandard.compress(data),
    "xz": lzma.compress,
    "bzip2": lambda data: bz2.compress(data[:100_000]) + bz2.compress(data[100_000:]),
}


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def opened(data: bytes) -> dict[str, bytes]:
    """The files of a tar, as Python's reader sees them."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member)) is not None}


async def saved(here: Shop, *names: str) -> bytes:
    return await collected(here.images.save(names))


# ---------------------------------------------------------------------------------------------------------------- there and back


def test_what_is_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here, shop(tmp_path / "b") as there:
            one = await make_image(here.images, "one:1", {"a": b"1"}, {"b": os.urandom(3 << 20)})
            two = await make_image(here.images, "localhost:5000/two:x", {"a": b"1"}, compress=False)
            here.images.tag("one:1", "uno")
            nameless = await make_image(here.images, "", {"c": b"3"})
            data = await saved(here, "one", "uno", two.id, nameless.id[7:19], "localhost:5000/two:x")
            assert data == await saved(here, "one", "uno", two.id, nameless.id[7:19], "localhost:5000/two:x")
            told = Told()
            names = await there.images.load(pieces(data), tell=told)
            assert set(names) == {"one:1", "uno:latest", "localhost:5000/two:x", nameless.id}
            for image in (one, two, nameless):
                loaded = there.images.resolve(image.id)
                assert (loaded.manifest, loaded.layers, loaded.config) == (image.manifest, image.layers, image.config)
            assert there.images.resolve("uno").id == one.id
            assert there.images.resolve(nameless.id).tags == ()
            assert there.blobs() == here.blobs(), "the archive's documents are gone again"
            assert not there.leftovers()
            assert "Loading layer" in told.statuses()

    run(story())


@needs_skopeo
def test_skopeo_reads_both_sides_of_what_is_saved(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "team/app:1", {"a": b"1"}, {"b": b"2"})
            archive = tmp_path / "saved.tar"
            archive.write_bytes(await saved(here, "team/app:1"))
            for kind in ("oci-archive", "docker-archive"):
                seen = json.loads(await asyncio.to_thread(skopeo, "inspect", "--config", f"{kind}:{archive}"))
                assert seen["rootfs"]["diff_ids"] == list(image.config.rootfs.diff_ids)
                await asyncio.to_thread(skopeo, "copy", f"{kind}:{archive}", f"dir:{tmp_path / kind}")
            assert json.loads((tmp_path / "oci-archive" / "manifest.json").read_bytes())["config"]["digest"] == image.id
            tagged = await asyncio.to_thread(skopeo, "inspect", f"docker-archive:{archive}:docker.io/team/app:1")
            assert json.loads(tagged)["Layers"]

    run(story())


@needs_skopeo
@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_loaded(tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here, shop(tmp_path / "b") as there:
            image = await make_image(here.images, "team/app:1", {"a": b"1"}, {"b": os.urandom(100_000)})
            (tmp_path / "saved.tar").write_bytes(await saved(here, "team/app:1"))
            target = f"{kind}:{tmp_path / 'other.tar'}:docker.io/team/app:2"
            await asyncio.to_thread(skopeo, "copy", f"oci-archive:{tmp_path / 'saved.tar'}", target)
            assert await there.images.load(pieces((tmp_path / "other.tar").read_bytes())) == ("team/app:2",)
            loaded = there.images.resolve("team/app:2")
            assert loaded.id == image.id
            assert loaded.size == image.size

    run(story())


def test_save_writes_what_docker_load_reads(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            image = await make_image(here.images, "team/app:1", {"a": b"1"})
            here.images.tag("team/app:1", "team/app:2")
            files = opened(await saved(here, "team/app"))
            assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
            (old,) = json.loads(files["manifest.json"])
            assert old["RepoTags"] == ["team/app:1", "team/app:2"]
            assert digest_of(files[old["Config"]]) == image.id
            assert [digest_of(files[each]) for each in old["Layers"]] == [layer.digest for layer in image.layers]
            index = json.loads(files["index.json"])
            assert [each["annotations"] for each in index["manifests"]] == [
                {"io.containerd.image.name": f"docker.io/team/app:{tag}", "org.opencontainers.image.ref.name": tag} for tag in "12"
            ]
            assert index["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}
            assert json.loads(files["repositories"]) == {"team/app": dict.fromkeys("12", image.layers[0].digest[7:])}
            (only,) = json.loads(opened(await saved(here, "team/app:2"))["manifest.json"])
            assert only["RepoTags"] == ["team/app:2"]
            (by_id,) = json.loads(opened(await saved(here, image.id))["manifest.json"])
            assert by_id["RepoTags"] is None
            for names in ((), ("nobody",), ("team/app", "team/none:1"), ("A b",)):
                with pytest.raises(EngineError):
                    await saved(here, *names)

    run(story())


def old_archive(layers: list[bytes], tags: list[str], *, link: bool = False) -> bytes:
    """As Docker wrote it until version 24: a folder for each layer, layers that are the same as links."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in layers]},
        }
    ).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        names = []
        for number, layer in enumerate(layers):
            folder = f"{number:064x}"
            for name, data in ((f"{folder}/VERSION", b"1.0"), (f"{folder}/json", b"{}"), (f"{folder}/layer.tar", layer)):
                member = tarfile.TarInfo(name)
                if link and number and name.endswith("layer.tar"):
                    member.type, member.linkname = tarfile.SYMTYPE, f"../{0:064x}/layer.tar"
                    tar.addfile(member)
                else:
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
            names.append(f"{folder}/layer.tar")
        documents = (
            (f"{digest_of(config)[7:]}.json", config),
            (
                "manifest.json",
                json.dumps([{"Config": f"{digest_of(config)[7:]}.json", "RepoTags": tags or None, "Layers": names}]).encode(),
            ),
            ("repositories", b"{}"),
        )
        for name, data in documents:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_dockers_old_archive_is_loaded_however_it_is_compressed(tmp_path: Path, compression: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            layers = [tar_of({"a": b"1"}), tar_of({"b": random.Random(1).randbytes(200_000)})]
            data = COMPRESSIONS[compression](old_archive(layers, ["app:1", "other:2"]))
            assert await here.images.load(pieces(data, 5_000)) == ("app:1", "other:2")
            image = here.images.resolve("app:1")
            assert [layer.digest for layer in image.layers] == [digest_of(layer) for layer in layers]
            assert image.config.config.cmd == ("sh",)
            assert len(here.blobs()) == 4
            assert await here.images.load(pieces(data)) == ("app:1", "other:2")

    run(story())


def test_layers_that_are_links_to_others_are_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            layer = tar_of({"a": b"1"})
            (name,) = await here.images.load(pieces(old_archive([layer, layer, layer], [], link=True)))
            assert name.startswith("sha256:")
            assert [each.digest for each in here.images.resolve(name).layers] == [digest_of(layer)] * 3

    run(story())


def test_layers_of_an_archive_may_be_compressed_themselves(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            plain = tar_of({"a": b"1"})
            config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(plain)] * 2}})
            listed = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["1.tar.gz", "./2.tar.zst"]}]
            files = {
                "1.tar.gz": gzip.compress(plain),
                "2.tar.zst": zstandard.compress(plain),
                "manifest.json": json.dumps(listed).encode(),
                "c.json": config.encode(),
            }
            await here.images.load(pieces(tar_of(files)))
            assert [each.media_type.rpartition("+")[2] for each in here.images.resolve("x:1").layers] == ["gzip", "zstd"]

    run(story())


# ---------------------------------------------------------------------------------------------------------------- OCI layouts


def layout(manifests: list[dict[str, Any]], *blobs: bytes) -> bytes:
    files = {f"blobs/sha256/{digest_of(blob)[7:]}": blob for blob in blobs}
    index = {"schemaVersion": 2, "manifests": manifests}
    return tar_of({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()} | files)


def image_blobs(architecture: str = "amd64", variant: str = "") -> tuple[bytes, bytes, bytes]:
    """Manifest, configuration, layer."""
    layer = tar_of({"a": architecture.encode()})
    settings = {
        "architecture": architecture,
        "os": "linux",
        "variant": variant,
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
    }
    config = json.dumps(settings).encode()
    manifest = {
        "schemaVersion": 2,
        "config": describe(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    return json.dumps(manifest).encode(), config, layer


def describe(data: bytes, media_type: str = "application/vnd.oci.image.manifest.v1+json", **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)} | more


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({"io.containerd.image.name": "docker.io/library/x:1", "org.opencontainers.image.ref.name": "1"}, ("x:1",)),
        ({"org.opencontainers.image.ref.name": "docker.io/library/x:1"}, ("x:1",)),
        ({"org.opencontainers.image.ref.name": "latest"}, None),
        ({"org.opencontainers.image.ref.name": "not a name/"}, None),
        ({"io.containerd.image.name": "../../etc/passwd"}, None),
        ({}, None),
    ],
)
def test_an_image_of_a_layout_has_the_name_that_its_annotations_give(tmp_path: Path, annotations: dict[str, str], names: Any) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            manifest, config, layer = image_blobs()
            data = layout([describe(manifest, annotations=annotations)], manifest, config, layer)
            assert await here.images.load(pieces(data)) == (names or (digest_of(config),))
            assert here.images.all()[0].manifest.digest == digest_of(manifest)
            assert here.images.all()[0].manifest.annotations == {}

    run(story())


def test_of_an_index_in_a_layout_the_image_for_this_machine_is_taken(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            mine, other, alien = image_blobs(), image_blobs("arm64"), image_blobs("s390x")
            listed = [
                describe(alien[0], platform={"os": "linux", "architecture": "s390x"}),
                describe(other[0], platform={"os": "linux", "architecture": "arm64"}),
                describe(mine[0], platform={"os": "linux", "architecture": "amd64"}),
                describe(b"attestation", platform={"os": "unknown", "architecture": "unknown"}),
            ]
            index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
            top = [describe(index, "application/vnd.oci.image.index.v1+json", annotations={"io.containerd.image.name": "x:1"})]
            await here.images.load(pieces(layout(top, index, *mine, *other, b"attestation")))
            assert here.images.resolve("x:1").config.architecture == "amd64"
            assert here.blobs() == {digest_of(each) for each in mine}
            only = json.dumps({"schemaVersion": 2, "manifests": listed[:2]}).encode()
            await here.images.load(pieces(layout([describe(only, "application/vnd.oci.image.index.v1+json")], only, *other)))
            assert {image.config.architecture for image in here.images.all()} == {"amd64", "arm64"}

    run(story())


# ---------------------------------------------------------------------------------------------------------------- hostile archives


def broken_archives() -> dict[str, tuple[bytes, type[EngineError]]]:
    manifest, config, layer = image_blobs()
    whole = layout([describe(manifest)], manifest, config, layer)
    old = old_archive([layer], ["x:1"])
    other = tar_of({"other": b"x"})
    loop = io.BytesIO()
    with tarfile.open(fileobj=loop, mode="w") as tar:
        for name, target in (("manifest.json", "a"), ("a", "b"), ("b", "a")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    outside = io.BytesIO()
    with tarfile.open(fileobj=outside, mode="w") as tar:
        for name, target, kind in (
            ("manifest.json", "/etc/passwd", tarfile.SYMTYPE),
            ("index.json", "../../../../etc/passwd", tarfile.LNKTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    helm = json.dumps({"schemaVersion": 2, "config": describe(config, "application/x-helm"), "layers": []}).encode()
    traversal = {"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:../../../../../etc/passwd", "size": 1}]}
    listed = [{"Config": "../../../../etc/passwd", "RepoTags": ["x:1"], "Layers": ["/etc/shadow"]}]
    deep = b"[" * 200_000
    return {
        "empty": (b"", InvalidArgument),
        "zeros": (bytes(10_240), InvalidArgument),
        "text": (b"this is no archive" * 100, InvalidArgument),
        "cut off": (whole[: len(whole) // 2], InvalidArgument),
        "cut off gzip": (gzip.compress(whole)[:-20], InvalidArgument),
        "cut off zstd": (zstandard.compress(whole)[:-20], InvalidArgument),
        "cut off xz": (lzma.compress(whole)[:-20], InvalidArgument),
        "damaged gzip": (gzip.compress(whole)[:50] + b"garbage" * 50, InvalidArgument),
        "no image": (tar_of({"a": b"1"}), InvalidArgument),
        "manifest missing": (layout([describe(manifest)], config, layer), InvalidArgument),
        "layer missing": (layout([describe(manifest)], manifest, config), InvalidArgument),
        "config missing": (layout([describe(manifest)], manifest, layer), InvalidArgument),
        "wrong size": (layout([describe(manifest) | {"size": 5}], manifest, config, layer), InvalidArgument),
        "layer with another content": (whole.replace(layer[:512], other[:512]), InvalidArgument),
        "digest that is a path": (tar_of({"index.json": json.dumps(traversal).encode()}), InvalidArgument),
        "names that lead out": (tar_of({"manifest.json": json.dumps(listed).encode()}), InvalidArgument),
        "links in a circle": (loop.getvalue(), InvalidArgument),
        "links that lead out": (outside.getvalue(), InvalidArgument),
        "no diff_id holds": (old.replace(layer[:512], other[:512]), InvalidArgument),
        "a chart": (layout([describe(helm)], helm, config), Unsupported),
        "too deep": (tar_of({"index.json": deep, "manifest.json": deep}), InvalidArgument),
        "manifest.json of numbers": (tar_of({"manifest.json": b"[1, 2]"}), InvalidArgument),
        "manifest.json too large": (tar_of({"manifest.json": b" " * (5 << 20)}), InvalidArgument),
    }


@pytest.mark.parametrize("kind", broken_archives())
def test_an_archive_made_to_do_harm_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            data, error = broken_archives()[kind]
            with pytest.raises(error):
                await here.images.load(pieces(data))
            assert here.images.all() == []
            assert here.blobs() == set()
            assert not here.leftovers()

    run(story())


def test_what_is_here_already_survives_an_archive_that_fails(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            await make_image(here.images, "x:1", {"a": b"1"}, compress=False)
            before = here.blobs()
            files = opened(await saved(here, "x:1"))
            del files["index.json"], files["manifest.json"]
            with pytest.raises(InvalidArgument):
                await here.images.load(pieces(tar_of(files)))
            assert here.blobs() == before

    run(story())


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    """1 GiB of zeros is 32 KB of zstd; the archive ends with it, so it is read to the end and refused."""

    async def bomb(compress: Callable[[], Any]) -> AsyncIterator[bytes]:
        packer = compress()
        yield packer.compress(tar_writer.header("bomb", 1 << 30))
        zeros = bytes(1 << 20)
        for _ in range(1 << 10):
            if packed := packer.compress(zeros):
                yield packed
        yield packer.flush()

    async def story() -> None:
        for compress in (lambda: zstandard.ZstdCompressor(level=3).compressobj(), lambda: zlib.compressobj(1, 8, 31)):
            made = await collected(bomb(compress))
            assert len(made) < 6 << 20
            tracemalloc.start()
            count = 0
            async for piece in decompressed(pieces(made, 1 << 20)):
                count += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert count == (1 << 30) + 512
            assert peak < 64 << 20

    run(story())


# ---------------------------------------------------------------------------------------------------------------- the tar reader


async def read_all(data: bytes, size: int = 700) -> list[tuple[str, str, bytes, str]]:
    return [(each.name, each.kind, await collected(each.data()), each.link) async for each in members(pieces(data, size))]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_writes_is_read(form: int) -> None:
    long = "/".join(["folder"] * 12) + "/" + "x" * 90
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, kind, data, link in (
            ("a", tarfile.REGTYPE, b"1" * 1000, ""),
            ("folder/", tarfile.DIRTYPE, b"", ""),
            (long, tarfile.REGTYPE, b"", ""),
            ("naïve", tarfile.REGTYPE, b"x" * 512, ""),
            ("link", tarfile.SYMTYPE, b"", "t" * (100 if form == tarfile.USTAR_FORMAT else 300)),
            ("hard", tarfile.LNKTYPE, b"", "a"),
            ("pipe", tarfile.FIFOTYPE, b"", ""),
            ("null", tarfile.CHRTYPE, b"", ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(data), link
            tar.addfile(member, io.BytesIO(data))
    data = buffer.getvalue()

    async def story() -> None:
        found = await read_all(data)
        assert [(name.rstrip("/"), content) for name, _, content, _ in found] == [
            ("a", b"1" * 1000),
            ("folder", b""),
            (long, b""),
            ("naïve", b"x" * 512),
            ("link", b""),
            ("hard", b""),
            ("pipe", b""),
            ("null", b""),
        ]
        assert [kind for _, kind, _, _ in found] == ["file", "folder", "file", "file", "symlink", "hardlink", "fifo", "device"]
        assert found[4][3] == "t" * (100 if form == tarfile.USTAR_FORMAT else 300)
        skipped = [each.name async for each in members(pieces(data, 333))]  # without reading what is in them
        assert len(skipped) == 8

    run(story())


def patched(field: slice, value: bytes) -> bytes:
    """A header in which a field is another, with a sum that holds."""
    block = bytearray(tar_writer.header("name", 10))
    block[field] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    "data",
    [
        patched(slice(124, 136), b"\xff" * 12),  # a negative size
        patched(slice(124, 136), b"\x80" + b"\xff" * 11),
        patched(slice(124, 136), b"-0000000001\0"),
        patched(slice(124, 136), b"9999999999 \0"),
        patched(slice(124, 136), b"\x81" + bytes(11)),
        patched(slice(156, 157), b"S"),
        patched(slice(156, 157), b"?"),
        patched(slice(156, 157), b"x"),
        tar_writer.header("x" * 100, 10)[:511] + b"!",
        patched(slice(124, 137), b"00007777777" + b"\0" + b"0")[:512],
    ],
)
def test_a_header_that_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        run(read_all(data))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "records",
    [
        b"13 path=abc\n",
        b"5 a=b\n",
        b"99999999999999 a=b\n",
        b"-5 a=b\n",
        b"7 abcd\n",
        b"0 a=b\n",
        b"11 size=-10\n",
        b"12 size=9e99\n",
        b"x",
    ],
)
def test_pax_records_that_make_no_sense_are_refused(records: bytes) -> None:
    block = bytearray(tar_writer.header("pax", len(records)))
    block[156:157] = b"x"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    data = bytes(block) + records + bytes(-len(records) % 512) + tar_writer.file("a", b"1") + END
    with pytest.raises(InvalidArgument):
        run(read_all(data))  # type: ignore[arg-type]


def test_headers_and_entries_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    block = bytearray(tar_writer.header("pax", 1 << 30))
    block[156:157] = b"x"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    monkeypatch.setattr(tar_reader, "MEMBERS_LIMIT", 50)

    async def story() -> None:
        with pytest.raises(InvalidArgument, match="a header that is too large"):
            await read_all(bytes(block) + bytes(512))
        with pytest.raises(InvalidArgument, match="more than 50 entries"):
            await read_all(tar_writer.file("a", b"1") * 51 + END)

    run(story())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000), st.binary(max_size=20))
def test_no_bytes_make_the_reader_fail_otherwise_than_it_says(noise: bytes, at: int, change: bytes) -> None:
    sane = tar_writer.file("a", b"1" * 100) + tar_writer.file("b", b"2" * 600) + END
    damaged = sane[:at] + change + sane[at + len(change) :]
    for data in (noise, damaged):
        try:
            asyncio.run(read_all(data))
        except InvalidArgument:
            continue


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 400), st.sampled_from(sorted(COMPRESSIONS)), st.integers(0, 200))
def test_what_is_compressed_comes_out_as_it_was_however_it_is_cut(data: bytes, size: int, compression: str, times: int) -> None:
    data *= times + 1
    if compression == "plain" and detect(data[:6]):
        return
    packed = COMPRESSIONS[compression](data)
    assert asyncio.run(collected(decompressed(pieces(packed, size * 50)))) == data


# ---------------------------------------------------------------------------------------------------------------- import


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_root_file_system_is_imported_however_it_is_compressed(tmp_path: Path, compression: str) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            plain = tar_of({"bin/sh": b"x" * 3000, "etc/passwd": b"root"})
            image = await here.images.import_tar(
                pieces(COMPRESSIONS[compression](plain)),
                reference="rootfs:1",
                changes=ExecConfig(cmd=("/bin/sh",), env=("A=1",)),
                message="made by hand",
                platform=Platform("linux", "arm64", "v8"),
            )
            assert image.tags == ("rootfs:1",)
            assert image.config.rootfs.diff_ids == (digest_of(plain),)
            assert (image.config.architecture, image.config.variant) == ("arm64", "v8")
            assert image.config.config == ExecConfig(cmd=("/bin/sh",), env=("A=1",))
            ((identifier, entry, size, tags),) = here.images.history("rootfs:1")
            assert (identifier, entry.comment, size, tags) == (image.id, "made by hand", len(plain), ("rootfs:1",))
            assert image.created > 0

    run(story())


@pytest.mark.parametrize(
    "data",
    [b"", b"no tar" * 1000, b"short", gzip.compress(b"no tar" * 1000), gzip.compress(tar_of({"a": b""}))[:-9]],
    ids=["nothing", "text", "a word", "text in gzip", "cut off gzip"],
)
def test_what_is_no_tar_is_not_imported(tmp_path: Path, data: bytes) -> None:
    async def story() -> None:
        async with shop(tmp_path / "a") as here:
            with pytest.raises(InvalidArgument):
                await here.images.import_tar(pieces(data), reference="x:1")
            with pytest.raises(InvalidArgument):
                await here.images.import_tar(pieces(tar_of({"a": b"1"})), reference="X y")
            with pytest.raises(InvalidArgument):
                await here.images.import_tar(pieces(tar_of({"a": b"1"})), reference=f"x@sha256:{'0' * 64}")
            assert here.images.all() == []
            assert here.blobs() == set()
            assert not here.leftovers()
            with pytest.raises(NotFound):
                here.images.resolve("x:1")

    run(story())
