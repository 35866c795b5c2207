"""A root file system as an archive that `docker load` reads: an image of one layer, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cloudstead.kernel.dates import iso8601

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Contents:
    """What is known of an image once its root file system is there."""

    tags: Sequence[str]
    command: Sequence[str]
    made_by: str  # for the history
    environment: Sequence[str] = field(default_factory=list)
    epoch: int = 0  # seconds; when it counts as made


def write(target: Path, root: Path, contents: Contents) -> str:
    """Write the archive; the image's id."""
    with root.open("rb") as layer:
        diff_id = hashlib.file_digest(layer, "sha256").hexdigest()
    config = json.dumps(configuration(contents, diff_id), separators=(",", ":")).encode()
    image = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{image}.json", "RepoTags": list(contents.tags), "Layers": [f"{diff_id}/layer.tar"]}]
    with target.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "manifest.json", json.dumps(manifest, separators=(",", ":")).encode(), contents.epoch)
        _add(tar, f"{image}.json", config, contents.epoch)
        with root.open("rb") as layer:
            _add_file(tar, f"{diff_id}/layer.tar", layer, root.stat().st_size, contents.epoch)
    return f"sha256:{image}"


def configuration(contents: Contents, diff_id: str) -> dict[str, Any]:
    """OCI image-spec, config.md."""
    created = iso8601(contents.epoch)
    return {
        "architecture": MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": created,
        "config": {"Env": [PATH, *contents.environment], "Cmd": list(contents.command)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created": created, "created_by": contents.made_by}],
    }


def entry(name: str, epoch: int, *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """One member, root's."""
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.linkname, info.mtime = mode, kind, link, epoch
    info.uname = info.gname = ""
    return info


def _add(tar: tarfile.TarFile, name: str, content: bytes, epoch: int) -> None:
    _add_file(tar, name, io.BytesIO(content), len(content), epoch)


def _add_file(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int, epoch: int) -> None:
    info = entry(name, epoch)
    info.size = size
    tar.addfile(info, content)
