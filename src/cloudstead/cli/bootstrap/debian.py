"""Root file systems of Debian, by mmdebstrap: what is required, apt, and the packages of a recipe; without documentation, as the official slim images."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudstead.cli.bootstrap import sources
from cloudstead.cli.bootstrap.archive import Contents, entry
from cloudstead.cli.bootstrap.recipes import Recipe, Release
from cloudstead.cli.bootstrap.sources import KEYRING, Source
from cloudstead.cli.terminal import Failure

LEFT_OUT = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/groff/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/linda/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
)
APT_CONF = """\
// An image keeps no packages, no lists it can fetch again, and no caches.
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
Apt::AutoRemove::SuggestsImportant "false";
"""
POLICY = "#!/bin/sh\n# No service is started by installing its package into an image.\nexit 101\n"
HOOKS = Path("/usr/share/mmdebstrap/hooks/merged-usr")
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be in a root file system, and where from."""

    recipe: Recipe
    name: str
    suite: str
    sources: Sequence[Source]
    packages: Sequence[str] = ()  # beside those of the recipe


def check() -> None:
    """Raises Failure, with what to do, when no root file system can be made here."""
    if shutil.which("mmdebstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        raise Failure("mmdebstrap is not installed: `apt-get install mmdebstrap debian-archive-keyring`.")
    if not Path(KEYRING).exists():
        raise Failure("Debian's keys are not installed: `apt-get install debian-archive-keyring`.")
    if os.geteuid() != 0 and not can_unshare():
        raise Failure("Making a root file system of Debian needs root's rights: run this with sudo (busybox does not need them).")


def can_unshare() -> bool:
    """Whether mmdebstrap can do without root: it needs a range of user ids to give to the files, and what maps them."""
    if shutil.which("newuidmap") is None:
        return False
    try:
        user = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
        return bool(user) and any(line.startswith(f"{user}:") for line in Path("/etc/subuid").read_text().splitlines())
    except OSError:
        return False


def make(root: Path, wanted: Wanted, epoch: int) -> Contents:
    """Write the tar of the root file system.

    Raises:
        Failure: mmdebstrap did not come to its end.
    """
    listed = root.with_suffix(".sources")
    listed.write_text("\n".join(source.stanza() for source in wanted.sources))
    try:
        _run(_command(root, listed, wanted), epoch)
    finally:
        listed.unlink()
    _lay_over(root, wanted.recipe, epoch)
    release = examine(root, wanted.suite)
    tags = [f"{wanted.name}:{tag}" for tag in wanted.recipe.tags(release)]
    return Contents(
        tags=tags,
        command=wanted.recipe.command,
        environment=wanted.recipe.environment(release),
        made_by=f"cloudstead image bootstrap {wanted.name} # {wanted.suite}",
        epoch=epoch,
    )


def _command(root: Path, listed: Path, wanted: Wanted) -> list[str]:
    packages = ["ca-certificates"] if any(source.uri.startswith("https:") for source in wanted.sources) else []
    packages += [*wanted.recipe.packages, *wanted.packages]
    if HOOKS.is_dir():
        packages.append("usr-is-merged")
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--format=tar",
        "--skip=output/dev",
        *(["--hook-dir", str(HOOKS)] if HOOKS.is_dir() else []),
        *(f"--aptopt={option}" for option in sources.apt_options()),
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Dir::Cache::pkgcache ""',  # 70 MB that apt makes again when it needs them
        '--aptopt=Dir::Cache::srcpkgcache ""',
        *(f"--dpkgopt={option}" for option in LEFT_OUT),
        f"--include={','.join(dict.fromkeys(packages))}",
        # What was for the making alone; the mirror stays, under the name that Debian's images give it.
        '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap',
        f'--customize-hook=mv "$1"/etc/apt/sources.list.d/0000{listed.name} "$1"/etc/apt/sources.list.d/debian.sources',
        '--customize-hook=: > "$1"/etc/resolv.conf; : > "$1"/etc/hostname; chmod 644 "$1"/etc/resolv.conf "$1"/etc/hostname',
        '--customize-hook=rm -rf "$1"/var/log/*.log "$1"/var/log/apt/* "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old',
        wanted.suite,
        str(root),
        str(listed),
    ]


def _run(command: list[str], epoch: int) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("I: ")][-LOG_LINES:]
        raise Failure("mmdebstrap failed:\n" + ("\n".join(said) or f"status {done.returncode}"))


def _lay_over(root: Path, recipe: Recipe, epoch: int) -> None:
    """Add what no package has to the end of the tar; mmdebstrap would remove its own policy-rc.d, and ours with it."""
    files = {
        "etc/apt/apt.conf.d/99image": (APT_CONF, 0o644),
        "etc/dpkg/dpkg.cfg.d/image": ("force-unsafe-io\n" + "".join(f"{line}\n" for line in LEFT_OUT), 0o644),
        "usr/sbin/policy-rc.d": (POLICY, 0o755),
    }
    with tarfile.open(root, "a", format=tarfile.PAX_FORMAT) as tar:
        for name, (text, mode) in files.items():
            info = entry(f"./{name}", epoch, mode=mode)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        for name, link in recipe.links.items():
            tar.addfile(entry(f"./{name}", epoch, mode=0o777, kind=tarfile.SYMTYPE, link=link))


def examine(root: Path, suite: str) -> Release:
    """What the tar of a root file system says of itself."""
    texts = {}
    with tarfile.open(root, "r:") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in ("usr/lib/os-release", "var/lib/dpkg/status") and (file := tar.extractfile(member)) is not None:
                texts[name] = file.read().decode(errors="replace")
    system = dict(line.partition("=")[::2] for line in texts.get("usr/lib/os-release", "").splitlines())
    versions = dict(re.findall(r"^Package: (\S+)\n(?:\S.*\n| .*\n)*?Version: (\S+)$", texts.get("var/lib/dpkg/status", ""), re.MULTILINE))
    return Release(suite=suite, number=system.get("VERSION_ID", "").strip('"'), versions=versions)
