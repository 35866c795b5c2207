"""Images as a folder of files (OCI image-spec, image-layout.md), made by hand, for clients that push them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Layout:
    """`Layout(folder).image("1", {"file": b"content"})`; skopeo calls it `oci:<folder>:1`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: list[dict[str, Any]] = []
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Keep it; its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def image(self, tag: str, *layers: dict[str, bytes], architecture: str = "amd64", command: tuple[str, ...] = ("sh",)) -> dict[str, Any]:
        """An image of these layers; without a tag it is kept but not named."""
        tars = [tar_of(files) for files in layers]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin:/usr/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(json.dumps(config).encode(), CONFIG),
            "layers": [self.blob(gzip.compress(tar, mtime=0), LAYER) for tar in tars],
        }
        descriptor = self.blob(json.dumps(manifest).encode(), MANIFEST)
        return self._name(descriptor | {"platform": {"os": "linux", "architecture": architecture}}, tag)

    def index(self, tag: str, *manifests: dict[str, Any]) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
        return self._name(self.blob(json.dumps(document).encode(), INDEX), tag)

    def artifact(self, tag: str, kind: str, content: bytes, *, subject: dict[str, Any] | None = None) -> dict[str, Any]:
        """Something that is no image, as signatures are kept: one layer, and the subject that it is about."""
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(content, "application/vnd.dev.cosign.simplesigning.v1+json")],
        }
        if subject is not None:
            manifest["subject"] = {name: subject[name] for name in ("mediaType", "digest", "size")}
        return self._name(self.blob(json.dumps(manifest).encode(), MANIFEST), tag)

    def _name(self, descriptor: dict[str, Any], tag: str) -> dict[str, Any]:
        if tag:
            self._named.append(descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}})
            (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._named}))
        return descriptor


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
