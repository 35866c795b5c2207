"""A tar as a tree of files, without unpacking it: the build's context, a path of another stage, an archive that ADD takes apart.

Members are known by name and by where their bytes lie in the spool. So there are no links on a disk that could lead anywhere: a link is followed
among the names of the tree, and ends at its root. What COPY takes is written from here straight into the tar that becomes the layer.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from cloudstead.engine.build.spool import Spool
from cloudstead.engine.errors import InvalidArgument, NotPermitted
from cloudstead.engine.tar.reader import FIFO, FILE, FOLDER, LINK, SYMLINK, TarReader
from cloudstead.engine.tar.reader import Entry as Member
from cloudstead.engine.threads import in_thread

MOST_ENTRIES = 1_000_000
DEEPEST = 200  # folders
MOST_LINKS = 40  # that are followed for one path, as the kernel does
Kind: TypeAlias = Literal["file", "folder", "symlink", "node"]


class Entry(msgspec.Struct, kw_only=True):
    """One file. `path` is relative, "" for the root."""

    path: str
    kind: Kind
    mode: int = 0o755  # permission bits, with setuid, setgid and sticky
    uid: int = 0
    gid: int = 0
    size: int = 0
    offset: int = 0
    mtime: int = 0
    target: str = ""  # of a symlink
    xattrs: dict[bytes, bytes] | None = None
    device: tuple[bytes, int, int] = (b"", 0, 0)  # kind in tar, major, minor
    linked: bool = False  # under several names
    sha256: str = ""  # of the bytes, once somebody asked


class Tree:
    """The files by path.

    Args:
        owned: keep who owns them; without it all belong to root, as everything that comes with a context.
    """

    def __init__(self, spool: Spool, *, owned: bool = False) -> None:
        self.spool = spool
        self._owned = owned
        self._entries: dict[str, Entry] = {"": Entry(path="", kind="folder")}
        self._names: dict[str, dict[str, None]] = {"": {}}  # names in a folder, in order of appearance

    @classmethod
    async def of(cls, spool: Spool, *, owned: bool = False) -> Tree:
        """Read the members of the tar that a spool holds."""
        tree = cls(spool, owned=owned)
        await in_thread(tree._index)
        return tree

    @classmethod
    def of_one(cls, spool: Spool, entry: Entry) -> Tree:
        """A tree of one file, which is all that the spool holds."""
        tree = cls(spool)
        tree._entries[entry.path] = entry
        tree._names[""][entry.path] = None
        return tree

    def close(self) -> None:
        self.spool.close()

    def keep_only(self, paths: set[str]) -> None:
        """Forget everything else."""
        for path in [path for path in self._entries if path and path not in paths]:
            del self._entries[path]
            self._names.pop(path, None)
            parent, _, name = path.rpartition("/")
            if parent in self._names:
                self._names[parent].pop(name, None)

    # finding

    def get(self, path: str) -> Entry | None:
        """The entry itself, no link followed."""
        return self._entries.get(path)

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted."""
        return sorted(self._names.get(path, ()))

    def find(self, path: str, *, follow: bool = True) -> Entry | None:
        """What a path leads to, links followed inside the tree; with `follow` the last one too."""
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                here = here[:-1]
                continue
            entry = self._entries.get("/".join([*here, part]))
            if entry is None:
                return None
            if entry.kind == "symlink" and (todo or follow):
                links += 1
                if links > MOST_LINKS:
                    raise InvalidArgument(f"{path}: too many levels of symbolic links")
                if entry.target.startswith("/"):
                    here = []
                todo += [part for part in reversed(entry.target.split("/")) if part not in ("", ".")]
                continue
            if todo and entry.kind != "folder":
                return None
            here.append(part)
        return self._entries["/".join(here)]

    def below(self, path: str) -> Iterator[Entry]:
        """Everything in a folder, folders before what is in them, in order of names; not the folder itself."""
        for name in self.names(path):
            entry = self._entries[f"{path}/{name}" if path else name]
            yield entry
            if entry.kind == "folder":
                yield from self.below(entry.path)

    def read(self, entry: Entry, limit: int) -> bytes:
        """The bytes of a small file."""
        if entry.kind != "file" or entry.size > limit:
            raise InvalidArgument(f"{entry.path} is larger than {limit} bytes" if entry.kind == "file" else f"{entry.path} is no file")
        return b"".join(self.spool.pieces(entry.offset, entry.size))

    def digest(self, entry: Entry) -> str:
        """The sha256 of a file's bytes. Takes its time: for threads."""
        if not entry.sha256:
            entry.sha256 = self.spool.sha256(entry.offset, entry.size)
        return entry.sha256

    # reading the tar

    def _index(self) -> None:
        reader = _Positions(self.spool)
        while (member := reader.next()) is not None:
            if len(self._entries) > MOST_ENTRIES:
                raise InvalidArgument(f"the archive has more than {MOST_ENTRIES} files")
            if member.kind == FILE:
                offset = reader.position
                reader.pass_over(member.size)
                self._add(member, offset)
            else:
                self._add(member, 0)

    def _add(self, member: Member, offset: int) -> None:
        path = _clean(member.name)
        entry = self._entry(path, member, offset)
        if entry is None:
            return
        if not path:
            if entry.kind == "folder":
                self._entries[""] = entry
            return
        parent, _, name = path.rpartition("/")
        self._folder(parent)
        before = self._entries.get(path)
        if before is not None and before.kind == "folder" and entry.kind != "folder" and self._names[path]:
            raise InvalidArgument(f"the archive has {path} twice, as a folder and as something else")
        self._names[parent][name] = None
        self._entries[path] = entry
        if entry.kind == "folder":
            self._names.setdefault(path, {})

    def _entry(self, path: str, member: Member, offset: int) -> Entry | None:
        if member.kind == LINK:
            return self._linked(path, _clean(member.link))
        entry = Entry(path=path, kind="file", mode=member.mode & 0o7777, mtime=max(0, member.mtime_ns // 1_000_000_000))
        if self._owned:
            entry.uid, entry.gid = member.uid, member.gid
        if member.xattrs:
            entry.xattrs = {
                name: value for name, value in member.xattrs.items() if name == b"security.capability" or name.startswith(b"user.")
            }
        if member.kind == FILE:
            entry.size, entry.offset = member.size, offset
        elif member.kind == FOLDER:
            entry.kind = "folder"
        elif member.kind == SYMLINK:
            entry.kind, entry.target = "symlink", os.fsdecode(member.link)
        elif not self._owned:
            return None  # devices and pipes of a context mean something to the client's machine alone
        else:
            entry.kind = "node"
            numbers = (0, 0) if member.kind == FIFO else (member.major, member.minor)
            entry.device = (bytes(member.kind), *numbers)
        return entry

    def _linked(self, path: str, target: str) -> Entry:
        """A hard link: the same bytes under another name."""
        entry = self._entries.get(target)
        if entry is None or entry.kind == "folder":
            raise InvalidArgument(f"the archive has a hard link {path} to {target}, which is not there")
        entry.linked = True
        return msgspec.structs.replace(entry, path=path)

    def _folder(self, path: str) -> None:
        """Folders that the archive does not name are made up."""
        entry = self._entries.get(path)
        if entry is not None and entry.kind == "folder":
            return
        if entry is not None:
            raise NotPermitted(f"the archive has files below {path}, which is no folder")
        parent, _, name = path.rpartition("/")
        self._folder(parent)
        self._names[parent][name] = None
        self._entries[path] = Entry(path=path, kind="folder")
        self._names[path] = {}


class _Positions(TarReader):
    """A reader of tar that knows where it is, and reads headers alone."""

    _READ = 64 << 10

    def __init__(self, spool: Spool) -> None:
        super().__init__(self._following)
        self._spool = spool
        self._behind = 0  # where the piece in hand ends

    @property
    def position(self) -> int:
        return self._behind - len(self._piece) + self._at

    def pass_over(self, size: int) -> None:
        """Go on behind the data of a member without reading them."""
        target = self.position + size
        if target > self._spool.size:
            raise InvalidArgument("the tar is cut off")
        if target <= self._behind:
            self._at += size
        else:
            self._piece, self._at, self._behind = b"", 0, target
        self._left = 0

    def _following(self) -> bytes:
        piece = self._spool.read(self._behind, self._READ)
        self._behind += len(piece)
        return piece


def _clean(name: bytes) -> str:
    text = os.fsdecode(name)
    if ".." in text.split("/"):
        raise NotPermitted(f"the archive has a name that leads out of it: {text}")
    path = posixpath.normpath("/" + text).lstrip("/")
    if len(path) > 4096 or path.count("/") > DEEPEST:
        raise InvalidArgument(f"the archive has a name of more than 4096 characters, or {DEEPEST} folders deep")
    return path
