"""Deleting everything, carefully: never through a mount."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from cloudstead.engine.host.commands import TearDown
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.linux import MNT_DETACH, unmount


@handles(TearDown)
async def tear_down(host: Host, command: TearDown, descriptors: list[int]) -> list[str]:
    folders = (host.layout.engine, host.layout.run)
    for target in reversed(mounted_below(folders)):
        with contextlib.suppress(OSError):
            unmount(target, MNT_DETACH)
    if left := mounted_below(folders):
        return left
    await host.fork(_delete, *folders)
    return []


def mounted_below(folders: tuple[Path, ...]) -> list[str]:
    """Mount points in these folders, the outer before the inner."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        target = os.fsdecode(_unescaped(line.split(" ")[4]))
        if any(Path(target).is_relative_to(folder) for folder in folders):
            found.append(target)
    return found


def _unescaped(text: str) -> bytes:
    """proc(5): space, tab, newline and backslash are written as octal numbers."""
    data = os.fsencode(text)
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        data = data.replace(code, character)
    return data


def _delete(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
