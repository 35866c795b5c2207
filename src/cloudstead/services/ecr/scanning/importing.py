"""Security data made from what distributions publish.

    Debian    https://security-tracker.debian.org/tracker/data/json: package -> vulnerability -> release -> status, fixed_version, urgency; all releases
    Alpine    https://secdb.alpinelinux.org/v3.20/main.json: package -> version -> vulnerabilities that it fixes; one release and repository

Which of them a text is, it shows itself. A vulnerability that does not concern a release (fixed in version "0") and one of which nobody knows whether
it does ("undetermined") are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from cloudstead.engine.compression import decoder, detect
from cloudstead.engine.errors import EngineError, InvalidArgument
from cloudstead.services.ecr.scanning.advisories import FORMAT, Advisory, Data, packed

TRACKER = "https://security-tracker.debian.org/tracker/data/json"
LARGEST = 1 << 30  # bytes of a text; the tracker's has 70 MB
LONGEST_DESCRIPTION = 1000
NOT_AFFECTED = "0"
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,}")


class _Release(msgspec.Struct):
    status: str = ""
    fixed_version: str | None = None
    urgency: str = ""


class _Issue(msgspec.Struct):
    description: str = ""
    releases: dict[str, _Release] = {}


class _Fixes(msgspec.Struct):
    name: str
    secfixes: dict[str, list[str] | None] | None = None


class _Package(msgspec.Struct):
    pkg: _Fixes


class _SecDb(msgspec.Struct):
    distroversion: str
    reponame: str
    packages: list[_Package]


def read(text: bytes, source: str, dated: float) -> list[Data]:
    """Security data of one release or of several.

    Args:
        text: may be compressed.
        source: where it comes from, for people.
        dated: as of when it is.

    Raises:
        InvalidArgument: it is neither.
    """
    text = _decompressed(text)
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if "distroversion" in members:
            return [_alpine(msgspec.json.decode(text, type=_SecDb), source, dated)]
        found = _debian(msgspec.json.decode(text, type=dict[str, dict[str, _Issue]]), source, dated)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"it is neither the data of Debian's security tracker nor a secdb of Alpine: {error}") from error
    if not found:
        raise InvalidArgument("it says nothing of any release of Debian")
    return found


def _decompressed(text: bytes) -> bytes:
    name = detect(text)
    if not name:
        return text
    pieces, size = [], 0
    decode = decoder(name)
    try:
        for piece in decode.feed(text):
            size += len(piece)
            if size > LARGEST:
                raise InvalidArgument(f"it has more than {LARGEST} bytes")
            pieces.append(piece)
        decode.finish()
    except EngineError:
        raise
    except Exception as error:  # the decompressors have their own
        raise InvalidArgument(f"its {name} is damaged: {error}") from error
    return b"".join(pieces)


def _debian(tracker: dict[str, dict[str, _Issue]], source: str, dated: float) -> list[Data]:
    releases: dict[str, dict[str, list[Advisory]]] = {}
    for package, issues in tracker.items():
        for name, issue in issues.items():
            for release, found in issue.releases.items():
                if (fixed := _fixed(found)) is not None:
                    advisory = Advisory(name, fixed, found.urgency, issue.description[:LONGEST_DESCRIPTION])
                    releases.setdefault(release, {}).setdefault(package, []).append(advisory)
    return [_data("debian", release, "", packages, source, dated) for release, packages in sorted(releases.items())]


def _fixed(found: _Release) -> str | None:
    """The version that is not affected; empty: there is none yet; None: nothing is to be told."""
    if found.status == "resolved":
        return None if found.fixed_version in (None, "", NOT_AFFECTED) else found.fixed_version
    return "" if found.status == "open" else None


def _alpine(secdb: _SecDb, source: str, dated: float) -> Data:
    packages: dict[str, list[Advisory]] = {}
    for package in secdb.packages:
        for fixed, names in (package.pkg.secfixes or {}).items():
            if fixed != NOT_AFFECTED:
                packages.setdefault(package.pkg.name, []).extend(Advisory(name, fixed) for name in _names(names or []))
    return _data("alpine", secdb.distroversion.removeprefix("v"), secdb.reponame, packages, source, dated)


def _names(entries: list[str]) -> Iterator[str]:
    """An entry may name the same vulnerability in several ways: "CVE-2019-14697 GHSA-…"."""
    for entry in entries:
        found = _CVE.search(entry)
        if name := found[0] if found else " ".join(entry.split()[:1]):
            yield name


def _data(distribution: str, release: str, part: str, packages: dict[str, list[Advisory]], source: str, dated: float) -> Data:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", release) or not re.fullmatch(r"[a-z0-9]*", part):  # they name the file
        raise InvalidArgument(f"{release!r} is no release")
    return Data(
        format=FORMAT,
        distribution=distribution,
        release=release,
        dated=dated,
        source=source,
        complete=True,
        packages=packed({name: tuple(advisories) for name, advisories in packages.items()}),
        part=part,
    )
