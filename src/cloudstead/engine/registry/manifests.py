"""Manifests as a registry takes them: anything that OCI image-spec and Docker's schema 2 allow, kept byte for byte.

More is allowed than an image that can run: artifacts, charts, signatures, no layers at all, members that nobody knows. What is refused is what two
readers could understand in two ways (CVE-2021-41190; members that are there twice, or that some readers take for others because they do not look at
the case of letters), and schema 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images import digests, media_types
from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.images.manifests import without_nulls
from cloudstead.engine.registry.errors import ManifestInvalid

SIZE_LIMIT = 4 << 20
KNOWN = media_types.MANIFESTS | media_types.INDEXES


class Parsed(msgspec.Struct, frozen=True):
    media_type: str
    artifact_type: str = ""
    config: Descriptor | None = None  # None: it is an index
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: str = ""
    annotations: dict[str, str] = {}


class _Fields(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None
    manifests: tuple[Descriptor, ...] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


def read(data: bytes, media_type: str = "") -> Parsed:
    """
    Args:
        media_type: the Content-Type with which it came; may be empty.

    Raises:
        ManifestInvalid
    """
    fields = _decode(data)
    named = media_type.partition(";")[0].strip()
    if fields.schema_version != 2 or named in media_types.OLD:
        raise ManifestInvalid("only manifests of schema version 2 are supported")
    is_index = fields.manifests is not None
    if is_index and (fields.layers is not None or fields.config is not None):
        raise ManifestInvalid("a manifest must not have manifests together with layers or a configuration")
    if not is_index and fields.config is None:
        raise ManifestInvalid("the manifest has neither a configuration nor manifests")
    if fields.media_type and named and named != fields.media_type and (named in KNOWN or fields.media_type in KNOWN):
        raise ManifestInvalid(f"the manifest says that it is {fields.media_type!r}, its Content-Type {named!r}")
    kind = fields.media_type or named or (media_types.OCI_INDEX if is_index else media_types.OCI_MANIFEST)
    if kind in (media_types.MANIFESTS if is_index else media_types.INDEXES):
        raise ManifestInvalid(f"the manifest is not {kind!r}")
    if kind not in KNOWN:
        raise ManifestInvalid(f"manifests of media type {kind!r} are not supported")
    config_type = fields.config.media_type if fields.config is not None else ""
    return Parsed(
        kind,
        fields.artifact_type or config_type,
        fields.config,
        fields.layers or (),
        fields.manifests or (),
        fields.subject.digest if fields.subject is not None else "",
        fields.annotations if fields.subject is not None else {},
    )


def _decode(data: bytes) -> _Fields:
    try:
        found: Any = msgspec.json.decode(data)
        if not isinstance(found, dict):
            raise ManifestInvalid("the manifest is no JSON object")
        _require_one_meaning(data, found)
        fields = msgspec.convert(without_nulls(found), _Fields)
        for each in _descriptors(fields):
            digests.require(each.digest)
            if not 0 <= each.size < 1 << 50:
                raise ManifestInvalid(f"the manifest has a descriptor of {each.size} bytes")
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"the manifest cannot be understood: {error}") from error
    except InvalidArgument as error:
        raise ManifestInvalid(f"the manifest has a damaged descriptor: {error.message}") from error
    return fields


def _require_one_meaning(data: bytes, found: dict[str, Any]) -> None:
    """Go's readers take `Layers` for `layers`, and of two the last: what one of them runs, another would not have looked at.

    Raises:
        ManifestInvalid
    """
    json.loads(data, object_pairs_hook=_each_once, parse_int=_no_number, parse_float=_no_number)
    _require_case(found, _MEMBERS)
    single = [found.get("config"), found.get("subject")]
    for each in (*single, *_list(found.get("layers")), *_list(found.get("manifests"))):
        if isinstance(each, dict):
            _require_case(each, _OF_DESCRIPTORS)


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
        raise ManifestInvalid("the manifest has a member twice")


def _no_number(text: str) -> None:
    """Of a million of them. A function of ours, between two of which other threads come to run."""


def _require_case(names: Iterable[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known and name.casefold() in _FOLDED:
            raise ManifestInvalid(f"the manifest has a member {name[:100]!r}, which some take for another")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_MEMBERS = frozenset(("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"))
_OF_DESCRIPTORS = frozenset(("mediaType", "digest", "size", "urls", "annotations", "platform", "artifactType", "data"))
_FOLDED = frozenset(name.casefold() for name in _MEMBERS | _OF_DESCRIPTORS)


def _descriptors(fields: _Fields) -> list[Descriptor]:
    single = [each for each in (fields.config, fields.subject) if each is not None]
    return [*single, *(fields.layers or ()), *(fields.manifests or ())]
