"""One blob on its way into the content store.

Pieces are gathered to about a megabyte and then hashed and written by a thread, while the next ones come in: the loop never hashes, and a stream of
small pieces costs one turn of a thread for many of them.

An upload with a key can be paused and gone on with. The state of its hash is kept in memory meanwhile; where it is gone (a restart), the bytes that
are there are read again.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloudstead.engine.errors import EngineError, Failed, InvalidArgument, NoSpace
from cloudstead.engine.images import digests
from cloudstead.engine.images.direct import BLOCK, DirectWriter
from cloudstead.engine.threads import P, in_thread

if TYPE_CHECKING:
    from cloudstead.engine.images.content import ContentStore

BATCH = 1 << 20  # bytes that a thread takes at once
RESERVE = 64 << 20  # bytes of the disk that are left free: the store of rows must be able to go on
RESERVE_CHECK = 32 << 20  # bytes written between two looks at how much is free
DIRECT_FROM = 64 << 20  # bytes of a blob that go through the page cache before the rest goes past it; most layers are shorter
MAX_VECTOR = 1024  # pieces that one call takes: IOV_MAX
_PAUSED = 1000  # uploads whose hash is kept

HashState = tuple[str, int, digests.Hash]  # algorithm, bytes, hash


class DigestMismatch(InvalidArgument):
    """The content is not what its digest says."""


class PausedHashes:
    """Hashes of uploads that wait for their next part; the oldest are forgotten."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, HashState] = OrderedDict()

    def keep(self, key: str, state: HashState) -> None:
        self._states[key] = state
        while len(self._states) > _PAUSED:
            self._states.popitem(last=False)

    def take(self, key: str, algorithm: str) -> HashState | None:
        state = self._states.pop(key, None)
        return state if state is not None and state[0] == algorithm else None


class Ingest:
    """Made by `ContentStore.ingest`. Used by one task."""

    def __init__(self, store: ContentStore, key: str, path: Path, algorithm: str, limit: int | None) -> None:
        self.key = key
        self.offset = 0  # bytes taken so far
        self._store = store
        self._path = path
        self._algorithm = algorithm
        self._limit = limit
        self._hash = digests.hasher(algorithm)
        self._hashed = 0
        self._descriptor = -1
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._unchecked = RESERVE_CHECK
        self._direct: DirectWriter | None = None
        self._directly = True  # as far as is known the file system can
        self._job: asyncio.Future[None] | None = None
        self._over = False
        self._broken: EngineError | None = None  # what a thread met; nothing is written behind a gap
        self._dropped: Path | None = None  # where the file lies that is to be unlinked

    async def open(self, state: HashState | None) -> None:
        """Only for the store."""
        await self._in_thread(self._open, state)

    def _open(self, state: HashState | None) -> None:
        self._descriptor = _open_upload(self._path)
        size = os.fstat(self._descriptor).st_size
        if state is not None and state[1] == size:
            _, self._hashed, self._hash = state
        else:
            while piece := os.pread(self._descriptor, BATCH, self._hashed):
                self._hash.update(piece)
                self._hashed += len(piece)
        self.offset = self._hashed

    async def write(self, data: bytes) -> None:
        """Append.

        Raises:
            InvalidArgument: it is too large; NoSpace; Failed. What came before is still there.
        """
        if self._limit is not None and self.offset + len(data) > self._limit:
            raise InvalidArgument(f"the content is larger than {self._limit} bytes")
        self._pieces.append(data)
        self._gathered += len(data)
        self.offset += len(data)
        if self._gathered >= BATCH:
            await self._flush()

    async def write_all(self, pieces: list[bytes]) -> None:
        """As `write`, for many."""
        size = sum(map(len, pieces))
        if self._limit is not None and self.offset + size > self._limit:
            raise InvalidArgument(f"the content is larger than {self._limit} bytes")
        self._pieces += pieces
        self._gathered += size
        self.offset += size
        if self._gathered >= BATCH:
            await self._flush()

    async def _flush(self) -> None:
        """Hand what was gathered to a thread; waits for the one before only."""
        await self._idle()
        if self._broken is not None:
            raise self._broken
        if self._pieces:
            pieces, self._pieces, self._gathered = self._pieces, [], 0
            self._job = asyncio.get_running_loop().run_in_executor(None, self._append, pieces)

    async def written(self) -> None:
        """Return when all that was taken is in the file: what is said of it before may turn out not to be so.

        Raises:
            NoSpace, Failed
        """
        await self._finish()

    async def _finish(self) -> None:
        """Have all that was taken in the file."""
        await self._flush()
        await self._idle()
        if self._direct is not None:
            await self._in_thread(self._end_direct)

    def _append(self, pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        self._check_space(size)
        if self._direct is not None:
            for piece in pieces:
                self._direct.write(piece)
        elif size >= BATCH and self._hashed >= DIRECT_FROM and self._directly:
            self._begin_direct(pieces)
        else:
            self._write(pieces, self._hashed)
        for piece in pieces:  # last: a hash that knows more than the file would be kept by `pause`
            self._hash.update(piece)
            self._hashed += len(piece)

    def _begin_direct(self, pieces: list[bytes]) -> None:
        """Write a batch, from the next block on directly. That is at least one buffer, so that a file system that has none of this says so here."""
        data = b"".join(pieces)
        cut = -self._hashed % BLOCK
        self._write([data[:cut]], self._hashed)
        direct = None
        try:
            direct = DirectWriter(self._path, self._hashed + cut)
            direct.write(data[cut:])
            self._direct = direct
        except OSError as error:
            if direct is not None:
                direct.close()
            if error.errno != errno.EINVAL:
                raise
            self._directly = False
            self._write([data], self._hashed)

    def _end_direct(self) -> None:
        """All that was taken is in the file now."""
        direct, self._direct = self._direct, None
        if direct is not None:
            try:
                rest = direct.rest()
                self._write([rest], direct.written)
            finally:
                direct.close()

    def _write(self, pieces: list[bytes], at: int) -> None:
        size = sum(map(len, pieces))
        written = os.pwritev(self._descriptor, pieces[:MAX_VECTOR], at)
        if written != size:  # seldom: a signal, a disk nearly full, very many pieces
            rest, at = memoryview(b"".join(pieces))[written:], at + written
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                at += written
                rest = rest[written:]

    def _check_space(self, size: int) -> None:
        self._unchecked += size
        if self._unchecked > RESERVE_CHECK:
            self._unchecked = 0
            disk = os.fstatvfs(self._descriptor)
            if disk.f_bavail * disk.f_frsize < RESERVE + size:
                raise NoSpace("no space left on device")

    async def commit(self, digest: str = "", size: int | None = None) -> str:
        """Make it a blob; returns its digest. `digest` and `size` are what it should be.

        Raises:
            DigestMismatch: it is something else; it stays an upload until it is paused or discarded.
        """
        await self._finish()
        if size is not None and size != self.offset:
            raise DigestMismatch(f"the content has {self.offset} bytes, not {size}")
        if digest and digests.split(digest)[0] != self._algorithm:
            self._algorithm, self._hash, self._hashed = digests.split(digest)[0], digests.hasher(digests.split(digest)[0]), 0
            os.close(self._descriptor)
            await self._in_thread(self._open, None)
        made = f"{self._algorithm}:{self._hash.hexdigest()}"
        if digest and made != digest:
            raise DigestMismatch(f"the content has digest {made}, not {digest}")
        await self._in_thread(self._keep, self._store.path(made))
        self._store.committed(self._algorithm)
        await self._end()
        return made

    def _keep(self, target: Path) -> None:
        os.fchmod(self._descriptor, 0o444)
        os.fsync(self._descriptor)
        self._path.rename(target)

    async def pause(self) -> None:
        """Let go of it; it can be gone on with by its key. After `commit` or `discard` it does nothing."""
        if self._over:
            return
        try:
            await self._finish()  # what is broken raises again, and has no state to be kept
            self._store.paused(self.key, (self._algorithm, self._hashed, self._hash))
        except EngineError:
            pass  # the disk refused; the file is read again
        finally:
            await self._end()

    async def discard(self) -> None:
        """Nothing of it stays. After `commit` it does nothing."""
        if not self._over:
            await self._end(remove=True)
            if self._dropped is not None:
                await in_thread(self._dropped.unlink, missing_ok=True)

    async def _end(self, *, remove: bool = False) -> None:
        """Close, once no thread is at it."""
        self._over = True
        self._pieces = []
        job = self._job
        try:
            if job is not None:
                await asyncio.wait([job])
        finally:
            if job is None or job.done():
                self._close(job, remove)
            else:  # cancelled once more
                job.add_done_callback(lambda done: self._close(done, remove))

    def _close(self, job: asyncio.Future[None] | None, remove: bool) -> None:
        if job is not None and not job.cancelled():
            job.exception()  # seen
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if remove:
            self._dropped = self._store.drop(self._path)
        self._store.released(self.key)

    async def _idle(self) -> None:
        """Wait for the thread; raises what it met."""
        job = self._job
        if job is None:
            return
        await asyncio.wait([job])  # which leaves the job alone when we are cancelled
        self._job = None
        try:
            job.result()
        except OSError as error:
            self._broken = disk_error(error)
            raise self._broken from error
        except EngineError as error:
            self._broken = error
            raise

    async def _in_thread(self, function: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
        await self._idle()
        self._job = asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments, **named))
        await self._idle()


def _open_upload(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except PermissionError:  # a process that was killed had made a blob of it, all but its name
        path.chmod(0o600)
        return os.open(path, flags, 0o600)


def disk_error(error: OSError) -> EngineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("no space left on device")
    return Failed(f"the content store cannot be used: {error.strerror}")
