"""The few files of an image that say what is installed, read out of its layers: one pass over each, from the lowest to the topmost.

What a layer says of a path takes effect as in OCI image-spec, "Whiteouts": a file replaces that of a lower layer, `.wh.<name>` takes it and all below
it away, `.wh..wh..opq` empties its folder of what lower layers had; both concern lower layers only, wherever in the layer they stand. Something else
than a folder at a path takes away what was below it. Symbolic links are not followed: where a file is known to move behind one, all its places are
wanted. Hard links to another file of the layer are; where that file was not wanted itself, the layer is read once more.

Layers come from anybody. Nothing is written, names are only compared, and all is counted: bytes that come out of the decompressor, members, bytes and
number of the files that are kept. Who waits may say stop between two pieces. All of it blocks: it is for threads.
"""

from __future__ import annotations

import lzma
import os
import posixpath
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import zstandard
from isal import isal_zlib

from cloudstead.engine.compression import decoder, detect
from cloudstead.engine.errors import EngineError, InvalidArgument
from cloudstead.engine.tar.reader import FILE, FOLDER, LINK, TarReader

READ = 1 << 20  # bytes of a compressed layer that are read at once
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_DAMAGED: tuple[type[Exception], ...] = (isal_zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError)  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which paths matter."""

    keep: Callable[[str], bool]  # files whose content is wanted
    notice: frozenset[str] = frozenset()  # files of which it is enough to know that they are there
    folders: frozenset[str] = frozenset()  # those above either

    def concerns(self, path: str) -> bool:
        """Whether something is lost when a path is taken away: a layer may have a million others."""
        return path in self.folders or path in self.notice or self.keep(path)


class TooLarge(EngineError):
    """More is in the image than is looked at."""


class Stopped(Exception):
    """Nobody waits for it any more."""


@dataclass(slots=True)
class Limits:
    """What is left of what an image may cost."""

    unpacked: int = 32 << 30  # bytes; a minute or two
    members: int = 3_000_000
    kept: int = 64 << 20  # bytes of the files that are wanted; the dpkg status of a large desktop has 5 MB
    files: int = 20_000  # of those
    until: float = field(default_factory=lambda: time.thread_time() + 300)  # seconds of the processor: headers can be made to take long
    stop: Callable[[], bool] = lambda: False

    def unpack(self, size: int) -> None:
        if self.stop():
            raise Stopped
        if time.thread_time() > self.until:
            raise TooLarge("reading the layers takes too long")
        self.unpacked -= size
        if self.unpacked < 0:
            raise TooLarge("the layers unpack to more than is scanned")

    def member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise TooLarge("the layers hold more files than are scanned")

    def keep(self, size: int) -> None:
        self.kept -= size
        self.files -= 1
        if self.kept < 0 or self.files < 0:
            raise TooLarge("the package databases are larger than is scanned")


@dataclass(slots=True)
class Layer:
    """What one layer says."""

    files: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # paths that lower layers lose, with all below them
    emptied: set[str] = field(default_factory=set)  # folders that lower layers lose the content of
    links: dict[str, str] = field(default_factory=dict)  # wanted path -> the path in this layer that it is another name of


def collect(layers: Iterable[int], selection: Selection, limits: Limits) -> dict[str, bytes]:
    """The files of an image that matter, by path without a leading slash; those that are only noticed are empty.

    Args:
        layers: descriptors of their blobs, the lowest first; each is used until the next is asked for.

    Raises:
        EngineError: a layer is damaged, or made to do harm; TooLarge.
        Stopped
    """
    found: dict[str, bytes] = {}
    for descriptor in layers:
        layer = read_layer(descriptor, selection, limits)
        found = {path: data for path, data in found.items() if not _hidden(path, layer)}
        found.update(layer.files)
    return found


def _hidden(path: str, layer: Layer) -> bool:
    """Whether a file of a lower layer is taken away."""
    if path in layer.gone:
        return True
    while path:
        path = posixpath.dirname(path)
        if path in layer.emptied or path in layer.gone:  # the root is "", which nothing can take away
            return True
    return False


def read_layer(descriptor: int, selection: Selection, limits: Limits) -> Layer:
    layer = _pass(descriptor, selection, limits)
    if layer.links:
        targets = Selection(frozenset(layer.links.values()).__contains__)
        again = _pass(descriptor, targets, limits)
        layer.files.update({path: again.files[target] for path, target in layer.links.items() if target in again.files})
    return layer


def _pass(descriptor: int, selection: Selection, limits: Limits) -> Layer:
    layer = Layer()
    pieces = _decompressed(descriptor, limits)
    reader = TarReader(lambda: next(pieces, b""))
    while (entry := reader.next()) is not None:
        limits.member()
        path = normal(entry.name)
        if path is None:
            continue
        folder, _, name = path.rpartition("/")
        if name == OPAQUE:
            if not folder or selection.concerns(folder):
                layer.emptied.add(folder)
        elif name.startswith(WHITEOUT):
            _note(layer, selection, posixpath.join(folder, name[len(WHITEOUT) :]))
        elif entry.kind == FILE and selection.keep(path):
            limits.keep(entry.size)
            layer.links.pop(path, None)
            layer.files[path] = b"".join(bytes(piece) for piece in reader.pieces())
        elif entry.kind == FILE and path in selection.notice:
            layer.files[path] = b""
        elif entry.kind != FOLDER:
            _replace(layer, selection, path, normal(entry.link) if entry.kind == LINK else None)
    return layer


def _replace(layer: Layer, selection: Selection, path: str, target: str | None) -> None:
    """Something that is no folder takes a path: a file that does not matter, a link, a device."""
    layer.files.pop(path, None)
    layer.links.pop(path, None)
    if target in layer.files:
        if selection.keep(path):
            layer.files[path] = layer.files[target]
        return
    _note(layer, selection, path)
    if target and selection.keep(path):
        layer.links[path] = target


def _note(layer: Layer, selection: Selection, path: str) -> None:
    """Remember a path that lower layers lose."""
    if selection.concerns(path):
        layer.gone.add(path)


def normal(name: bytes) -> str | None:
    """A member's name as a path from the root; None for names that lead out of it, or nowhere."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts or "\0" in text else "/".join(parts)


def _decompressed(descriptor: int, limits: Limits) -> Iterator[bytes]:
    """What is in a blob, whichever way it is compressed. An empty one is no tar."""
    data, at = os.pread(descriptor, READ, 0), 0
    name = detect(data)
    decode = decoder(name)
    try:
        while data:
            for piece in decode.feed(data):
                limits.unpack(len(piece))
                if piece:
                    yield piece
            at += len(data)
            data = os.pread(descriptor, READ, at)
    except _DAMAGED as error:
        raise InvalidArgument(f"a layer's {name or 'data'} cannot be read: {error}") from error
    if at:
        decode.finish()
