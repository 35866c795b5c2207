#!/usr/bin/env python3
"""Make the security data that are shipped, from what Debian's archive itself says: src/cloudstead/services/ecr/scanning/data/debian-<release>.json.zst

    $ .venv/bin/python tools/security_data.py [RELEASE]…      (Debian or Ubuntu with apt; needs a mirror of Debian and some 100 MB for a release)

Every package of Debian has a changelog, and its maintainers write there which CVEs a version fixes. This asks apt, on a root of its own, what would be
installed for the packages named below, takes from each of their source packages the smallest binary package in its newest version (of the release, its
updates and its security updates), and keeps of the changelog in it, for each CVE, the version that was first to speak of it and the urgency of that upload.

So the data know what was fixed, of these packages alone. They know of no vulnerability that is not fixed yet, nor of one that its changelog does not
name; Debian's security tracker does, and `cloudstead security-data update` takes it. They are as of the newest of the release files.
"""

from __future__ import annotations

import argparse
import gzip
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudstead.cli.bootstrap import sources
from cloudstead.services.ecr.scanning import advisories, versions
from cloudstead.services.ecr.scanning.advisories import Advisory, Data

RELEASES = ("bullseye", "bookworm", "trixie")
# What base images hold (debian, debian-slim, distroless, python, node, buildpack-deps, nginx, postgres, …), and what is put on top of them most.
# A paragraph is what can be installed together.
PACKAGES = """
apt bash busybox ca-certificates coreutils curl default-jre-headless dnsutils dumb-init file git gnupg gosu iproute2 iptables iputils-ping jq krb5-user
ldap-utils less locales lsof media-types nano net-tools netcat-openbsd openssh-client openssh-server openssl procps psmisc rsync socat sudo tar tcpdump
tini tzdata unzip vim-tiny wget xz-utils zip zstd
python3 python3-dev python3-pip python3-venv python3-cryptography python3-django python3-flask python3-jinja2 python3-requests python3-setuptools
python3-urllib3 python3-yaml nodejs ruby perl php-cli php-fpm php-curl php-gd php-mbstring php-xml golang-go lua5.4 tcl
autoconf automake build-essential cmake gdb libtool make mercurial patch pkg-config subversion
default-libmysqlclient-dev imagemagick libbz2-dev libcurl4-openssl-dev libdb-dev libevent-dev libexpat1-dev libffi-dev libfreetype-dev libgdbm-dev
libglib2.0-dev libgmp-dev libjpeg-dev libkrb5-dev libldap-dev liblzma-dev libmagickwand-dev libmaxminddb-dev libncurses-dev libpng-dev libpq-dev
libreadline-dev libsqlite3-dev libssl-dev libtiff-dev libwebp-dev libxml2-dev libxslt1-dev libyaml-dev zlib1g-dev
ghostscript fontconfig libgl1 libx11-6 poppler-utils

apache2 bind9 haproxy lighttpd mariadb-client mariadb-server memcached nginx postgresql postgresql-client redis-server squid sqlite3 varnish
mosquitto openvpn rabbitmq-server slapd smbclient supervisor systemd tor wireguard-tools exim4-daemon-light

containerd docker.io git-lfs skopeo vim default-jdk-headless elixir erlang-base maven tomcat9 tomcat10 rustc postfix

chromium ffmpeg firefox-esr graphviz gstreamer1.0-plugins-good libreoffice-core librsvg2-bin wkhtmltopdf

npm ruby-rails python3-aiohttp python3-lxml python3-numpy python3-pil python3-scipy python3-tornado python3-twisted python3-werkzeug
"""
_HEAD = re.compile(r"^(\S+) \(([^)\s]+)\) [^;]*;.*?\burgency=([a-zA-Z]+)")
_CVE = re.compile(r"\bCVE-[0-9]{4}-[0-9]{4,}\b")
_CHANGELOG = re.compile(r"\./usr/share/doc/[^/]+/changelog(?:\.Debian)?\.gz")


@dataclass(frozen=True)
class Binary:
    name: str
    version: str
    source: str
    size: int


class Apt:
    """apt, on a root of its own."""

    def __init__(self, root: Path, found: Iterable[sources.Source]) -> None:
        self.root = root
        for folder in ("etc/apt", "state/lists/partial", "cache/archives/partial", "packages", "empty"):
            (root / folder).mkdir(parents=True)
        (root / "status").touch()
        (root / "etc/apt/debian.sources").write_text("\n".join(source.stanza() for source in found))
        (root / "apt.conf").write_text(
            "\n".join(
                [
                    'APT::Architecture "amd64";',
                    'APT::Architectures { "amd64"; };',
                    'APT::Sandbox::User "root";',
                    'Acquire::Languages "none";',
                    f'Dir::Etc::SourceList "{root}/etc/apt/debian.sources";',
                    f'Dir::Etc::SourceParts "{root}/empty";',
                    f'Dir::Etc::Preferences "{root}/status";',
                    f'Dir::Etc::PreferencesParts "{root}/empty";',
                    f'Dir::State "{root}/state";',
                    f'Dir::State::Status "{root}/status";',
                    f'Dir::Cache "{root}/cache";',
                    *sources.apt_options(),
                ]
            )
        )

    def run(self, *command: str, tolerant: bool = False) -> str:
        done = subprocess.run(
            command, cwd=self.root / "packages", env={"APT_CONFIG": str(self.root / "apt.conf"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode and not tolerant:
            raise SystemExit(f"{' '.join(command[:3])}… failed:\n{done.stderr[-2000:]}")
        return done.stdout

    def closure(self) -> list[str]:
        """Names of everything that would be installed, with what Debian calls essential and required."""
        known = set(self.run("apt-cache", "pkgnames").split())
        missing = sorted(set(PACKAGES.split()) - known)
        print(f"not in this release: {' '.join(missing) or 'nothing'}", file=sys.stderr)
        found: set[str] = set()
        for together in PACKAGES.split("\n\n"):
            wanted = [name for name in together.split() if name in known]
            plan = self.run("apt-get", "install", "--simulate", "--no-install-recommends", "?essential", "?priority(required)", *wanted)
            found.update(re.findall(r"^Inst (\S+) ", plan, re.MULTILINE))
        return sorted(found)

    def binaries(self, names: Iterable[str]) -> dict[str, list[Binary]]:
        """By source package, the smallest first, in the newest version of each."""
        found: dict[str, Binary] = {}
        for stanza in self.run("apt-cache", "show", "--no-all-versions", *names).split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
            if "Package" in fields:
                source = fields.get("Source", fields["Package"]).split()[0]
                found[fields["Package"]] = Binary(fields["Package"], fields["Version"], source, int(fields["Size"]))
        by_source: dict[str, list[Binary]] = {}
        for binary in sorted(found.values(), key=lambda each: each.size):
            by_source.setdefault(binary.source, []).append(binary)
        return by_source

    def download(self, binaries: list[Binary]) -> None:
        """What the mirror has no more (releases on their way to archive.debian.org) is passed over."""
        if binaries:
            self.run("apt-get", "download", *(f"{each.name}={each.version}" for each in binaries), tolerant=True)

    def package(self, binary: Binary) -> Path | None:
        version = binary.version.replace(":", "%3a")
        return next(iter((self.root / "packages").glob(f"{binary.name}_{version}_*.deb")), None)


def changelog(package: Path) -> str:
    """Debian's changelog in a binary package; empty when it is a link into another package."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        found: dict[str, bytes] = {}
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                if _CHANGELOG.fullmatch(member.name) and member.isfile() and (file := tar.extractfile(member)) is not None:
                    found[member.name.rpartition("/")[2]] = file.read()
    data = found.get("changelog.Debian.gz") or found.get("changelog.gz") or b""
    try:
        return gzip.decompress(data).decode(errors="replace") if data else ""
    except (OSError, EOFError, zlib.error):
        return ""


def fixes(text: str) -> Iterator[Advisory]:
    """What a changelog says, newest entry first: of each CVE the oldest entry counts, which is the last that is met.

    What is fixed in an entry is fixed in all that stand above it, which need not have higher versions: 1.0-4~deb12u1 is made of 1.0-4. So the version is
    the lowest of them.
    """
    found: dict[str, Advisory] = {}
    lowest = urgency = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            urgency = head[3].lower()
            lowest = head[2] if not lowest else min(lowest, head[2], key=versions.dpkg)
        elif lowest and line.startswith("  "):
            for name in _CVE.findall(line):
                found[name] = Advisory(name, lowest, urgency)
    yield from sorted(found.values(), key=lambda each: [int(number) for number in each.name.split("-")[1:]])


def collect(apt: Apt) -> dict[str, tuple[Advisory, ...]]:
    waiting = by_source = apt.binaries(apt.closure())
    known: dict[str, tuple[Advisory, ...]] = {}
    for attempt in range(max(map(len, waiting.values()))):
        chosen = {source: binaries[attempt] for source, binaries in waiting.items() if len(binaries) > attempt}
        if not chosen:
            break
        print(f"{len(chosen)} packages to read", file=sys.stderr)
        apt.download(list(chosen.values()))
        for source, binary in chosen.items():
            if (package := apt.package(binary)) is None:
                continue
            text = changelog(package)
            package.unlink()
            if _HEAD.search(text) and text.startswith(f"{source} ("):
                known[source] = tuple(fixes(text))
        waiting = {source: binaries for source, binaries in waiting.items() if source not in known and len(binaries) > attempt + 1}
    print(f"no changelog of: {' '.join(sorted(by_source.keys() - known.keys())) or 'none'}", file=sys.stderr)
    return known


def make(release: str, folder: Path) -> None:
    found = sources.choose(release)
    dated = sources.newest(found)
    if dated is None:
        raise SystemExit(f"no release file of {release} can be read")
    with tempfile.TemporaryDirectory(prefix="security-data-") as root:
        apt = Apt(Path(root), found)
        apt.run("apt-get", "update")
        known = collect(apt)
    data = Data(
        format=advisories.FORMAT,
        distribution="debian",
        release=release,
        dated=float(dated),
        source=f"the changelogs of {len(known)} source packages of Debian {release}",
        complete=False,
        packages=advisories.packed(known),
    )
    path = advisories.write(data, folder)
    print(f"{path.name}: {len(known)} source packages, {sum(map(len, known.values()))} fixes, {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", default=RELEASES, metavar="RELEASE")
    parser.add_argument("--folder", type=Path, default=advisories.SHIPPED)
    arguments = parser.parse_args()
    for release in arguments.releases:
        make(release, arguments.folder)


if __name__ == "__main__":
    main()
