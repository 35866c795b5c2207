"""All images of this cloud: the one that other rooms hold. What each method does is in the module of its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from cloudstead.engine.errors import Unauthorized
from cloudstead.engine.images import collection, digests, history, loading, making, pull, push, removal, saving
from cloudstead.engine.images.api import (
    Credentials,
    Descriptor,
    ExecConfig,
    Image,
    ImageConfig,
    ImageEvent,
    OwnRegistries,
    Platform,
    Removal,
    Tell,
)
from cloudstead.engine.images.content import SMALL, ContentStore
from cloudstead.engine.images.model import TABLES
from cloudstead.engine.images.records import Records, check_platform, tagged_reference
from cloudstead.engine.images.registry_client import RegistryClient
from cloudstead.engine.images.remote import RemoteRepository
from cloudstead.engine.images.room import Room, Unpacking
from cloudstead.engine.images.transport import Transport
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store


class LocalImages:
    """`images.api.Images`, over the content store of a data directory."""

    def __init__(self, data: Path, store: Store, clock: Clock, snapshots: Snapshots, *, insecure_registries: tuple[str, ...] = ()) -> None:
        """
        Args:
            insecure_registries: hosts and networks (CIDR) that may be talked to without TLS, besides this machine.
        """
        self.store = store
        self.clock = clock
        self.content = ContentStore(data)
        self._room = Room(self.content, Records(store, clock), snapshots, clock, Transport(clock, insecure_registries))
        self._unneeded_since: dict[str, float] = {}

    async def start(self) -> None:
        self.prepare()

    def prepare(self) -> None:
        """All that starting is."""
        self.store.attach(TABLES)
        self.content.prepare()

    async def stop(self) -> None:
        await self._room.transport.close()

    def know_own(self, registries: OwnRegistries) -> None:
        """These registries are this process, and have the same content store."""
        self._room.transport.own = registries

    def add_roots(self, roots: Callable[[], Iterable[str]]) -> None:
        self._room.roots.append(roots)

    def add_holder(self, holds: Callable[[str], bool]) -> None:
        """As `add_roots`, for a room with many blobs: it is asked for one digest at a time."""
        self._room.holders.append(holds)

    def subscribe(self, callback: Callable[[ImageEvent], None]) -> Callable[[], None]:
        watchers = self._room.records.watchers
        watchers.append(callback)
        return lambda: watchers.remove(callback) if callback in watchers else None

    # finding

    def resolve(self, name: str, *, platform: Platform | None = None) -> Image:
        return self._room.records.image(check_platform(self._room.records.find(name), platform, name))

    def all(self) -> list[Image]:
        return [self._room.records.image(row) for row in self._room.records.rows()]

    async def layers_of(self, image: str) -> tuple[str, ...]:
        row = self._room.records.require(image)
        with self.content.lease(*(layer.digest for layer in row.layers)) as lease:
            unpacking = Unpacking(self._room, lease, row.config.rootfs.diff_ids)
            await unpacking.begin()
            for number, layer in enumerate(row.layers):
                await unpacking.add(number, layer)
        return unpacking.chains

    async def raw(self, digest: str, limit: int = SMALL) -> bytes:
        return await self.content.read(digest, limit)

    # coming and going

    async def pull(
        self, reference: str, *, platform: Platform | None = None, credentials: Credentials | None = None, tell: Tell | None = None
    ) -> Image:
        return await pull.pull(self._room, reference, platform, credentials, tell)

    async def push(self, reference: str, *, credentials: Credentials | None = None, tell: Tell | None = None) -> Descriptor:
        return await push.push(self._room, reference, credentials, tell)

    async def inspect_remote(self, reference: str, *, credentials: Credentials | None = None) -> tuple[Descriptor, tuple[Platform, ...]]:
        return await pull.inspect_remote(self._room, reference, credentials)

    async def remote_tags(self, repository: str, *, credentials: Credentials | None = None) -> tuple[str, ...]:
        return await pull.remote_tags(self._room, repository, credentials)

    async def check_credentials(self, registry: str, credentials: Credentials) -> None:
        client = RegistryClient(self._room.transport, registry_host(registry), credentials, self._room.clock)
        try:
            await client.ping()
        except Unauthorized as error:
            raise Unauthorized(f"login attempt to {registry} failed: {error.message}") from error

    def remote(self, domain: str, path: str, credentials: Credentials | None = None) -> RemoteRepository:
        """A repository of another registry, for a cache in front of it."""
        return RemoteRepository(self._room, domain, path, credentials)

    def is_own(self, domain: str) -> bool:
        """Whether a registry is this process."""
        return self._room.transport.is_own(domain)

    def is_insecure(self, domain: str) -> bool:
        """Whether a registry may be asked without TLS."""
        return self._room.transport.is_insecure(domain)

    def save(self, names: tuple[str, ...]) -> AsyncIterator[bytes]:
        return saving.save(self._room, names)

    async def load(self, tar: AsyncIterator[bytes], *, tell: Tell | None = None) -> tuple[str, ...]:
        return await loading.load(self._room, tar, pull.NOTHING if tell is None else tell)

    async def import_tar(
        self,
        tar: AsyncIterator[bytes],
        *,
        reference: str = "",
        changes: ExecConfig | None = None,
        message: str = "",
        platform: Platform | None = None,
    ) -> Image:
        return await making.import_tar(self._room, tar, reference, changes, message, platform)

    # making

    async def add_layer(self, diff: AsyncIterator[bytes], *, compress: bool = True) -> tuple[Descriptor, str]:
        return await making.add_layer(self._room, diff, compress=compress)

    async def put_image(
        self, config: ImageConfig, layers: tuple[Descriptor, ...], *, references: tuple[str, ...] = (), parent: str = ""
    ) -> Image:
        return await making.put_image(self._room, config, layers, references, parent)

    async def commit(
        self, layers_of: str, diff: AsyncIterator[bytes] | None, config: ImageConfig, *, references: tuple[str, ...] = ()
    ) -> Image:
        return await making.commit(self._room, layers_of, diff, config, references)

    # names

    def tag(self, image: str, reference: str) -> None:
        row = self._room.records.find(image)
        name = tagged_reference(reference)
        self._room.records.name(name, row.id, self._room.records.target_of(image, row))
        self._room.records.tell("tag", row.id, name.familiar)

    def history(self, image: str) -> list[history.Line]:
        return history.history(self._room.records, self._room.records.find(image))

    async def remove(self, name: str, *, force: bool = False, prune: bool = True, used_by: Callable[[str], str] | None = None) -> Removal:
        return await removal.remove(self._room, name, force, prune, used_by)

    async def prune(self, *, dangling: bool = True, keep: Callable[[Image], bool] | None = None) -> Removal:
        return await removal.prune(self._room, dangling, keep)

    async def disk_usage(self) -> tuple[int, dict[str, int]]:
        sizes: dict[str, int] = {}
        users: Counter[str] = Counter()
        chains: dict[str, tuple[str, ...]] = {}
        for row in self._room.records.rows():
            chains[row.id] = digests.chain_ids(row.config.rootfs.diff_ids)
            sizes.update(zip(chains[row.id], row.sizes, strict=True))
            users.update(set(chains[row.id]))
        shared = {image: sum(sizes[chain] for chain in set(stack) if users[chain] > 1) for image, stack in chains.items()}
        return sum(sizes.values()), shared

    async def let_go(self, digests: Iterable[str]) -> None:
        """Rows that spoke of these blobs were deleted in the turn of the loop that calls this: return when that is durable, and keep them until then."""
        await self._room.let_go(digests)

    async def release(self, candidates: Iterable[str]) -> int:
        """Remove those of these blobs that nothing refers to any more, which `let_go` has made certain; bytes won."""
        won, _ = await collection.release(self._room, candidates)
        return won

    async def collect(self) -> int:
        won, _ = await collection.sweep(self._room, self._unneeded_since)
        return won

    async def sweep(self) -> list[str]:
        """Remove what nothing refers to; a sentence for each thing."""
        _, told = await collection.sweep(self._room, self._unneeded_since)
        return told


def registry_host(address: str) -> str:
    """Of what `docker login` names: "https://index.docker.io/v1/", "localhost:5000"."""
    host = address.partition("://")[2] if "://" in address else address
    host = host.partition("/")[0]
    return "docker.io" if host in ("", "index.docker.io", "docker.io", "registry-1.docker.io") else host
