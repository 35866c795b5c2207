"""What a registry asks its owner: who calls, which repositories there are, who may do what, and what follows from a push.

`engine.registry.http` speaks the protocol and keeps the content; everything that is AWS's comes from the gate. Errors are RegistryErrors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.store import Transaction

Doing: TypeAlias = Literal[
    "manifest-get",  # GET and HEAD of manifests, referrers
    "blob-get",
    "blob-head",
    "tags",
    "upload-start",  # POST; mounting too
    "upload-part",  # PATCH, GET and DELETE of an upload
    "upload-complete",  # PUT of an upload, POST with a digest
    "manifest-put",
    "delete",  # of manifests, tags and blobs
    "catalog",
]


@dataclass(frozen=True, slots=True)
class Put:
    """What `Catalog.put` did."""

    image: ImageRow
    tag: str  # empty: by digest alone
    created: bool  # the image was not here before
    tagged: bool  # the tag is new, or stands for another image than before
    previous: str = ""  # the digest that the tag stood for
    restored: bool = False  # it was in the archive before


Also: TypeAlias = Callable[[Transaction, Put], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one repository, for one request."""

    repository: Repository
    immutable: Callable[[str], bool] = lambda tag: False
    also: Also | None = None  # called in the transaction of a push that changed something: events, rows of the owner's
    removed: Callable[[Transaction, list[ImageRow]], None] | None = None  # in the transaction that deletes images, while it still has them
    untagged: Callable[[Transaction, ImageRow, str], None] | None = None  # in the transaction that takes a tag off an image that stays
    artifact_size: int = 4 << 20  # bytes of a manifest
    sparse: bool = False  # an index may speak of images that are not here: those of a cache come when they are asked for


class Gate(Protocol):
    """Of one family of registries. Made by a service, called for each request; must be quick (a HEAD costs some 100 µs in all)."""

    async def admit(self, request: HttpRequest) -> Any:
        """Who calls; handed back to the methods below as it is.

        Raises:
            Unauthorized: with the challenge (`WWW-Authenticate`) in its headers.
        """
        ...

    async def enter(self, caller: Any, repository: str, doing: Doing) -> Rules:
        """A repository by the name in the path, once the caller may do this there. `upload-start` and `manifest-put` may make it (create on push).

        Raises:
            NameUnknown, NameInvalid, Denied
        """
        ...

    async def missing(self, caller: Any, rules: Rules, reference: str) -> None:
        """A manifest (by tag or digest) is about to be read. Where a pull-through cache is behind the repository, have it here when this returns."""
        ...

    def pulled(self, caller: Any, rules: Rules, image: ImageRow) -> None:
        """A manifest was read by GET. Must not write at each call."""
        ...

    def mountable(self, caller: Any, rules: Rules, digest: str, source: str) -> bool:
        """Whether a blob may be mounted: from the named repository, or (empty) from any of the same registry that has it and that the caller may read."""
        ...

    def repositories(self, caller: Any) -> list[str]:
        """For `_catalog`."""
        ...
