"""The rows that registries keep. A registry is a name that its owner gave: "<account>/<region>" for ECR, "public/<account>" for ECR Public.

    registry.images/<registry>/<repository>/<digest>    a manifest or index, and what it speaks of          ImageRow
    registry.tags/<registry>/<repository>/<tag>         -> digest                                            TagRow
    registry.blobs/<registry>/<repository>/<digest>     a blob that this repository may be asked for          BlobRow

Which repositories there are is their owner's affair. A row is written when the blobs that it speaks of are on disk for certain, and its transaction
is on disk before anybody is told; it goes before they do. An upload under way has no row: it is a file of the content store, named after its repository.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from cloudstead.engine.images.api import Descriptor
from cloudstead.kernel.store import Row, Table

Status: TypeAlias = Literal["ACTIVE", "ARCHIVED", "ACTIVATING"]


class Repository(NamedTuple):
    registry: str
    name: str


class ImageRow(Row, frozen=True, kw_only=True):
    registry: str
    repository: str
    digest: str
    media_type: str
    size: int  # bytes of the manifest itself
    artifact_type: str = ""  # as the referrers API tells it: the manifest's artifactType, else the configuration's media type
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()  # of an index
    subject: str = ""  # the digest that it refers to; need not be here
    annotations: dict[str, str] = {}  # of one that refers to a subject; the referrers API tells them
    pushed: float
    pulled: float | None = None  # lastRecordedPullTime; noted once in a while, not at each pull
    status: Status = "ACTIVE"
    archived: float | None = None
    restoring: float | None = None  # while it is ACTIVATING: since when
    activated: float | None = None  # when it was last brought back from the archive

    @property
    def place(self) -> Repository:
        return Repository(self.registry, self.repository)

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.registry, self.repository, self.digest)

    @property
    def is_index(self) -> bool:
        return self.config is None

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What it cannot do without: configuration and layers. Those with URLs (foreign layers) need not be here."""
        own = tuple(layer for layer in self.layers if not layer.urls)
        return own if self.config is None else (self.config, *own)


class TagRow(Row, frozen=True, kw_only=True):
    registry: str
    repository: str
    tag: str
    digest: str
    tagged: float


class BlobRow(Row, frozen=True, kw_only=True):
    registry: str
    repository: str
    digest: str
    size: int
    since: float  # when it was uploaded or mounted


IMAGES = Table(
    "registry.images",
    ImageRow,
    key=lambda row: (row.registry, row.repository, row.digest),
    indexes={
        "by_digest": lambda row: (row.digest,),
        "by_blob": lambda row: [(row.registry, row.repository, each.digest) for each in row.blobs],
        "by_child": lambda row: [(row.registry, row.repository, each.digest) for each in row.children],
        "by_subject": lambda row: (row.registry, row.repository, row.subject, row.digest) if row.subject else None,
        "restoring": lambda row: (row.registry, row.repository, row.digest) if row.status == "ACTIVATING" else None,
    },
)
TAGS = Table(
    "registry.tags",
    TagRow,
    key=lambda row: (row.registry, row.repository, row.tag),
    indexes={"by_digest": lambda row: (row.registry, row.repository, row.digest, row.tag)},
)
BLOBS = Table(
    "registry.blobs",
    BlobRow,
    key=lambda row: (row.registry, row.repository, row.digest),
    indexes={"by_digest": lambda row: (row.digest,)},
)
TABLES = (IMAGES, TAGS, BLOBS)
