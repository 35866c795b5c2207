"""Images put together by ECR's API, in a few words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from cloudstead.engine.images.media_types import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    LAYER_GZIP,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)

DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ALL_TYPES = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]


class Pushed(NamedTuple):
    digest: str
    manifest: str


def digest_of(content: bytes | str) -> str:
    return f"sha256:{hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()}"


def described(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def manifest_of(config: bytes, *layers: bytes, docker: bool = False, **more: Any) -> str:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": described(config, DOCKER_CONFIG if docker else OCI_CONFIG),
        "layers": [described(layer, DOCKER_LAYER if docker else LAYER_GZIP) for layer in layers],
        **more,
    }
    return json.dumps(document, indent=3)  # as Docker writes it: bytes that nobody would make again by chance


def upload(ecr: Any, repository: str, content: bytes) -> str:
    """A layer, in one part."""
    begun = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
    ecr.upload_layer_part(repositoryName=repository, uploadId=begun, partFirstByte=0, partLastByte=len(content) - 1, layerPartBlob=content)
    done = ecr.complete_layer_upload(repositoryName=repository, uploadId=begun, layerDigests=[digest_of(content)])
    return str(done["layerDigest"])


def have(ecr: Any, repository: str, *contents: bytes) -> None:
    """Upload what is not there."""
    found = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[digest_of(each) for each in contents])["layers"]
    for content, layer in zip(contents, found, strict=True):
        if layer["layerAvailability"] == "UNAVAILABLE":
            upload(ecr, repository, content)


def push(ecr: Any, repository: str, tag: str = "", *, seed: str = "", docker: bool = False, **more: Any) -> Pushed:
    """A small image of one layer."""
    config, layer = f'{{"made for": "{seed or tag}"}}'.encode(), f"layer of {seed or tag}".encode()
    have(ecr, repository, config, layer)
    return put(ecr, repository, manifest_of(config, layer, docker=docker, **more), tag)


def put(ecr: Any, repository: str, manifest: str, tag: str = "") -> Pushed:
    done = ecr.put_image(repositoryName=repository, imageManifest=manifest, **({"imageTag": tag} if tag else {}))["image"]
    return Pushed(done["imageId"]["imageDigest"], manifest)


def push_index(ecr: Any, repository: str, tag: str, *children: Pushed) -> Pushed:
    listed = [{"mediaType": OCI_MANIFEST, "digest": child.digest, "size": len(child.manifest)} for child in children]
    return put(ecr, repository, json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}), tag)


def refused(call: Any, code: str, **parameters: Any) -> str:
    """The sentence of a refusal."""
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    error = refusal.value.response["Error"]
    assert error["Code"] == code, error
    return str(error["Message"])


def blobs_on_disk(data: Path) -> set[str]:
    return {f"{path.parent.name}:{path.name}" for path in (data / "blobs").glob("sha*/*")}
