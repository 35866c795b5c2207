"""Which images there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DEFAULT_SUITE = "bookworm"


@dataclass(frozen=True, slots=True)
class Release:
    """What a root file system turned out to be."""

    suite: str
    number: str  # "12"; empty for suites that have none yet
    versions: dict[str, str]  # of packages


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image of Debian packages."""

    packages: Sequence[str] = ()
    command: Sequence[str] = ("bash",)
    environment: Callable[[Release], list[str]] = lambda release: []
    tags: Callable[[Release], list[str]] = lambda release: []
    links: dict[str, str] = field(default_factory=dict)


def _debian_tags(release: Release) -> list[str]:
    names = [name for name in (release.number, release.suite) if name]
    return ["latest", *names, *(f"{name}-slim" for name in names)]


def upstream(version: str) -> str:
    """ "1:18.20.4+dfsg-1~deb12u1" is 18.20.4."""
    digits = version.partition(":")[2] or version
    for cut in "-+~":
        digits = digits.partition(cut)[0]
    return digits


def _version_tags(package: str, parts: int) -> Callable[[Release], list[str]]:
    """`latest`, and the version cut to each length up to `parts`, each with -slim too."""

    def tags(release: Release) -> list[str]:
        numbers = upstream(release.versions[package]).split(".")
        names = [".".join(numbers[:count]) for count in range(1, min(parts, len(numbers)) + 1)]
        return ["latest", *names, *(f"{name}-slim" for name in names), *(f"{name}-{release.suite}" for name in names), "slim"]

    return tags


RECIPES = {
    "debian": Recipe(tags=_debian_tags),
    "python": Recipe(
        packages=("python3", "python3-pip", "python3-venv", "ca-certificates"),
        command=("python3",),
        # pip refuses to install beside Debian's packages (PEP 668) unless told; in an image of its own that is what one wants.
        environment=lambda release: [
            "LANG=C.UTF-8",
            f"PYTHON_VERSION={upstream(release.versions['python3-minimal'])}",
            "PIP_BREAK_SYSTEM_PACKAGES=1",
            "PIP_ROOT_USER_ACTION=ignore",
        ],
        tags=_version_tags("python3-minimal", 3),
        links={"usr/local/bin/python": "/usr/bin/python3"},
    ),
    "node": Recipe(
        packages=("nodejs", "ca-certificates"),
        command=("node",),
        environment=lambda release: [f"NODE_VERSION={upstream(release.versions['nodejs'])}"],
        tags=_version_tags("nodejs", 3),
    ),
}
NAMES = ("busybox", *RECIPES)
