"""Packages and security data -> what came of the scan. A pure function.

**Severity.** Debian has two urgencies. Its security tracker gives one for a vulnerability (RFC-like words: high, medium, low, unimportant, "not yet
assigned", "end-of-life"), and mostly does not; a changelog gives that of the upload which fixed it. ECR's basic scanning took them, by Clair, as they are
taken here:

    critical, emergency              CRITICAL
    high                             HIGH
    medium                           MEDIUM
    low                              LOW
    unimportant                      INFORMATIONAL    no security problem in Debian's package, says the tracker
    anything else, and nothing       UNDEFINED        nobody says; so are all of Alpine's, which has none

An asterisk behind an urgency (the tracker's mark for "set automatically") does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloudstead.services.ecr.model import Finding
from cloudstead.services.ecr.scanning import findings, versions
from cloudstead.services.ecr.scanning.advisories import Advisory, Data, dated
from cloudstead.services.ecr.scanning.inventory import Inventory, Package

COMPLETE, FAILED = "COMPLETE", "FAILED"
DONE = "The scan was completed successfully."
# AWS's basic scanning answers FAILED with this sentence, and the waiter image_scan_complete ends with it; UNSUPPORTED_IMAGE is Inspector's.
UNSUPPORTED = "UnsupportedImageError: The operating system and/or package manager are not supported."
LONGEST = 256  # characters of an attribute's value

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
    """
    system = inventory.system
    if not inventory.manager or not system.distribution:
        return Outcome(FAILED, UNSUPPORTED)
    if _MANAGERS.get(system.distribution) != inventory.manager:
        return Outcome(FAILED, f"{UNSUPPORTED} It is {system.name}; images of Debian and Alpine can be scanned.")
    if not data:
        told = f"There are no security data of {system.distribution} {system.release or 'of no known release'}"
        return Outcome(FAILED, f"{UNSUPPORTED} {told}: import them with `cloudstead security-data update`.")
    found = findings.ordered(
        _finding(system.distribution, package, advisory, part)
        for package in inventory.packages
        for part in data
        for advisory in _affecting(system.distribution, package, part)
    )
    return Outcome(COMPLETE, f"{DONE}{_coverage(inventory, data)}", dated(data), tuple(found[: findings.MOST]))


def _affecting(distribution: str, package: Package, part: Data) -> list[Advisory]:
    advisories = part.of(package.name)
    if not advisories:
        return []
    order = versions.ORDERS[distribution]
    installed = order(package.version)
    return [each for each in advisories if not each.fixed or installed < order(each.fixed)]


def _finding(distribution: str, package: Package, advisory: Advisory, part: Data) -> Finding:
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
    if covered == len(names):
        about = f"all {covered}" if covered != 1 else "its one"
    else:
        about = f"{covered} of its {len(names)}"
    return f" The security data are {data[0].source}: they cover {about} source packages, and only what is fixed."
