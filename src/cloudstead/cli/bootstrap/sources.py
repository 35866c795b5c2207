"""Where Debian packages come from: as the host's apt gets them, unless told otherwise."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path

DEBIAN = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ROLLING = ("sid", "unstable", "experimental", "rc-buggy")  # these have no updates beside themselves
APT = Path("/etc/apt")
# What of the host's apt configuration concerns how packages are fetched.
FETCHING = re.compile(r"Acquire::(?:https?::\S+|Retries|Check-Valid-Until|Check-Date|ForceIPv4|Queue-Mode)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One line of sources.list(5)."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)

    def stanza(self) -> str:
        """In the form of deb822."""
        return f"Types: deb\nURIs: {self.uri}\nSuites: {self.suite}\nComponents: {' '.join(self.components)}\nSigned-By: {KEYRING}\n"


def choose(suite: str, mirror: str = "", security: str = "", apt: Path = APT) -> list[Source]:
    """The sources of a suite: named mirrors, else the host's own of that suite, else the host's mirror of Debian, else Debian's."""
    if mirror:
        found = _of_mirror(suite, mirror, security)
    else:
        host = list(read(apt))
        of_suite = [source for source in host if _belongs(source.suite, suite)]
        if any(source.suite == suite for source in of_suite):
            found = of_suite
        else:
            uri = next((source.uri for source in host if source.uri.rstrip("/").endswith("/debian")), DEBIAN)
            secure = next((source.uri for source in host if "debian-security" in source.uri), SECURITY)
            found = _of_mirror(suite, uri, secure)
        if security:
            found = [replace(source, uri=security) if _is_security(source.suite, suite) else source for source in found]
    return [replace(source, uri=source.uri.rstrip("/"), components=("main",)) for source in found]


def _of_mirror(suite: str, mirror: str, security: str) -> list[Source]:
    found = [Source(mirror, suite)]
    if suite not in ROLLING:
        found.append(Source(mirror, f"{suite}-updates"))
        if security:
            found.append(Source(security, f"{suite}-security"))
    return found


def _belongs(name: str, suite: str) -> bool:
    return name in (suite, f"{suite}-updates") or _is_security(name, suite)


def _is_security(name: str, suite: str) -> bool:
    return name in (f"{suite}-security", f"{suite}/updates")


def read(apt: Path) -> Iterator[Source]:
    """What apt is told in sources.list and sources.list.d, in both forms; binary packages only."""
    folder = apt / "sources.list.d"
    files = [apt / "sources.list", *(sorted(folder.iterdir()) if folder.is_dir() else ())]
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if file.suffix == ".list":
            yield from _lines(text)
        elif file.suffix == ".sources":
            yield from _stanzas(text)


def _lines(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        words = re.sub(r"\[[^\]]*\]", "", line.partition("#")[0]).split()
        if len(words) >= 4 and words[0] == "deb":
            yield Source(words[1], words[2], tuple(words[3:]))


def _stanzas(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields.setdefault(name, []).extend(line.split())
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.split()
        if "deb" in fields.get("types", ()) and fields.get("enabled", ["yes"])[0].lower() not in ("no", "false", "0"):
            components = tuple(fields.get("components", ()))
            yield from (Source(uri, suite, components) for uri in fields.get("uris", ()) for suite in fields.get("suites", ()))


def apt_options() -> list[str]:
    """The host's proxies and the like, as lines of apt.conf."""
    try:
        done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return []
    kept = []
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        if FETCHING.fullmatch(name) and value not in ('"";', ""):
            kept.append(line)
    return kept


def newest(sources: Iterable[Source]) -> int | None:
    """When the newest of the releases was made, in seconds; None where no release file can be read."""
    dates = [date for source in sources if (date := _date(source)) is not None]
    return max(dates, default=None)


def _date(source: Source) -> int | None:
    for name in ("InRelease", "Release"):
        try:
            with urllib.request.urlopen(f"{source.uri}/dists/{source.suite}/{name}", timeout=20) as answer:
                head = answer.read(4096).decode(errors="replace")
        except (OSError, ValueError):
            continue
        if found := re.search(r"^Date: (.+)$", head, re.MULTILINE):
            try:
                return int(parsedate_to_datetime(found[1].replace("UTC", "+0000")).timestamp())
            except ValueError:
                return None
    return None
