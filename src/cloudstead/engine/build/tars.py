"""Members of the tars that a build writes: names are text, a folder's ends with a slash, times are whole seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cloudstead.engine.tar import writer
from cloudstead.engine.tar.reader import FILE, FOLDER


def header(
    name: str,
    *,
    kind: bytes = FILE,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: str = "",
    xattrs: Mapping[bytes, bytes] | None = None,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    path = os.fsencode(name) + (b"/" if kind == FOLDER else b"")
    return writer.header(
        path,
        kind,
        mode=mode,
        uid=uid,
        gid=gid,
        size=size,
        mtime_ns=mtime * 1_000_000_000,
        link=os.fsencode(link),
        xattrs=xattrs,
        device=device,
    )
