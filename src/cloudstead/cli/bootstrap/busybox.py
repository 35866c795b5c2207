"""A root file system around one static program: the host's busybox, with a link for each of its applets."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

from cloudstead.cli.bootstrap.archive import Contents, entry
from cloudstead.cli.terminal import Failure

WHERE = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
MISSING = "busybox-static is not installed: `apt-get install busybox-static`."
FOLDERS = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
    "var/spool": 0o755,
    "var/spool/mail": 0o755,
    "var/www": 0o755,
}
FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "bin:x:2:2:bin:/bin:/bin/false\n"
        "www-data:x:33:33:www-data:/var/www:/bin/false\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
    "etc/group": "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
SHADOW = "root:*:::::::\ndaemon:*:::::::\nbin:*:::::::\nwww-data:*:::::::\nnobody:*:::::::\n"


def make(root: Path, epoch: int | None) -> Contents:
    """Write the tar of the root file system.

    Raises:
        Failure: there is no busybox on this machine, or only one that needs libraries.
    """
    program = find()
    epoch = int(program.stat().st_mtime) if epoch is None else epoch
    version = _version(program)
    with tarfile.open(root, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in FOLDERS.items():
            tar.addfile(entry(name, epoch, mode=mode, kind=tarfile.DIRTYPE))
        for name, text in sorted(FILES.items()):
            _add(tar, name, text, epoch)
        _add(tar, "etc/shadow", SHADOW, epoch, mode=0o640)
        with program.open("rb") as content:
            info = entry("bin/busybox", epoch, mode=0o755)
            info.size = os.fstat(content.fileno()).st_size
            tar.addfile(info, content)
        for applet in _applets(program):
            tar.addfile(entry(f"bin/{applet}", epoch, mode=0o755, kind=tarfile.LNKTYPE, link="bin/busybox"))
        tar.addfile(entry("usr/bin/env", epoch, mode=0o755, kind=tarfile.LNKTYPE, link="bin/busybox"))
    short = ".".join(version.split(".")[:2])
    tags = [f"busybox:{tag}" for tag in dict.fromkeys(("latest", version, short, version.split(".")[0]))]
    return Contents(tags=tags, command=["sh"], made_by=f"cloudstead image bootstrap busybox # {version}", epoch=epoch)


def find() -> Path:
    """The host's static busybox."""
    for folder in WHERE.split(":"):
        path = shutil.which("busybox", path=folder)
        if path is not None and is_static(Path(path)):
            return Path(path)
    raise Failure(MISSING)


def is_static(program: Path) -> bool:
    """Whether an ELF program needs no interpreter: elf(5), PT_INTERP."""
    with program.open("rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or len(head) < 64:
            return False
        wide = head[4] == 2
        order = "<" if head[5] == 1 else ">"
        start = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
        size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
        file.seek(start)
        table = file.read(size * count)
    kinds = (struct.unpack_from(order + "I", table, at)[0] for at in range(0, len(table) - 3, size))
    return 3 not in kinds


def _applets(program: Path) -> list[str]:
    done = subprocess.run([program, "--list"], capture_output=True, text=True, timeout=10, check=True)
    return sorted({name for name in done.stdout.split() if re.fullmatch(r"[\w\[.-]+", name)} - {"busybox"})


def _version(program: Path) -> str:
    done = subprocess.run([program], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"BusyBox v(\d+(?:\.\d+)+)", done.stdout + done.stderr)
    return found[1] if found else "1"


def _add(tar: tarfile.TarFile, name: str, text: str, epoch: int, mode: int = 0o644) -> None:
    info = entry(name, epoch, mode=mode)
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text.encode()))
