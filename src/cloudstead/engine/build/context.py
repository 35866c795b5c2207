"""The context of a build: taken in, its Dockerfile read, what .dockerignore names left out."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from cloudstead.engine.build import fetching, ignore, instructions, parsing
from cloudstead.engine.build.api import BuildContext
from cloudstead.engine.build.copying import walk
from cloudstead.engine.build.lines import LONGEST
from cloudstead.engine.build.spool import Spool
from cloudstead.engine.build.tree import Entry, Tree
from cloudstead.engine.compression import decoder, decompressed, detect
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.images.transport import Transport
from cloudstead.engine.threads import in_thread

LARGEST = 64 << 30  # bytes of a context, uncompressed
LARGEST_IGNORE = 4 << 20


class Opened(msgspec.Struct):
    tree: Tree
    dockerfile: instructions.Dockerfile


async def take_in(context: BuildContext, name: str, folder: Path, transport: Transport) -> Opened:
    """Read a context.

    Args:
        name: of the Dockerfile, inside the context.
        folder: for the spool.

    Raises:
        InvalidArgument: it cannot be read, or there is no such Dockerfile. Unsupported: a git repository.
    """
    if (context.tar is None) == (not context.remote):
        raise InvalidArgument("a build needs either a context or an address of one")
    tree = await _tree_of(context.tar, folder) if context.tar is not None else await _remote(context.remote, name, folder, transport)
    try:
        text = await in_thread(_dockerfile, tree, name)
        dockerfile = await in_thread(parsing.parse, text)
        await in_thread(_leave_out, tree, name)
    except BaseException:
        tree.close()
        raise
    return Opened(tree, dockerfile)


async def _tree_of(tar: AsyncIterator[bytes], folder: Path) -> Tree:
    spool = Spool(folder)
    try:
        await spool.fill(decompressed(tar), limit=LARGEST, what="the build context")
        return await Tree.of(spool)
    except BaseException:
        spool.close()
        raise


async def _remote(address: str, name: str, folder: Path, transport: Transport) -> Tree:
    """A tar, or a Dockerfile alone."""
    if fetching.is_git(address) or not fetching.is_url(address):
        raise Unsupported(f"a build from {address} is not done: clone it and build the folder")
    fetched = await fetching.fetch(transport, address, folder, limit=LARGEST)
    (entry,) = fetched.below("")
    found = await archive_in(fetched, entry, folder, owned=False)
    if found is not None:
        fetched.close()
        return found
    return Tree.of_one(fetched.spool, msgspec.structs.replace(entry, path=name))


async def archive_in(tree: Tree, entry: Entry, folder: Path, *, owned: bool) -> Tree | None:
    """The tree of a file that is a tar, plain or compressed; None when it is none."""
    if not await in_thread(_looks_like_archive, tree, entry):
        return None
    spool = Spool(folder)
    try:
        await spool.fill(decompressed(_stream(tree, entry)), limit=LARGEST, what=entry.path)
        return await Tree.of(spool, owned=owned)
    except BaseException:
        spool.close()
        raise


async def _stream(tree: Tree, entry: Entry) -> AsyncIterator[bytes]:
    pieces = tree.spool.pieces(entry.offset, entry.size)
    while (piece := await in_thread(next, pieces, None)) is not None:
        yield piece


def _looks_like_archive(tree: Tree, entry: Entry) -> bool:
    """Whether its first block, decompressed, is the header of a tar. Docker looks at the content as well, never at the name."""
    if entry.kind != "file":
        return False
    head = tree.spool.read(entry.offset, min(entry.size, 64 << 10))
    try:
        block = b""
        for piece in decoder(detect(head)).feed(head):
            block += piece
            if len(block) >= 512:
                break
    except Exception:  # whatever a decompressor says of what only began like its format
        return False
    block = block[:512]
    if len(block) < 512 or block == bytes(512):
        return False
    digits = block[148:156].strip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])


def _dockerfile(tree: Tree, name: str) -> str:
    path = posixpath.normpath("/" + name).lstrip("/")
    entry = tree.find(path)
    if entry is None and path == "Dockerfile":
        entry = tree.find("dockerfile")
    if entry is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {name}")
    if entry.kind != "file":
        raise InvalidArgument(f"The Dockerfile ({name}) is no file")
    if not entry.size:
        raise InvalidArgument(f"The Dockerfile ({name}) cannot be empty")
    return tree.read(entry, LONGEST).decode(errors="replace")


def _leave_out(tree: Tree, name: str) -> None:
    """What `<Dockerfile>.dockerignore`, or else `.dockerignore`, names."""
    for path in (f"{posixpath.normpath('/' + name).lstrip('/')}.dockerignore", ".dockerignore"):
        entry = tree.find(path)
        if entry is not None and entry.kind == "file":
            patterns = ignore.read(tree.read(entry, LARGEST_IGNORE).decode(errors="replace"))
            if patterns:
                tree.keep_only({one.path for one in walk(tree, "", patterns)})
            return
