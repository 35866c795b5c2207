"""The security data: what a distribution says of the source packages of one release.

    <data>/security/<distribution>-<release>[-<part>].json.zst    imported by the user (`cloudstead security-data update`)
    scanning/data/…                                               shipped

An imported file is used instead of a shipped one of the same release. Alpine's come in parts, one for each of its repositories; all are used.

A file is JSON in zstd: `zstdcat` shows it. Of a large one only the packages that an image has are decoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import zstandard

from cloudstead.engine.errors import Failed

FORMAT = 1
LARGEST = 512 << 20  # bytes of one file, unpacked
SHIPPED = Path(__file__).parent / "data"
_NAME = re.compile(r"[a-z0-9][a-z0-9.+]*", re.ASCII)


class Advisory(msgspec.Struct, frozen=True, array_like=True):
    """One vulnerability in one source package of the release."""

    name: str  # CVE-2023-…; TEMP-… of Debian's tracker, where there is no number yet
    fixed: str  # the first version without it; empty: no version is without it yet
    urgency: str = ""  # in the source's words
    description: str = ""


class Data(msgspec.Struct, frozen=True):
    """A file."""

    format: int
    distribution: str  # debian, alpine
    release: str  # bookworm, 3.20
    dated: float  # as of when it says what it says
    source: str  # for people: where it comes from
    complete: bool  # a package that it does not name has no vulnerability that it knows; else nothing is known of such a package
    packages: dict[str, msgspec.Raw]  # of source packages: tuple[Advisory, ...]
    part: str = ""

    def of(self, package: str) -> tuple[Advisory, ...]:
        found = self.packages.get(package)
        return () if found is None else msgspec.json.decode(found, type=tuple[Advisory, ...])

    @property
    def file_name(self) -> str:
        return "-".join(each for each in (self.distribution, self.release, self.part) if each) + ".json.zst"


_decoder = msgspec.json.Decoder(Data)


def packed(packages: dict[str, tuple[Advisory, ...]]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(advisories)) for name, advisories in sorted(packages.items())}


def write(data: Data, folder: Path, level: int = 19) -> Path:
    """A reader meanwhile sees the old file or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / data.file_name
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(zstandard.ZstdCompressor(level=level).compress(msgspec.json.encode(data)))
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def read(path: Path) -> Data:
    """Raises Failed: it cannot be read."""
    try:
        text = path.read_bytes()
        size = zstandard.frame_content_size(text)
        if not 0 <= size <= LARGEST:
            raise Failed(f"the security data {path.name} are not as they were written")
        data = _decoder.decode(zstandard.ZstdDecompressor().decompress(text))
    except (OSError, zstandard.ZstdError, msgspec.DecodeError) as error:
        raise Failed(f"the security data {path.name} cannot be read: {error}") from error
    if data.format != FORMAT:
        raise Failed(f"the security data {path.name} have format {data.format}; this version reads {FORMAT}")
    return data


def find(imported: Path, distribution: str, release: str, shipped: Path = SHIPPED) -> list[Data]:
    """All parts of one release; none when nothing is known of it."""
    if not _NAME.fullmatch(distribution) or not _NAME.fullmatch(release):  # an image may say anything
        return []
    for folder in (imported, shipped):
        if paths := files(folder, f"{distribution}-{release}"):
            return [read(path) for path in paths]
    return []


def files(folder: Path, start: str = "") -> list[Path]:
    """Of a release ("debian-bookworm"), or all."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if name.endswith(".json.zst") and not name.startswith(".") and _belongs(name, start)]


def _belongs(name: str, start: str) -> bool:
    return not start or (name[len(start) :].startswith((".json.zst", "-")) and name.startswith(start))


def dated(parts: Iterable[Data]) -> float | None:
    """The date of all of them together: that of the oldest."""
    return min((part.dated for part in parts), default=None)
