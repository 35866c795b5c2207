"""What is installed in an image: which system it is, and its packages, from the files that its package manager keeps.

    dpkg        /var/lib/dpkg/status; /var/lib/dpkg/status.d/<package> of images without dpkg itself (distroless)
    apk         /lib/apk/db/installed, or below /usr/lib
    rpm         seen, so that it can be told that it is not read
    the system  /etc/os-release, else /usr/lib/os-release; os-release(5)

Vulnerabilities are known of source packages, and fixed in versions of those: a binary package names its source and the source's version where they
are not its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloudstead.services.ecr.scanning.layers import Selection, TooLarge

STATUS = "var/lib/dpkg/status"
STATUS_FOLDER = "var/lib/dpkg/status.d/"
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
RPM = tuple(
    f"{folder}/{name}" for folder in ("var/lib/rpm", "usr/lib/sysimage/rpm") for name in ("Packages", "Packages.db", "rpmdb.sqlite")
)
MOST = 50_000  # source packages; Debian has 40,000 in all
LONGEST = 256  # characters of a name or version: AttributeValue of ECR's model
LARGEST_OS_RELEASE = 64 << 10
_DEBIAN = {"8": "jessie", "9": "stretch", "10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^()\s]+)\))?")
_CODENAME = re.compile(r"\((\w+)\)", re.ASCII)


@dataclass(frozen=True, slots=True)
class System:
    """Of os-release."""

    distribution: str  # debian, alpine, ubuntu, amzn, …; empty: it does not say
    release: str  # bookworm, 3.20: as the security data name it
    name: str  # for people


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A source package of which something is installed."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Inventory:
    system: System
    manager: str  # dpkg, apk, rpm; empty: there is none
    packages: tuple[Package, ...]


def _is_wanted(path: str) -> bool:
    return path in _WANTED or (path.startswith(STATUS_FOLDER) and not path.endswith(".md5sums") and "/" not in path[len(STATUS_FOLDER) :])


def _folders(*paths: str) -> frozenset[str]:
    return frozenset("/".join(parts[:count]) for parts in (path.split("/") for path in paths) for count in range(1, len(parts)))


_WANTED = frozenset((STATUS, *APK, *OS_RELEASE))
SELECTION = Selection(_is_wanted, notice=frozenset(RPM), folders=_folders(*_WANTED, *RPM, STATUS_FOLDER))


def take(files: Mapping[str, bytes]) -> Inventory:
    """What those of the selection say.

    Raises:
        TooLarge
    """
    system = _system(next((files[path] for path in OS_RELEASE if path in files), b""))
    if any(path == STATUS or path.startswith(STATUS_FOLDER) for path in files):
        return Inventory(system, "dpkg", _sorted(_dpkg(files)))
    if found := [files[path] for path in APK if path in files]:
        return Inventory(system, "apk", _sorted(package for text in found for package in _apk(text)))
    return Inventory(system, "rpm" if any(path in files for path in RPM) else "", ())


def _sorted(packages: Iterator[Package]) -> tuple[Package, ...]:
    """In order, each once.

    Raises:
        TooLarge: no image has so many.
    """
    found: set[Package] = set()
    for package in packages:
        found.add(package)
        if len(found) > MOST:
            raise TooLarge("more packages are installed than are scanned")
    return tuple(sorted(found))


def _system(data: bytes) -> System:
    fields: dict[str, str] = {}
    for line in data[:LARGEST_OS_RELEASE].decode(errors="replace").splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            fields[key] = value.strip().strip("\"'")[:LONGEST]
    distribution, number = fields.get("ID", "").lower(), fields.get("VERSION_ID", "")
    release = number
    if distribution == "debian":
        named = _CODENAME.search(fields.get("VERSION", ""))
        release = fields.get("VERSION_CODENAME") or (named[1] if named else "") or _DEBIAN.get(number.partition(".")[0], "")
        if not number and "sid" in fields.get("PRETTY_NAME", ""):
            release = release or "sid"
    elif distribution == "alpine":
        release = ".".join(number.split(".")[:2])
    return System(distribution, release.lower(), fields.get("PRETTY_NAME") or f"{distribution} {number}".strip())


def _dpkg(files: Mapping[str, bytes]) -> Iterator[Package]:
    for path, data in files.items():
        if path == STATUS or path.startswith(STATUS_FOLDER):
            for fields in _paragraphs(data, _DPKG_FIELDS):
                # status.d has no Status: what is in it is installed.
                if fields.get(b"Status", "install ok installed").split()[-1:] == ["installed"]:
                    source = _SOURCE.match(fields.get(b"Source", ""))
                    name = source[1] if source else fields.get(b"Package", "")
                    yield from _package(name, (source[2] if source else None) or fields.get(b"Version", ""))


def _apk(data: bytes) -> Iterator[Package]:
    """P is the package, V its version, o the package that it was built from ("origin")."""
    for fields in _paragraphs(data, _APK_FIELDS):
        yield from _package(fields.get(b"o") or fields.get(b"P", ""), fields.get(b"V", ""))


def _package(name: str, version: str) -> Iterator[Package]:
    if 0 < len(name) <= LONGEST and 0 < len(version) <= LONGEST:
        yield Package(name, version)


_DPKG_FIELDS = frozenset((b"Package", b"Status", b"Source", b"Version"))
_APK_FIELDS = frozenset((b"P", b"V", b"o"))


def _paragraphs(data: bytes, wanted: frozenset[bytes]) -> Iterator[dict[bytes, str]]:
    """Lines "name:value" up to an empty one; only the fields that are wanted. Lines that go on with others begin with a blank, and name no field.

    Line by line: a list of all of them may take a hundred times the memory of the text.
    """
    fields: dict[bytes, str] = {}
    for line in io.BytesIO(data):
        if line == b"\n":
            if fields:
                yield fields
                fields = {}
        else:
            name, _, value = line.partition(b":")
            if name in wanted:
                fields[name] = value[: 4 * LONGEST].decode(errors="replace").strip()
    if fields:
        yield fields
