"""Where a tar comes from: a descriptor whose bytes are decompressed and hashed by a thread while another one unpacks.

The thread is one of the confined child's, never of the host's. Both halves spend their time outside of Python's lock: in the decompressor and
the hash here, in system calls there.
"""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator

import msgspec

from cloudstead.engine.compression import Decoder, decoder, detect
from cloudstead.engine.errors import EngineError, Failed, InvalidArgument, NotPermitted

READ = 256 << 10
PIECE = 512 << 10  # what is handed over at once, at least
AHEAD = 4  # pieces


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may come out of one tar. Each is an option of the engine host, by the name behind it."""

    bytes: int = 64 << 30  # layer-bytes: of the tar
    entries: int = 2_000_000  # layer-entries
    ratio: int = 250  # layer-ratio: uncompressed to compressed, once more than `free_ratio` bytes came out
    free_ratio: int = 1 << 30  # layer-free-ratio
    reserve: int = 512 << 20  # layer-reserve: bytes of the disk that are left free (at most a twentieth of it)
    memory: int = 1 << 30  # layer-memory: beyond what the process has when it starts
    cpu_seconds: int = 1800  # layer-cpu-seconds

    @classmethod
    def of(cls, options: dict[str, str]) -> Limits:
        found: dict[str, int] = {}
        for name in cls.__struct_fields__:
            text = options.get("layer-" + name.replace("_", "-"))
            if text is not None:
                if not text.isascii() or not text.isdigit():
                    raise InvalidArgument(f"the option layer-{name.replace('_', '-')} is a whole number, not {text!r}")
                found[name] = int(text)
        return cls(**found)


DEFAULT = Limits()


class Source:
    """Pieces of a tar, in order.

    Args:
        fd: read from where it stands; a file from its start, without moving the position that others share.
    """

    def __init__(self, fd: int, limits: Limits) -> None:
        self._fd = fd
        self._limits = limits
        self._read: Callable[[], bytes] = self._read_file if stat.S_ISREG(os.fstat(fd).st_mode) else self._read_pipe
        self._offset = 0
        self._out = 0
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._ended = False
        self._thread.start()

    def next(self) -> bytes:
        """The next piece; empty at the end. What went wrong in the thread is raised here."""
        if self._ended:
            return b""
        piece = self._queue.get()
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._ended = not piece
        return piece

    def finish(self) -> str:
        """Read what follows the tar, which counts for its digest too. The digest."""
        while self.next():
            pass
        return "sha256:" + self._hash.hexdigest()

    def _fill(self) -> None:
        try:
            for piece in self._gathered():
                self._hash.update(piece)
                self._queue.put(piece)
            self._queue.put(b"")
        except EngineError as error:
            self._queue.put(error)
        except MemoryError:
            self._queue.put(NotPermitted("decompressing takes more memory than a layer may"))
        except OSError as error:
            self._queue.put(Failed(f"reading the layer: {error}"))
        except BaseException as error:  # the decompressors have their own
            self._queue.put(InvalidArgument(f"the compressed data is damaged: {error}"))

    def _gathered(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        size = 0
        for piece in self._decompressed():
            self._count(len(piece))
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE:
                yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
                pieces, size = [], 0
        if pieces:
            yield b"".join(pieces)

    def _decompressed(self) -> Iterator[bytes]:
        data = self._read()
        while 0 < len(data) < 6 and (more := self._read()):
            data += more
        decode: Decoder = decoder(detect(data))
        while data:
            yield from decode.feed(data)
            data = self._read()
        if self._offset:
            decode.finish()

    def _count(self, size: int) -> None:
        self._out += size
        limits = self._limits
        if self._out > limits.bytes:
            raise NotPermitted(f"the layer is larger than {limits.bytes} bytes (option layer-bytes)")
        if self._out > limits.free_ratio and self._out > limits.ratio * self._offset:
            raise NotPermitted(f"the layer unpacks to more than {limits.ratio} times its size (option layer-ratio)")

    def _read_file(self) -> bytes:
        data = os.pread(self._fd, READ, self._offset)
        self._offset += len(data)
        return data

    def _read_pipe(self) -> bytes:
        data = os.read(self._fd, READ)
        self._offset += len(data)
        return data
