"""Images: what they are, where they come from and go to.

    <data>/blobs/sha256/<hex>      every blob: manifests, configurations, layers; written once, checked by digest, read by all
    rows (model.py)                references "docker.io/library/debian:12" -> manifest digest; what is known of each image

An image's id is the digest of its configuration, as in Docker. References are kept in full ("docker.io/library/…") and shown in their familiar form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Literal, Protocol, TypeAlias

import msgspec

from cloudstead.http.messages import HttpRequest, HttpResponse


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """OCI image-spec, descriptor.md."""

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    os_version: str = msgspec.field(name="os.version", default="")


class HealthConfig(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """Docker's extension of the OCI image configuration; durations in nanoseconds."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ExecConfig(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """`config` of an image: how containers of it run unless told otherwise. OCI image-spec, config.md, and Docker's extensions."""

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: HealthConfig | None = None
    on_build: tuple[str, ...] | None = None
    shell: tuple[str, ...] | None = None
    stop_timeout: int | None = None


class RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] = ()
    type: str = "layers"


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The configuration blob. Members that are not here are kept: nothing is written anew that came from elsewhere."""

    architecture: str = "amd64"
    os: str = "linux"
    created: str = ""
    author: str = ""
    variant: str = ""
    config: ExecConfig = ExecConfig()
    rootfs: RootFs = RootFs()
    history: tuple[HistoryEntry, ...] = ()


class Image(msgspec.Struct, frozen=True, kw_only=True):
    id: str  # sha256:… of the configuration
    manifest: Descriptor
    config: ImageConfig
    layers: tuple[Descriptor, ...]
    size: int  # bytes unpacked; what Docker shows as the size
    created: float
    tags: tuple[str, ...] = ()  # familiar: "debian:12", "localhost:5000/a:b"
    digests: tuple[str, ...] = ()  # familiar: "debian@sha256:…"
    parent: str = ""  # the image it was built from here
    last_tagged: float = 0.0


class Credentials(msgspec.Struct, frozen=True):
    """For one registry."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class Progress(msgspec.Struct, frozen=True):
    """What a pull, push or load tells on its way; the fields of Docker's progress lines."""

    status: str
    id: str = ""  # short id of the layer, or the tag
    current: int = 0
    total: int = 0


Action: TypeAlias = Literal["pull", "push", "tag", "untag", "delete", "load", "save", "import"]


class ImageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to an image, in the words of Docker's events."""

    action: Action
    image: str  # its id
    name: str  # by which it was asked for; the id when it was not by name
    time: float


Tell: TypeAlias = Callable[[Progress], None]


class Removal(msgspec.Struct, frozen=True):
    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    reclaimed: int = 0


class OwnRegistries(Protocol):
    """The registries that this process is. They share the content store with the images, so that nothing has to be moved between the two."""

    secure: bool  # they are spoken to by https elsewhere

    def serves(self, domain: str) -> bool:
        """Whether a name's domain ("localhost:4566") means one of them."""
        ...

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """What a connection would have answered."""
        ...


class Images(Protocol):
    """All images of this cloud. Errors are those of `engine.errors`: NotFound with Docker's sentence ("No such image: x:latest"), Conflict when in use."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    # finding

    def resolve(self, name: str, *, platform: Platform | None = None) -> Image:
        """By reference, by reference with digest, by id or a prefix of it."""
        ...

    def all(self) -> list[Image]: ...

    async def layers_of(self, image: str) -> tuple[str, ...]:
        """Chain ids of its root file system, the lowest first, each unpacked when this returns. By id."""
        ...

    async def raw(self, digest: str, limit: int = 4 << 20) -> bytes:
        """A small blob: a manifest or configuration."""
        ...

    # coming and going

    async def pull(
        self, reference: str, *, platform: Platform | None = None, credentials: Credentials | None = None, tell: Tell | None = None
    ) -> Image: ...

    async def push(self, reference: str, *, credentials: Credentials | None = None, tell: Tell | None = None) -> Descriptor: ...

    async def inspect_remote(
        self, reference: str, *, credentials: Credentials | None = None
    ) -> tuple[Descriptor, tuple[Platform, ...]]: ...

    async def remote_tags(self, repository: str, *, credentials: Credentials | None = None) -> tuple[str, ...]:
        """All tags that a repository has at its registry."""
        ...

    async def check_credentials(self, registry: str, credentials: Credentials) -> None:
        """Unauthorized when the registry refuses them."""
        ...

    def save(self, names: tuple[str, ...]) -> AsyncIterator[bytes]:
        """A tar that is both an OCI layout and what `docker load` reads."""
        ...

    async def load(self, tar: AsyncIterator[bytes], *, tell: Tell | None = None) -> tuple[str, ...]:
        """The names (or ids) that were loaded; either layout, plain or compressed."""
        ...

    async def import_tar(
        self,
        tar: AsyncIterator[bytes],
        *,
        reference: str = "",
        changes: ExecConfig | None = None,
        message: str = "",
        platform: Platform | None = None,
    ) -> Image:
        """An image of one layer from the tar of a root file system."""
        ...

    # making

    async def add_layer(self, diff: AsyncIterator[bytes], *, compress: bool = True) -> tuple[Descriptor, str]:
        """Keep an uncompressed layer tar as a blob. Returns its descriptor and diff_id."""
        ...

    async def put_image(
        self, config: ImageConfig, layers: tuple[Descriptor, ...], *, references: tuple[str, ...] = (), parent: str = ""
    ) -> Image:
        """Write configuration and manifest over layers that are here."""
        ...

    async def commit(
        self, layers_of: str, diff: AsyncIterator[bytes] | None, config: ImageConfig, *, references: tuple[str, ...] = ()
    ) -> Image:
        """An image like `layers_of` (an id; empty: from nothing) with one more layer and this configuration's `config`, `author`, last history entry."""
        ...

    # names

    def tag(self, image: str, reference: str) -> None: ...

    def history(self, image: str) -> list[tuple[str, HistoryEntry, int, tuple[str, ...]]]:
        """(id or "<missing>", entry, size of its layer, tags), the newest first."""
        ...

    async def remove(self, name: str, *, force: bool = False, prune: bool = True, used_by: Callable[[str], str] | None = None) -> Removal:
        """Untag, and delete when it was the last name. `used_by(id)` says who needs an image ("container abc is using it", a running one with "running"), or ""."""
        ...

    async def prune(self, *, dangling: bool = True, keep: Callable[[Image], bool] | None = None) -> Removal: ...

    async def disk_usage(self) -> tuple[int, dict[str, int]]:
        """Bytes of all layers, and by image id those shared with others."""
        ...

    async def collect(self) -> int:
        """Remove blobs and snapshots that nothing refers to and that are older than a few minutes. Bytes won."""
        ...

    def add_roots(self, roots: Callable[[], Iterable[str]]) -> None:
        """Blobs and chains that another room's rows need: called at each collection, on the loop, for their digests; nothing is followed from them, so a
        manifest's layers and the chains below a chain are named too."""
        ...

    def subscribe(self, callback: Callable[[ImageEvent], None]) -> Callable[[], None]:
        """Call back with each event until the returned function is called."""
        ...

    async def sweep(self) -> list[str]: ...
