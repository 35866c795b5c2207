"""Putting the members of a tar into a folder: layers of images, and archives that are copied into a container.

Runs in a confined child (`host_confine.py`). The rules are Docker's (moby, pkg/archive: createTarFile, UnpackLayer, Untar): the later member wins, a
folder stays when a folder comes, absolute names are relative to the root, links are kept as they are and followed inside only. In a layer,
`.wh.` names become what overlayfs knows: a character device 0:0 hides what lies below, and an "opaque" folder hides all of it (image-spec, layer.md).

Times of folders are set at the end, as what is put into them changes them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from cloudstead.engine import linux
from cloudstead.engine.errors import InvalidArgument, NoSpace, NotPermitted
from cloudstead.engine.snapshots.host_source import Limits, Source
from cloudstead.engine.snapshots.host_tree import Tree, clean, explained, is_whiteout, shown
from cloudstead.engine.tar.reader import BLOCK_DEVICE, CHARACTER, FIFO, FILE, FOLDER, LINK, SYMLINK, Entry, TarReader

HIDDEN, OPAQUE = b".wh.", b".wh..wh..opq"
OF_AUFS = (b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk")  # its own files, in layers of old
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LOOK_AFTER = 4 << 20  # bytes written between two looks at the free space
OF_OTHERS = ("security.", "system.")
NOT_SUPPORTED = (errno.ENOTSUP, errno.EPERM, errno.EACCES)

Later = list[tuple[bytes, str, bytes]]


class Done(NamedTuple):
    size: int
    entries: int
    later: Later  # path, name and value of attributes that take more rights than the child has


class Rules(NamedTuple):
    layer: bool = True
    owner: tuple[int, int] | None = None
    no_overwrite_dir_non_dir: bool = False
    into: bytes = b""  # the folder in the root that names are relative to; clean


LAYER = Rules()


class Unpacker:
    """One tar into one tree."""

    def __init__(self, tree: Tree, source: Source, limits: Limits, rules: Rules = LAYER) -> None:
        self._tree = tree
        self._reader = TarReader(source.next)
        self._limits = limits
        self._rules = rules
        self._later: dict[tuple[bytes, str], bytes] = {}
        self._size = self._entries = self._looked = 0
        self._reserve = self._wanted_reserve()
        if rules.layer:
            tree.unhide = self._make_opaque
        self._makers: dict[bytes, Callable[[Entry, bytes, int, bytes], None]] = {
            FILE: self._file,
            FOLDER: self._folder,
            SYMLINK: self._symlink,
            LINK: self._link,
            CHARACTER: self._node,
            BLOCK_DEVICE: self._node,
            FIFO: self._node,
        }

    def run(self) -> Done:
        """All of it."""
        prefix = self._rules.into + b"/" if self._rules.into else b""
        layer, makers, tree = self._rules.layer, self._makers, self._tree
        self._look_at_space()
        while (entry := self._reader.next()) is not None:
            self._entries += 1
            if self._entries > self._limits.entries:
                raise NotPermitted(f"the tar has more than {self._limits.entries} members (option layer-entries)")
            name = clean(entry.name)
            if not name:
                self._top(entry)
                continue
            path = prefix + name
            parent, _, leaf = path.rpartition(b"/")
            try:
                if layer and HIDDEN in path and self._hides(entry, path, parent, leaf):
                    continue
                makers[entry.kind](entry, path, tree.folder(parent, entry.mtime_ns), leaf)
            except OSError as error:
                raise self._explain(error, path) from error
        self._finish()
        self._look_at_space()
        return Done(self._size, self._entries, [(path, name, value) for (path, name), value in self._later.items()])

    # members

    def _file(self, entry: Entry, path: bytes, folder: int, leaf: bytes) -> None:
        mode = entry.mode
        try:
            fd = os.open(leaf, CREATE, mode & 0o777, dir_fd=folder)
        except FileExistsError:
            folder = self._replace(path, folder, leaf)
            fd = os.open(leaf, CREATE, mode & 0o777, dir_fd=folder)
        try:
            data = self._reader.whole()
            if data is None:
                for data in self._reader.pieces():
                    self._write(fd, data)
            elif data:
                self._write(fd, data)
            uid, gid = self._rules.owner or (entry.uid, entry.gid)
            if uid or gid:
                os.fchown(fd, uid, gid)
            if mode & 0o7000:
                os.fchmod(fd, mode & 0o7777)
            if entry.xattrs:
                self._set_xattrs(fd, path, entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _write(self, fd: int, data: memoryview) -> None:
        size = len(data)
        written = os.write(fd, data)
        while written < size:
            written += os.write(fd, data[written:])
        self._size += size
        if self._size - self._looked > LOOK_AFTER:
            self._look_at_space()

    def _folder(self, entry: Entry, path: bytes, folder: int, leaf: bytes) -> None:
        try:
            os.mkdir(leaf, entry.mode & 0o777, dir_fd=folder)
        except FileExistsError:
            found = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                if self._rules.no_overwrite_dir_non_dir:
                    raise InvalidArgument(f"cannot overwrite non-directory {shown(path)} with directory") from None
                folder = self._replace(path, folder, leaf)
                os.mkdir(leaf, entry.mode & 0o777, dir_fd=folder)
                if self._rules.layer and is_whiteout(found):
                    self._make_opaque(path)
        fd = linux.plain_folder(folder, leaf)
        try:
            self._dress(fd, path, entry)
        finally:
            os.close(fd)
        self._tree.times[path] = (entry.mtime_ns, entry.mtime_ns)

    def _top(self, entry: Entry) -> None:
        """The member "./": the root's own attributes, or those of a folder that is unpacked into, which Docker leaves."""
        if entry.kind != FOLDER:
            raise NotPermitted(f"the tar has a member without a name ({shown(entry.name)})")
        if self._rules.layer:
            self._dress(self._tree.root, b"", entry)
            self._tree.times[b""] = (entry.mtime_ns, entry.mtime_ns)

    def _dress(self, fd: int, path: bytes, entry: Entry) -> None:
        uid, gid = self._rules.owner or (entry.uid, entry.gid)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, entry.mode & 0o7777)
        if entry.xattrs:
            self._set_xattrs(fd, path, entry.xattrs)

    def _symlink(self, entry: Entry, path: bytes, folder: int, leaf: bytes) -> None:
        if not entry.link or b"\0" in entry.link:
            raise InvalidArgument(f"the link {shown(path)} leads nowhere")
        try:
            os.symlink(entry.link, leaf, dir_fd=folder)
        except FileExistsError:
            folder = self._replace(path, folder, leaf)
            os.symlink(entry.link, leaf, dir_fd=folder)
        self._dress_by_name(entry, path, folder, leaf, chmod=False)

    def _node(self, entry: Entry, path: bytes, folder: int, leaf: bytes) -> None:
        kind = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[entry.kind]
        device = 0 if entry.kind == FIFO else os.makedev(entry.major, entry.minor)
        mode = kind | entry.mode & 0o777
        if entry.kind != FIFO and linux.in_user_namespace():
            return  # nobody makes devices there; Docker without root leaves them out too, and a container has a /dev of its own
        try:
            os.mknod(leaf, mode, device, dir_fd=folder)
        except FileExistsError:
            folder = self._replace(path, folder, leaf)
            os.mknod(leaf, mode, device, dir_fd=folder)
        self._dress_by_name(entry, path, folder, leaf, chmod=True)

    def _dress_by_name(self, entry: Entry, path: bytes, folder: int, leaf: bytes, *, chmod: bool) -> None:
        """What cannot be opened: it was made just now, and nobody else is in this folder."""
        uid, gid = self._rules.owner or (entry.uid, entry.gid)
        if uid or gid:
            os.chown(leaf, uid, gid, dir_fd=folder, follow_symlinks=False)
        if chmod and entry.mode & 0o7000:
            os.chmod(leaf, entry.mode & 0o7777, dir_fd=folder)
        if entry.xattrs:
            os.fchdir(folder)
            self._set_xattrs(leaf, path, entry.xattrs)
        os.utime(leaf, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _link(self, entry: Entry, path: bytes, folder: int, leaf: bytes) -> None:
        """A further name of a file of this tar, or of a layer below (then the file is copied up first, as overlayfs would)."""
        name = clean(entry.link)
        target = self._rules.into + b"/" + name if self._rules.into else name
        above, _, last = target.rpartition(b"/")
        if target == path or not name:
            raise InvalidArgument(f"{shown(path)} is a link to itself")
        self._bring(entry, target, above, last)
        for _ in range(2):
            folder = self._tree.folder(path.rpartition(b"/")[0], entry.mtime_ns)
            try:
                os.link(last, leaf, src_dir_fd=self._tree.folder(above), dst_dir_fd=folder, follow_symlinks=False)
                return
            except FileExistsError:
                if os.path.samestat(self._look(self._tree.folder(above), last), self._look(folder, leaf)):
                    return
                self._replace(path, folder, leaf)
        raise InvalidArgument(f"the link {shown(path)} cannot be made: it hides what it leads to")

    def _bring(self, entry: Entry, target: bytes, above: bytes, last: bytes) -> None:
        """See to it that the target of a link is in this tree."""
        try:
            fd = linux.path_in_root(self._tree.root, target)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        else:
            try:
                found = os.fstat(fd)
            finally:
                os.close(fd)
            if stat.S_ISDIR(found.st_mode):
                raise NotPermitted(f"{shown(entry.name)} is a hard link to a folder")
            if not (self._rules.layer and is_whiteout(found)):
                return
            raise InvalidArgument(f"{shown(entry.name)} is a link to {shown(target)}, which this layer removes")
        if self._tree.lower < 0:
            raise InvalidArgument(f"{shown(entry.name)} is a link to {shown(target)}, which is not there")
        self._size += copy_up(self._tree, target, self._tree.folder(above, entry.mtime_ns), last)

    # whiteouts

    def _hides(self, entry: Entry, path: bytes, parent: bytes, leaf: bytes) -> bool:
        """Whether the member is a whiteout, and was carried out."""
        parts = path.split(b"/")
        if any(part in OF_AUFS for part in parts):
            return True
        if any(part.startswith(HIDDEN) for part in parts[:-1]):
            raise NotPermitted(f"{shown(path)} lies below a whiteout")
        if not leaf.startswith(HIDDEN):
            return False
        folder = self._tree.folder(parent, entry.mtime_ns)
        if leaf == OPAQUE:
            self._make_opaque(parent)
            return True
        name = leaf[len(HIDDEN) :]
        if name in (b"", b".", b"..") or name.startswith(HIDDEN):
            raise NotPermitted(f"{shown(path)} is no name that a whiteout can have")
        self._whiteout(entry, parent + b"/" + name if parent else name, folder, name)
        return True

    def _whiteout(self, entry: Entry, path: bytes, folder: int, name: bytes) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)
        except FileExistsError:
            # It hides what lies below only: what this layer has itself stays (layer.md), but is not merged with what lay there.
            if stat.S_ISDIR(self._look(folder, name).st_mode):
                self._make_opaque(path)
            return
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _make_opaque(self, path: bytes) -> None:
        self._later[path, linux.OVERLAY + "opaque"] = b"y"

    # everything

    def _replace(self, path: bytes, folder: int, leaf: bytes) -> int:
        """Make place. The folder, which may have another descriptor now."""
        if self._rules.no_overwrite_dir_non_dir and stat.S_ISDIR(self._look(folder, leaf).st_mode):
            raise InvalidArgument(f"cannot overwrite directory {shown(path)} with non-directory")
        self._tree.clear(folder, leaf)
        return self._tree.folder(path.rpartition(b"/")[0])

    @staticmethod
    def _look(folder: int, leaf: bytes) -> os.stat_result:
        return os.stat(leaf, dir_fd=folder, follow_symlinks=False)

    def _set_xattrs(self, what: int | bytes, path: bytes, xattrs: dict[bytes, bytes]) -> None:
        for raw, value in xattrs.items():
            name = os.fsdecode(raw)
            if name.startswith(linux.OVERLAY):
                continue  # never the image's to set
            if name.startswith("trusted."):
                if not name.startswith("trusted.overlay.") and self._rules.layer:
                    self._later[path, name] = value
                continue
            try:
                os.setxattr(what, name, value, follow_symlinks=isinstance(what, int))
            except ValueError:
                raise NotPermitted(f"an attribute of {shown(path)} has a NUL in its name") from None
            except OSError as error:
                if error.errno in NOT_SUPPORTED and name.startswith(OF_OTHERS) and name != "security.capability":
                    continue  # of a security module, or a kind of access list, that this machine does not use
                if error.errno == errno.EPERM and name.startswith("user.") and not isinstance(what, int):
                    continue  # the kernel keeps them on files and folders only
                raise InvalidArgument(f"the attribute {name!r} of {shown(path)} cannot be set: {error.strerror}") from None

    def _finish(self) -> None:
        """Times of folders; those that were replaced by something else meanwhile are left."""
        self._tree.forget()
        for path, ns in self._tree.times.copy().items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if not path:
                    os.utime(self._tree.root, ns=ns)
                    continue
                folder, _, leaf = path.rpartition(b"/")
                fd = self._tree.folder(folder)
                if stat.S_ISDIR(self._look(fd, leaf).st_mode):
                    os.utime(leaf, ns=ns, dir_fd=fd, follow_symlinks=False)

    def _wanted_reserve(self) -> int:
        found = os.fstatvfs(self._tree.root)
        return min(self._limits.reserve, found.f_blocks * found.f_frsize // 20)

    def _look_at_space(self) -> None:
        self._looked = self._size
        found = os.fstatvfs(self._tree.root)
        if found.f_bavail * found.f_frsize < self._reserve:
            raise NoSpace("the disk of the data directory is full (option layer-reserve says how much is left free)")

    def _explain(self, error: OSError, path: bytes) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return NoSpace("the disk of the data directory is full")
        if error.errno == errno.EFBIG:
            return NotPermitted(f"{shown(path)} is larger than a layer may be")
        if error.errno == errno.ENOENT:
            return InvalidArgument(f"{shown(path)} cannot be made: something on its way is not there")
        if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
            return NotPermitted(f"{shown(path)}: {error.strerror}")
        return explained(error, path)


def copy_up(tree: Tree, path: bytes, folder: int, leaf: bytes) -> int:
    """Copy what lies below into the tree under the same name. Its size."""
    try:
        below = linux.plain_path(tree.lower, path)
    except OSError:
        raise InvalidArgument(f"a link leads to {shown(path)}, which is not there") from None
    try:
        found = os.fstat(below)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidArgument(f"a link leads to {shown(path)} of a layer below, which is no file")
        source = linux.plain_file(tree.lower, path)
    finally:
        os.close(below)
    try:
        target = os.open(leaf, CREATE, stat.S_IMODE(found.st_mode) & 0o777, dir_fd=folder)
        try:
            while os.sendfile(target, source, None, 1 << 30):
                pass
            os.fchown(target, found.st_uid, found.st_gid)
            os.fchmod(target, stat.S_IMODE(found.st_mode))
            for name in os.listxattr(source):
                with contextlib.suppress(OSError):
                    os.setxattr(target, name, os.getxattr(source, name))
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)
    return found.st_size
