"""Manifests, indexes and configurations: read from anywhere, with care, and written.

What comes from elsewhere is kept byte for byte; these structs are what was understood of it. Go writes `null` for what is empty, so nulls count as
absent. Schema 1 is refused: its signature says nothing and its layers have no diff_ids.
"""

from __future__ import annotations

import platform as machine
from typing import Any

import msgspec

from cloudstead.engine.errors import InvalidArgument, NotFound, Unsupported
from cloudstead.engine.images import digests, media_types
from cloudstead.engine.images.api import Descriptor, ImageConfig, Platform

CONFIG_LIMIT = 8 << 20
MAX_LAYERS = 1000
MAX_DEPTH = 3  # indexes in indexes
_BLOB_LIMIT = 1 << 50


class Manifest(msgspec.Struct, frozen=True):
    """OCI image-spec, manifest.md; Docker's schema 2 has the same members."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Index(msgspec.Struct, frozen=True):
    media_type: str
    manifests: tuple[Descriptor, ...]


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """
    Args:
        media_type: what the sender called it; without it, what stands in it or what it looks like.

    Raises:
        InvalidArgument: it is none, or calls itself something else than it is (CVE-2021-41190). Unsupported: schema 1.
    """
    fields = _object(data, "manifest")
    named = media_type.partition(";")[0].strip().lower()
    inner = fields.get("mediaType", "")
    if named in media_types.OLD or fields.get("schemaVersion") == 1:
        raise Unsupported("images with a manifest of schema version 1 are not supported; the image must be pushed anew by a later client")
    known = media_types.MANIFESTS | media_types.INDEXES
    if named in known and inner and inner != named:
        raise InvalidArgument(f"the manifest says that it is {inner!r}, its sender that it is {named!r}")
    is_index = "manifests" in fields
    if is_index and ("layers" in fields or "config" in fields):
        raise InvalidArgument("a manifest must not have both manifests and layers")
    kind = inner or (named if named in known else "") or (media_types.OCI_INDEX if is_index else media_types.OCI_MANIFEST)
    if kind not in (media_types.INDEXES if is_index else media_types.MANIFESTS):
        raise InvalidArgument(f"unsupported manifest media type {kind!r}" if kind not in known else f"the manifest is not {kind!r}")
    if is_index:
        return Index(kind, _descriptors(fields["manifests"]))
    manifest = Manifest(kind, _descriptor(fields.get("config")), _descriptors(fields.get("layers", [])))
    if len(manifest.layers) > MAX_LAYERS:
        raise InvalidArgument(f"the image has {len(manifest.layers)} layers; more than {MAX_LAYERS} are refused")
    return manifest


def require_image(manifest: Manifest) -> Manifest:
    """Raises Unsupported: it is something else that registries keep (a chart, a signature)."""
    if manifest.config.media_type not in media_types.CONFIGS:
        raise Unsupported(f'encountered remote "{manifest.config.media_type}" when fetching: this is not a container image')
    if not digests.SHA256.fullmatch(manifest.config.digest):
        raise Unsupported("images whose configuration has a digest of another kind than sha256 are not supported")
    for layer in manifest.layers:
        if layer.media_type not in media_types.LAYERS:
            raise Unsupported(f'layers of media type "{layer.media_type}" are not supported')
    return manifest


def parse_config(data: bytes) -> ImageConfig:
    """
    Raises:
        InvalidArgument: it is no configuration of an image.
    """
    fields = _object(data, "image configuration")
    config = fields.get("config")
    if isinstance(config, dict):
        for name in ("Cmd", "Entrypoint", "Shell"):  # Docker once wrote a single word as a string
            if isinstance(config.get(name), str):
                config[name] = [config[name]]
    try:
        found = msgspec.convert(fields, ImageConfig)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"the image configuration cannot be understood: {error}") from error
    for diff_id in found.rootfs.diff_ids:
        digests.require(diff_id)
    return found


def check_layers(config: ImageConfig, layers: tuple[Descriptor, ...]) -> None:
    """Raises InvalidArgument: the configuration does not speak of these layers."""
    if len(config.rootfs.diff_ids) != len(layers):
        raise InvalidArgument(f"the image has {len(layers)} layers, its configuration {len(config.rootfs.diff_ids)}")


def check_system(config: ImageConfig) -> None:
    """Raises InvalidArgument, as Docker does before it loads layers, for an image of Windows and for an attestation, whose system is "unknown"."""
    if config.os.lower() not in ("linux", ""):
        raise InvalidArgument(f'image operating system "{config.os}" cannot be used on this platform: operating system is not supported')


def encode_config(config: ImageConfig) -> bytes:
    fields = msgspec.to_builtins(config)
    fields |= {"architecture": config.architecture, "os": config.os, "rootfs": msgspec.to_builtins(config.rootfs)}  # required ones
    return msgspec.json.encode(fields)


def encode_manifest(config: Descriptor, layers: tuple[Descriptor, ...]) -> bytes:
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": encode_descriptor(config),
            "layers": [encode_descriptor(layer) for layer in layers],
        }
    )


def encode_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(descriptor)
    if descriptor.platform is not None:
        fields["platform"] = {"architecture": descriptor.platform.architecture, "os": descriptor.platform.os} | fields["platform"]
    return fields


def describe(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type, digests.of(data), len(data))


# ---------------------------------------------------------------------------------------------------------------- platforms

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "ppc64le": "ppc64le", "s390x": "s390x"}
_ARM = ("v8", "v7", "v6", "v5")


def host_platform() -> Platform:
    name = machine.machine()
    variant = {"armv7l": "v7", "armv6l": "v6"}.get(name, "")
    return Platform("linux", _MACHINES.get(name, name), variant)


def platform_of(config: ImageConfig) -> Platform:
    return Platform(config.os, config.architecture, config.variant)


def runs_on(offered: Platform, wanted: Platform) -> int | None:
    """How well an image suits: 0 is best, None not at all. arm64 is v8; 32 bit ARM runs what is older."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if wanted.os_version and offered.os_version and offered.os_version != wanted.os_version:
        return None
    default = {"arm64": "v8", "arm": "v7", "amd64": "v1"}.get(wanted.architecture, "")
    have, want = offered.variant or default, wanted.variant or default
    if have == want:
        return 0
    if wanted.architecture == "arm" and have in _ARM and want in _ARM and _ARM.index(have) > _ARM.index(want):
        return _ARM.index(have) - _ARM.index(want)
    if wanted.architecture == "amd64" and have < want:  # v1 to v4
        return 1
    return None


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The manifest (or index) for a platform; the first of equally good ones. Attestations ("unknown/unknown") never are.

    Raises:
        NotFound: with Docker's sentence.
    """
    best: tuple[int, Descriptor] | None = None
    for each in index.manifests:
        if each.media_type not in media_types.MANIFESTS | media_types.INDEXES:
            continue
        suits = runs_on(each.platform, wanted) if each.platform is not None else 100
        if suits is not None and (best is None or suits < best[0]):
            best = suits, each
    if best is None:
        raise NotFound(f"no matching manifest for {show(wanted)} in the manifest list entries")
    return best[1]


def show(platform: Platform) -> str:
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


# ---------------------------------------------------------------------------------------------------------------- reading


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the {what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"the {what} is no JSON object")
    cleaned: dict[str, Any] = without_nulls(found)
    return cleaned


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [without_nulls(each) for each in value if each is not None]
    return value


def _descriptor(fields: object) -> Descriptor:
    try:
        found = msgspec.convert(fields, Descriptor)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"the manifest has a damaged descriptor: {error}") from error
    digests.require(found.digest)
    if not 0 <= found.size < _BLOB_LIMIT:
        raise InvalidArgument(f"the manifest has a descriptor of {found.size} bytes")
    return found


def _descriptors(fields: object) -> tuple[Descriptor, ...]:
    if not isinstance(fields, list):
        raise InvalidArgument("the manifest's list of descriptors is none")
    return tuple(_descriptor(each) for each in fields)
