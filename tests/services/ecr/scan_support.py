"""Images to scan: layers as tars, the files in which package managers keep what is installed, small security data."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import zstandard

from cloudstead.services.ecr.scanning import advisories
from cloudstead.services.ecr.scanning.advisories import Advisory, Data

DAY = 1_700_000_000.0
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION="12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
ALPINE = 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME="Alpine Linux v3.20"\n'
Member = tuple[str, str | bytes] | tarfile.TarInfo


def member(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def layer(*members: Member, compression: str = "gzip") -> bytes:
    """A layer of files (name and content) and other members, in this order."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
            else:
                data = each[1].encode() if isinstance(each[1], str) else each[1]
                tar.addfile(member(each[0], tarfile.REGTYPE, size=len(data)), io.BytesIO(data))
    data = raw.getvalue()
    if compression == "gzip":
        return gzip.compress(data, 1, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if compression == "zstd" else data


def stanza(name: str, version: str, source: str = "", status: str = "install ok installed") -> str:
    """A paragraph of dpkg's status."""
    lines = [f"Package: {name}", f"Status: {status}", "Priority: optional", "Maintainer: somebody", "Architecture: amd64"]
    if source:
        lines.append(f"Source: {source}")
    lines += [f"Version: {version}", "Description: a package", " Version: 9999 is not it", " ."]
    return "\n".join(lines) + "\n\n"


def debian(*stanzas: str, os_release: str = BOOKWORM, compression: str = "gzip") -> bytes:
    """The one layer of an image of Debian."""
    status = ("var/lib/dpkg/status", "".join(stanzas))
    return layer(
        ("./usr/lib/os-release", os_release),
        member("etc/os-release", tarfile.SYMTYPE, "../usr/lib/os-release"),
        status,
        compression=compression,
    )


def write_data(
    data: Path,
    packages: dict[str, Iterable[tuple[str, ...]]],
    distribution: str = "debian",
    release: str = "bookworm",
    *,
    complete: bool = True,
    dated: float = DAY,
) -> None:
    """Security data as if they had been imported; an advisory is name, fixed version, urgency, description."""
    known = {name: tuple(Advisory(*each) for each in found) for name, found in packages.items()}
    advisories.write(
        Data(advisories.FORMAT, distribution, release, dated, "a test", complete, advisories.packed(known)), data / "security", level=1
    )
