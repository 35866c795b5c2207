"""The data directory: what makes a folder Cloudstead's, its root key, and emptying it.

<data>/cloudstead.toml   the mark: without it nothing is ever deleted here
<data>/root-key.json     the key of account 000000000000's root user, made once
<data>/run.json          who is running on it (runfile.py)
<data>/daemon.log        what it said (logs.py)
<data>/docker.sock       Docker's API, while it runs
<data>/…                 the store, and one folder for each service that keeps files
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cloudstead.kernel import ids

MARK = "cloudstead.toml"
LAYOUT = 1  # goes up when what lies where in the folder changes
MARK_TEXT = f'# This folder is the data of a Cloudstead. "cloudstead reset" empties it.\nlayout = {LAYOUT}\n'
ROOT_KEY = "root-key.json"
_ACCOUNT = "000000000000"  # kernel.identity.DEFAULT_ACCOUNT, whose module is too heavy for `cloudstead --help`


SOCKET_PATH = 100  # bytes; the kernel takes 107


def docker_socket(data: Path) -> Path:
    """Where Docker's API listens: `docker.sock` in the folder, or, when that is too long for a socket's name, one for it among root's or the user's."""
    path = data / "docker.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH:
        return path
    short = hashlib.sha256(os.fsencode(data)).hexdigest()[:8]
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return folder / f"cloudstead-{os.geteuid()}-{short}.sock"


class Unusable(Exception):
    """The data directory cannot be used as it is; the message says why, and what to do."""


class NotOurs(Unusable):
    """The folder holds something, but not a Cloudstead's data; or it is none."""


@dataclass(frozen=True, slots=True)
class RootKey:
    """The access key of the root user of the default account."""

    access_key_id: str
    secret_access_key: str


def prepare(data: Path) -> None:
    """Make the folder ours: put the mark in it, and let nobody but its owner into it.

    Raises:
        NotOurs: it holds other things already, or a layout of things that only a newer version knows.
        OSError: it cannot be made or written.
    """
    if data.exists() and not data.is_dir():
        raise NotOurs(f"{data} is not a folder; choose another with --data.")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = data / MARK
    if mark.exists():
        layout = re.search(r"^layout = (\d+)$", mark.read_text(errors="replace"), re.MULTILINE)
        if layout is not None and int(layout[1]) > LAYOUT:
            raise NotOurs(f"{data} was written by a newer Cloudstead. Run that one, or choose another folder with --data.")
        return
    if any(data.iterdir()):
        raise NotOurs(f"{data} holds files that are not Cloudstead's; choose an empty folder or one that Cloudstead made.")
    data.chmod(0o700)  # one that was there may have been open to all, and secrets will lie in it
    write_atomically(mark, MARK_TEXT.encode(), 0o600)


def root_key(data: Path) -> RootKey:
    """The root key of this data; made at the first call.

    Raises:
        Unusable: the folder is not ours, or the key's file is damaged.
        OSError: it cannot be read or made.
    """
    prepare(data)
    path = data / ROOT_KEY
    try:
        return RootKey(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError):
        raise Unusable(f"{path} is damaged. Put back what was in it, or remove it to have another key made.") from None
    fresh = {
        "access_key_id": ids.access_key_id(_ACCOUNT),
        "secret_access_key": ids.secret_access_key(),
    }
    try:
        write_atomically(path, json.dumps(fresh).encode(), 0o600, replace=False)
    except FileExistsError:  # another process was quicker; both must hand out the same key
        return RootKey(**json.loads(path.read_bytes()))
    return RootKey(**fresh)


def empty(data: Path) -> None:
    """Delete everything in the folder, the mark last, so that an interrupted call can be repeated.

    Raises:
        NotOurs: the folder has no mark.
    """
    if not (data / MARK).is_file():
        raise NotOurs(f"{data} was not made by Cloudstead; nothing was deleted.")
    for entry in data.iterdir():
        if entry.name == MARK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (data / MARK).unlink()


def write_atomically(path: Path, content: bytes, mode: int, *, replace: bool = True) -> None:
    """Write a file so that a reader sees all of it or none, and a crash leaves the old one.

    Raises:
        FileExistsError: it is there and `replace` is false.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(name, path)
        else:
            os.link(name, path)
    finally:
        if os.path.lexists(name):
            os.unlink(name)
