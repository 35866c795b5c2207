"""The content store: blobs by digest, written once, read by all.

    <data>/blobs/<algorithm>/<hex>     a blob, mode 0444; it is there whole or not at all
    <data>/blobs/uploads/<key>         what is still being written
    <data>/blobs/trash/<hex>.<n>       on its way out: renamed at once, unlinked by a thread

A blob is written under another name while it is hashed, synced, and renamed. The folder itself is synced by `settle`, once for any number of
blobs; call it before a row says that a blob is there, and no crash leaves a row without its blob.

Removing is the work of `collection.py`, and there are three things that keep a blob from it: roots (rows of whichever room, `add_roots`), leases (an
operation under way names what it is going to need), and age (`claim` and `refresh` make a blob young again). Finding a blob, leasing it and removing it each
happen within one turn of the event loop, so a blob that was found after it was leased stays.

The registry of ECR writes here too: see `Ingest` for uploads that come in parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, NotFound
from cloudstead.engine.images import digests
from cloudstead.engine.images.ingest import Ingest, PausedHashes, disk_error
from cloudstead.engine.threads import in_thread

PIECE = 1 << 20  # bytes read at once
LONG = 64 << 10  # bytes from which on a thread reads or hashes them
SMALL = 4 << 20  # of a manifest: OCI distribution-spec, "Pushing Manifests"
CLAIM_SECONDS = 600.0
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class Lease:
    """Digests (of blobs and chains) that must stay while an operation is under way."""

    __slots__ = ("digests",)

    def __init__(self) -> None:
        self.digests: set[str] = set()

    def add(self, *digests: str) -> None:
        self.digests.update(digests)


class ContentStore:
    """All blobs of one data directory. Belongs to the thread of one event loop; files are read and written by others."""

    def __init__(self, data: Path) -> None:
        self.root = data / "blobs"
        self.uploads = self.root / "uploads"
        self._trash = self.root / "trash"
        self._leases: set[Lease] = set()
        self._claims: dict[str, float] = {}  # until when
        self._writing: set[str] = set()  # keys of uploads that have an Ingest
        self._paused = PausedHashes()
        self._numbers = itertools.count()
        self._settling: asyncio.Task[None] | None = None
        self._commits = 1  # blobs whose names came to the folders; the first stands for what a process before us has left there
        self._unsynced = {"sha256", "sha512"}  # folders that have such names
        self._settled = 0  # how many of these are on the disk for certain
        self._made = False

    def prepare(self) -> None:
        """Make the folders. Cheap when they are there."""
        if self._made:
            return
        for folder in (self.root / "sha256", self.root / "sha512", self.uploads, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.root.parent, self.root):
            _sync(folder)
        self._made = True

    # reading

    def path(self, digest: str) -> Path:
        """Raises InvalidArgument: it is no digest."""
        algorithm, digits = digests.split(digest)
        return self.root / algorithm / digits

    def size(self, digest: str) -> int | None:
        """None when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def has(self, digest: str) -> bool:
        return self.size(digest) is not None

    def open(self, digest: str) -> int:
        """A descriptor of it, the caller's to close. Raises NotFound."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise NotFound(f"blob {digest} is not here") from None
        except OSError as error:
            raise Failed(f"blob {digest} cannot be read: {error.strerror}") from error

    async def read(self, digest: str, limit: int = SMALL) -> bytes:
        """A small blob, whole and checked.

        Raises:
            NotFound; InvalidArgument: it is larger than `limit`; Failed: it is damaged.
        """
        descriptor = self.open(digest)
        try:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise InvalidArgument(f"blob {digest} has {size} bytes, more than {limit}")
            data = os.pread(descriptor, size, 0) if size <= LONG else await in_thread(os.pread, descriptor, size, 0)
        finally:
            os.close(descriptor)
        asked = (data, digests.split(digest)[0])
        if (digests.of(*asked) if size <= LONG else await in_thread(digests.of, *asked)) != digest:
            raise Failed(f"blob {digest} is damaged on disk")
        return data

    async def stream(self, digest: str, start: int = 0) -> AsyncIterator[bytes]:
        """From `start` on, piece by piece."""
        descriptor = self.open(digest)
        try:
            while piece := await in_thread(os.pread, descriptor, PIECE, start):
                start += len(piece)
                yield piece
        except OSError as error:
            raise disk_error(error) from error
        finally:
            os.close(descriptor)

    # writing

    async def put(self, data: bytes, digest: str = "") -> str:
        """Keep a small blob; returns its digest. Raises InvalidArgument: it is not what `digest` says."""
        algorithm = digests.split(digest)[0] if digest else "sha256"
        made = digests.of(data, algorithm) if len(data) <= LONG else await in_thread(digests.of, data, algorithm)
        if digest and made != digest:
            raise InvalidArgument(f"the content has digest {made}, not {digest}")
        if not self.refresh(made):
            async with self.ingest(algorithm=algorithm) as ingest:
                await ingest.write(data)
                await ingest.commit(made)
        return made

    @contextlib.asynccontextmanager
    async def ingest(self, key: str = "", *, algorithm: str = "sha256", limit: int | None = None) -> AsyncIterator[Ingest]:
        """Write a blob. What was not committed in the block is lost, or, with a key, stays and is gone on with under that key.

        Args:
            key: names an upload that comes in parts, and survives a restart.
            limit: the size from which on it is refused.

        Raises:
            Conflict: somebody else is writing this one.
        """
        opened = await self.open_ingest(key, algorithm=algorithm, limit=limit)
        try:
            yield opened
        finally:
            await (opened.pause() if key else opened.discard())

    async def open_ingest(self, key: str = "", *, algorithm: str = "sha256", limit: int | None = None) -> Ingest:
        """As `ingest`; to be ended with `commit`, `pause` or `discard`."""
        self.prepare()
        resumable = bool(key)
        if not resumable:
            key = f"{os.getpid()}-{next(self._numbers)}-{os.urandom(4).hex()}"
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"{key!r} names no upload")
        if key in self._writing:
            raise Conflict(f"upload {key} is being written by somebody else")
        self._writing.add(key)
        opened = Ingest(self, key, self.uploads / key, algorithm, limit)
        try:
            await opened.open(self._paused.take(key, algorithm))
        except BaseException:
            await (opened.pause() if resumable else opened.discard())
            raise
        return opened

    def begin_upload(self, key: str) -> None:
        """An upload of no bytes, to be gone on with under its key: `upload_size` knows it from now on, after a restart too.

        Raises:
            InvalidArgument, NoSpace, Failed
        """
        self.prepare()
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"{key!r} names no upload")
        try:
            os.close(os.open(self.uploads / key, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise disk_error(error) from error

    def upload_size(self, key: str) -> int | None:
        """How much of an upload is here; None when there is none."""
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"{key!r} names no upload")
        try:
            return (self.uploads / key).stat().st_size
        except FileNotFoundError:
            return None

    async def discard_upload(self, key: str) -> None:
        async with self.ingest(key) as ingest:
            await ingest.discard()

    async def settle(self) -> None:
        """Return when all blobs committed so far would be found after a power cut. Callers at the same time share the work."""
        wanted = self._commits  # and none of those that come while we wait
        while self._settled < wanted:
            if self._settling is None:
                self._settling = asyncio.create_task(self._sync_folders())
            await asyncio.shield(self._settling)

    async def _sync_folders(self) -> None:
        covered, folders = self._commits, self._unsynced
        self._unsynced = set()
        try:
            await in_thread(_sync_all, [self.root / name for name in sorted(folders)])
            self._settled = covered
        except OSError as error:
            raise disk_error(error) from error
        finally:
            if self._settled < covered:
                self._unsynced |= folders
            self._settling = None

    # the Ingest's side

    def released(self, key: str) -> None:
        self._writing.discard(key)

    def paused(self, key: str, state: tuple[str, int, digests.Hash]) -> None:
        self._paused.keep(key, state)

    def committed(self, algorithm: str = "sha256") -> None:
        """One more blob is there, whose name is not on the disk for certain."""
        self._commits += 1
        self._unsynced.add(algorithm)

    def drop(self, path: Path) -> Path | None:
        """Out of the way at once; the disk's work is left for a thread."""
        target = self._trash / f"upload.{next(self._numbers)}"
        try:
            return path.rename(target)
        except FileNotFoundError:
            return None

    # keeping and removing

    @contextlib.contextmanager
    def lease(self, *digests: str) -> Iterator[Lease]:
        """Nothing that is in it is removed before the block ends."""
        lease = Lease()
        lease.add(*digests)
        self._leases.add(lease)
        try:
            yield lease
        finally:
            self._leases.discard(lease)

    def held(self, digest: str) -> bool:
        """Leased or claimed."""
        if self._claims.get(digest, 0.0) > time.monotonic():
            return True
        return any(digest in lease.digests for lease in self._leases)

    def claim(self, digest: str) -> bool:
        """Somebody was told that a blob is here, and is going to name it in a row: keep it until then, for some minutes. False when it is not here."""
        if not self.refresh(digest):
            return False
        now = time.monotonic()
        self._claims = {each: until for each, until in self._claims.items() if until > now} if len(self._claims) > 10_000 else self._claims
        self._claims[digest] = now + CLAIM_SECONDS
        return True

    def unclaim(self, *digests: str) -> None:
        """Rows have it now."""
        for digest in digests:
            self._claims.pop(digest, None)

    def refresh(self, digest: str) -> bool:
        """Make a blob young again, so that it outlives the next collections; False when it is not here."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's file that we may only read: it is here all the same
            return self.has(digest)
        return True

    def remove(self, digest: str) -> Path | None:
        """Take it away at once, unless it is held. The file that is left is for `empty_trash`."""
        if self.held(digest):
            return None
        path = self.path(digest)
        target = self._trash / f"{path.name}.{next(self._numbers)}"
        try:
            path.rename(target)
        except FileNotFoundError:
            return None
        return target

    async def empty_trash(self) -> int:
        """Bytes won; what an earlier process left there too."""
        return await in_thread(_unlink_all, self._trash)

    async def old_blobs(self, before: float) -> list[str]:
        """Blobs not written or claimed since a time."""
        return await in_thread(_old_blobs, self.root, before)

    async def drop_old_uploads(self, before: float) -> list[str]:
        """Uploads that nobody has written to since a time are gone; their keys."""
        keys = await in_thread(lambda: [name for name, _ in _old_files(self.uploads, before)])
        gone = [key for key in keys if key not in self._writing]
        for key in gone:
            self._paused.take(key, "")
            self.drop(self.uploads / key)
        return gone


def _old_files(folder: Path, before: float) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if status.st_mtime < before:
                    yield entry.name, status.st_size


def _old_blobs(root: Path, before: float) -> list[str]:
    return [f"{algorithm}:{name}" for algorithm in ("sha256", "sha512") for name, _ in _old_files(root / algorithm, before)]


def _unlink_all(folder: Path) -> int:
    won = 0
    for name, size in list(_old_files(folder, float("inf"))):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
            won += size
    return won


def _sync_all(folders: list[Path]) -> None:
    for folder in folders:
        _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
