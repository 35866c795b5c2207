"""The files of a simulated container: a tree in memory, with tars in and out."""

from __future__ import annotations

import io
import posixpath
import stat
import tarfile

import msgspec

from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.engine.snapshots.api import Change, PathStat

MOST_LINKS = 40
FOLDERS = ("/", "/bin", "/dev", "/etc", "/proc", "/root", "/sys", "/tmp", "/usr", "/var")


class Entry(msgspec.Struct, frozen=True):
    mode: int
    data: bytes = b""  # of a file; where a link leads
    mtime: float = 0.0


class Files:
    """One tree. Paths are absolute; links are followed inside it."""

    def __init__(self) -> None:
        self.entries = {path: Entry(stat.S_IFDIR | 0o755) for path in FOLDERS}
        self._image = dict(self.entries)

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """The path without links, `.` and `..`; its last part need not be there."""
        done, parts, links = "/", [part for part in path.split("/") if part], 0
        while parts:
            part = parts.pop(0)
            if part == ".":
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = posixpath.join(done, part)
            entry = self.entries.get(here)
            if entry is not None and stat.S_ISLNK(entry.mode) and (parts or follow):
                links += 1
                if links > MOST_LINKS:
                    raise InvalidArgument(f"too many levels of symbolic links: {path}")
                target = entry.data.decode()
                parts = [other for other in target.split("/") if other] + parts
                done = "/" if target.startswith("/") else done
            else:
                done = here
        return done

    def get(self, path: str, *, follow: bool = True) -> Entry:
        entry = self.entries.get(self.resolve(path, follow=follow))
        if entry is None:
            raise NotFound(f"Could not find the file {path} in the container")
        return entry

    def read(self, path: str) -> bytes:
        return self.get(path).data

    def write(self, path: str, data: bytes, *, mode: int = 0o644, mtime: float = 0.0) -> None:
        path = self.resolve(path)
        self.make_folders(posixpath.dirname(path), mtime)
        self.entries[path] = Entry(stat.S_IFREG | mode, data, mtime)

    def make_folders(self, path: str, mtime: float = 0.0) -> None:
        while path not in self.entries:
            self.entries[path] = Entry(stat.S_IFDIR | 0o755, mtime=mtime)
            path = posixpath.dirname(path)

    def remove(self, path: str) -> None:
        path = self.resolve(path, follow=False)
        for other in self.below(path):
            del self.entries[other]

    def below(self, path: str) -> list[str]:
        """A path and all under it, in order."""
        prefix = path.rstrip("/") + "/"
        return sorted(other for other in self.entries if other == path or other.startswith(prefix))

    def stat(self, path: str) -> PathStat:
        entry = self.get(path, follow=False)
        link = self.resolve(path) if stat.S_ISLNK(entry.mode) else ""
        name = posixpath.basename(path.rstrip("/")) or "/"
        return PathStat(name=name, size=len(entry.data), mode=entry.mode, mtime=entry.mtime, link_target=link)

    def changes(self) -> list[Change]:
        found = []
        for path in sorted(self.entries.keys() | self._image.keys()):
            now, before = self.entries.get(path), self._image.get(path)
            if now is None:
                found.append(Change(path, "deleted"))
            elif before is None:
                found.append(Change(path, "added"))
                parent = posixpath.dirname(path)
                if parent != "/" and parent in self._image and Change(parent, "modified") not in found:
                    found.append(Change(parent, "modified"))
            elif now != before:
                found.append(Change(path, "modified"))
        return sorted(found, key=lambda change: change.path)

    def archive(self, path: str) -> bytes:
        """A tar whose top entry is the base name; of the root, `./` and all below."""
        top = self.resolve(path, follow=False)
        self.get(path, follow=False)
        name = posixpath.basename(path.rstrip("/")) or "."
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for each in self.below(top):
                self._add(tar, each, posixpath.normpath(posixpath.join(name, posixpath.relpath(each, top))))
        return out.getvalue()

    def unarchive(self, path: str, tar: bytes, *, no_overwrite_dir_non_dir: bool) -> None:
        folder = self.resolve(path)
        if not stat.S_ISDIR(self.get(path).mode):
            raise InvalidArgument(f"extraction point is not a directory: {path}")
        try:
            with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
                for member in opened:
                    content = opened.extractfile(member) if member.isreg() else None
                    self._put(folder, member, b"" if content is None else content.read(), no_overwrite_dir_non_dir)
        except tarfile.TarError as error:
            raise InvalidArgument(f"not a tar: {error}") from None

    def _add(self, tar: tarfile.TarFile, path: str, name: str) -> None:
        entry = self.entries[path]
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = stat.S_IMODE(entry.mode), entry.mtime
        if stat.S_ISDIR(entry.mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(entry.mode):
            info.type, info.linkname = tarfile.SYMTYPE, entry.data.decode()
        else:
            info.size = len(entry.data)
        tar.addfile(info, io.BytesIO(entry.data) if info.isreg() else None)

    def _put(self, folder: str, member: tarfile.TarInfo, data: bytes, keep_kind: bool) -> None:
        path = self.resolve(posixpath.join(folder, posixpath.normpath("/" + member.name).lstrip("/")), follow=False)
        there = self.entries.get(path)
        if keep_kind and there is not None and stat.S_ISDIR(there.mode) != member.isdir():
            kinds = ("directory", "non-directory") if stat.S_ISDIR(there.mode) else ("non-directory", "directory")
            raise Conflict(f"cannot overwrite {kinds[0]} {path!r} with {kinds[1]} {member.name!r}")
        if member.isdir():
            if there is None or not stat.S_ISDIR(there.mode):
                self.make_folders(posixpath.dirname(path), member.mtime)
                self.entries[path] = Entry(stat.S_IFDIR | member.mode, mtime=member.mtime)
        elif member.issym():
            self.entries[path] = Entry(stat.S_IFLNK | 0o777, member.linkname.encode(), member.mtime)
        elif member.isreg():
            self.entries.pop(path, None)
            self.write(path, data, mode=member.mode, mtime=member.mtime)
