"""Packages and security data -> what came of the scan. A pure function.

**Severity.** Debian has two urgencies. Its security tracker gives one for a vulnerability (high, medium, low, unimportant; mostly "not yet assigned");
a changelog gives that of the upload which fixed it, and so of all that it fixed. They are taken as ECR's basic scanning, by Clair, took the tracker's:

    critical, emergency              CRITICAL
    high                             HIGH
    medium                           MEDIUM
    low                              LOW
    unimportant                      INFORMATIONAL    no security problem in Debian's package, says the tracker
    anything else, and nothing       UNDEFINED        nobody says; so are all of Alpine's, which has none

An asterisk behind an urgency (the tracker's mark for "set automatically") does not count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cloudstead.services.ecr.model import Finding
from cloudstead.services.ecr.scanning import findings, versions
from cloudstead.services.ecr.scanning.advisories import Advisory, Data, dated
from cloudstead.services.ecr.scanning.inventory import Inventory, Package
from cloudstead.services.ecr.scanning.layers import TooLarge

COMPLETE, FAILED = "COMPLETE", "FAILED"
DONE = "The scan was completed successfully."
# AWS's basic scanning answers FAILED with this sentence, and the waiter image_scan_complete ends with it; UNSUPPORTED_IMAGE is Inspector's.
UNSUPPORTED = "UnsupportedImageError: The operating system and/or package manager are not supported."
LONGEST = 256  # characters of an attribute's value
MOST = 50_000  # findings of an image that are told
COMPARISONS = 5_000_000  # of versions, for an image; a real one takes some ten thousand

_SEVERITIES = {
    "critical": "CRITICAL",
    "emergency": "CRITICAL",
    "high": "HIGH",
    "medium": "MEDIUM",
    "low": "LOW",
    "unimportant": "INFORMATIONAL",
}
_PAGES = {"debian": "https://security-tracker.debian.org/tracker/", "alpine": "https://security.alpinelinux.org/vuln/"}
_MANAGERS = {"debian": "dpkg", "alpine": "apk"}


@dataclass(frozen=True, slots=True)
class Outcome:
    status: str
    description: str
    source_updated: float | None = None
    findings: tuple[Finding, ...] = ()


def severity(urgency: str) -> str:
    return _SEVERITIES.get(urgency.strip().rstrip("*").lower(), "UNDEFINED")


def match(inventory: Inventory, data: list[Data]) -> Outcome:
    """
    Args:
        data: that of the image's distribution and release; none when there are none.

    Raises:
        TooLarge
    """
    system = inventory.system
    if not inventory.manager or not system.distribution:
        return Outcome(FAILED, UNSUPPORTED)
    if _MANAGERS.get(system.distribution) != inventory.manager:
        return Outcome(FAILED, f"{UNSUPPORTED} It is {system.name}; images of Debian and Alpine can be scanned.")
    if not data:
        told = f"There are no security data of {system.distribution} {system.release or 'of no known release'}"
        return Outcome(FAILED, f"{UNSUPPORTED} {told}: import them with `cloudstead security-data update`.")
    found = list(itertools.islice(_all(inventory, data), MOST + 1))
    told = _coverage(inventory, data) if len(found) <= MOST else f" It has more than {MOST:,} findings; the others are not told."
    return Outcome(COMPLETE, DONE + told, dated(data), tuple(findings.ordered(found[:MOST])))


def _all(inventory: Inventory, data: list[Data]) -> Iterator[Finding]:
    """A source package may be installed in several versions; its advisories are looked up once."""
    distribution = inventory.system.distribution
    order = versions.ORDERS[distribution]
    left = COMPARISONS
    for name, installed in itertools.groupby(inventory.packages, key=lambda package: package.name):
        known = [(each, order(each.fixed)) for part in data for each in part.of(name)]
        for package in installed if known else ():
            version = order(package.version)
            left -= len(known)
            if left < 0:
                raise TooLarge("more versions of the same packages are installed than are scanned")
            for advisory, fixed in known:
                if not advisory.fixed or version < fixed:
                    yield _finding(distribution, package, advisory)


def _finding(distribution: str, package: Package, advisory: Advisory) -> Finding:
    attributes = [("package_version", package.version), ("package_name", package.name)]
    if advisory.fixed:
        attributes.append(("fixed_version", advisory.fixed))
    told = f"Version {advisory.fixed} of {package.name} fixes it." if advisory.fixed else f"No version of {package.name} fixes it yet."
    return Finding(
        name=advisory.name,
        severity=severity(advisory.urgency),
        description=advisory.description or told,
        uri=_PAGES[distribution] + advisory.name,
        attributes=tuple((key, value[:LONGEST]) for key, value in attributes),
    )


def _coverage(inventory: Inventory, data: list[Data]) -> str:
    """What the security data say nothing of, where that is so."""
    if any(part.complete for part in data):
        return ""
    names = {package.name for package in inventory.packages}
    covered = sum(any(name in part.packages for part in data) for name in names)
    about = f"all {covered}" if covered == len(names) else f"{covered} of the {len(names)}"
    return f" The security data ({data[0].source}) cover {about} source packages of the image, and only what has been fixed."
