"""What scanning is made of: versions, packages, layers, security data, matching."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from scan_support import ALPINE, BOOKWORM, DAY, debian, layer, member, stanza, write_data
from tools.security_data import fixes

from cloudstead.engine.errors import EngineError, Failed, InvalidArgument
from cloudstead.services.ecr.scanning import advisories, findings, importing, inventory, layers, matching, versions
from cloudstead.services.ecr.scanning.advisories import Advisory
from cloudstead.services.ecr.scanning.examining import examine
from cloudstead.services.ecr.scanning.inventory import Package
from cloudstead.services.ecr.scanning.layers import Limits, Stopped, TooLarge

STATUS = "var/lib/dpkg/status"

# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────

# Ascending, as deb-version(7) and apk-tools have them.
DPKG = [
    "1.0~~",
    "1.0~~a",
    "1.0~",
    "1.0~rc1",
    "1.0",
    "1.0-0.1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb12u1",
    "1.0-1+deb12u2",
    "1.0-1+deb12u10",
    "1.0-2",
    "1.0a",
    "1.0+dfsg-1",
    "1.0.1",
    "1.1",
    "1.10",
    "0001.11",
    "1:0.1",
    "2:0",
]
APK = [
    "1.0_alpha",
    "1.0_alpha2",
    "1.0_beta1",
    "1.0_pre1",
    "1.0_rc1",
    "1.0",
    "1.0-r1",
    "1.0-r2",
    "1.0-r10",
    "1.0_p1",
    "1.0a",
    "1.0b",
    "1.0.1",
    "1.01",
    "1.1",
    "1.2",
    "1.10",
    "2",
]


@pytest.mark.parametrize(("order", "ascending"), [(versions.dpkg, DPKG), (versions.apk, APK)], ids=["dpkg", "apk"])
def test_versions_are_in_their_order(order: versions.Callable[[str], versions.Key], ascending: list[str]) -> None:
    if order is versions.apk:  # what is less than 1.1 by a leading zero stands below 1.0.1 too: it is only compared with its neighbours
        ascending = [each for each in ascending if each != "1.01"]
        assert order("1.01") < order("1.1")
    shuffled = random.Random(1).sample(ascending, len(ascending))
    assert sorted(shuffled, key=order) == ascending


@pytest.mark.parametrize("pair", [("1.0", "1.0-0"), ("1.0", "0:1.0"), ("1.", "1.0"), ("1.00", "1.0"), ("1.0-", "1.0")])
def test_some_versions_of_dpkg_are_the_same(pair: tuple[str, str]) -> None:
    assert versions.dpkg(pair[0]) == versions.dpkg(pair[1])


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
def test_versions_compare_as_dpkg_does() -> None:
    chance = random.Random(20)
    for _ in range(150):
        one = chance.choice("019") + "".join(chance.choice("0019.+~-aZ1") for _ in range(chance.randrange(7))) + "1"
        at = chance.randrange(1, len(one))
        two = (
            one[:at] + chance.choice(["0", "~", ".", "+", "a", "-1", ""]) + one[at:]
            if chance.random() < 0.7
            else chance.choice("012") + "-1"
        )
        mine = (versions.dpkg(one) > versions.dpkg(two)) - (versions.dpkg(one) < versions.dpkg(two))
        relation = {1: "gt", 0: "eq", -1: "lt"}[mine]
        assert subprocess.run(["dpkg", "--compare-versions", one, relation, two], check=False).returncode == 0, (one, relation, two)


@pytest.mark.parametrize("order", [versions.dpkg, versions.apk])
def test_what_is_no_version_compares_too(order: versions.Callable[[str], versions.Key]) -> None:
    strange = ["", "-", ":", "~", "a:b", "1:", "²", "1.²", "9" * 5000, "x" * 5000, "\0", "1.0_", "1..2", "-r1"]
    assert len(sorted(strange, key=order)) == len(strange)


# ── packages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def taken(files: dict[str, str]) -> inventory.Inventory:
    return inventory.take({path: text.encode() for path, text in files.items()})


def test_dpkg_packages_are_named_by_their_source_and_its_version() -> None:
    status = (
        stanza("libssl3", "3.0.11-1~deb12u2", "openssl")
        + stanza("perl-base", "5.36.0-7+b1", "perl (5.36.0-7)")
        + stanza("bash", "5.2.15-2")
        + stanza("openssl", "3.0.11-1~deb12u2")
        + stanza("gone", "1.0", status="deinstall ok config-files")
        + stanza("half", "1.0", status="install ok half-installed")
    )
    found = taken({STATUS: status, "etc/os-release": BOOKWORM})
    assert found.manager == "dpkg"
    assert (found.system.distribution, found.system.release) == ("debian", "bookworm")
    assert found.packages == (Package("bash", "5.2.15-2"), Package("openssl", "3.0.11-1~deb12u2"), Package("perl", "5.36.0-7"))


def test_a_distroless_image_has_its_packages_in_a_folder() -> None:
    files = {
        "var/lib/dpkg/status.d/libc6": "Package: libc6\nSource: glibc\nVersion: 2.36-9+deb12u3\n",
        "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a-0+deb12u1\n",
        "etc/os-release": 'PRETTY_NAME="Distroless"\nID="debian"\nVERSION_ID="12"\nVERSION="Debian GNU/Linux 12 (bookworm)"\n',
    }
    assert all(inventory.SELECTION.keep(path) for path in files)
    assert not inventory.SELECTION.keep("var/lib/dpkg/status.d/libc6.md5sums")
    found = taken(files)
    assert found.system.release == "bookworm"
    assert found.packages == (Package("glibc", "2.36-9+deb12u3"), Package("tzdata", "2024a-0+deb12u1"))


def test_apk_packages_are_named_by_their_origin() -> None:
    installed = "C:Q1abc=\nP:libcrypto3\nV:3.3.0-r2\nA:x86_64\no:openssl\nF:usr/lib\nR:x\n\nP:musl\nV:1.2.5-r0\n\n"
    found = taken({"lib/apk/db/installed": installed, "etc/os-release": ALPINE})
    assert (found.manager, found.system.distribution, found.system.release) == ("apk", "alpine", "3.20")
    assert found.packages == (Package("musl", "1.2.5-r0"), Package("openssl", "3.3.0-r2"))


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("ID=debian\nVERSION_ID='11'\n", "bullseye"),
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux trixie/sid"\nVERSION_CODENAME=trixie\n', "trixie"),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', "22.04"),
        ("ID=debian\n", ""),
        ("", ""),
        ("# ID=x\n=\nID\n\0\xff", ""),
    ],
)
def test_a_release_has_the_name_that_the_security_data_use(text: str, release: str) -> None:
    assert taken({"etc/os-release": text}).system.release == release


def test_no_content_of_a_status_file_breaks_the_reading() -> None:
    strange = (
        random.Random(3).randbytes(3000)
        + b"\n\nPackage: x\nSource: (\nVersion:\n\nPackage:\nVersion: 1\n\nSource: a (b) c\nVersion: 2\nPackage: y"
    )
    found = inventory.take({STATUS: strange, "lib/apk/db/installed": strange, "etc/os-release": strange})
    assert Package("a", "b") in found.packages


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def collect(tmp_path: Path, *blobs: bytes, limits: Limits | None = None) -> dict[str, bytes]:
    descriptors = []
    for number, blob in enumerate(blobs):
        (tmp_path / str(number)).write_bytes(blob)
        descriptors.append(os.open(tmp_path / str(number), os.O_RDONLY))
    try:
        return layers.collect(descriptors, inventory.SELECTION, limits or Limits())
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
def test_a_later_layer_wins(tmp_path: Path, compression: str) -> None:
    first = layer((f"./{STATUS}", "old"), ("etc/os-release", "system"), ("usr/bin/x", "y" * 100_000), compression=compression)
    second = layer((f"/{STATUS}", "new"), compression=compression)
    assert collect(tmp_path, first, second) == {STATUS: b"new", "etc/os-release": b"system"}


@pytest.mark.parametrize(
    "name",
    ["var/lib/dpkg/.wh.status", "var/lib/.wh.dpkg", ".wh.var", "var/lib/dpkg/.wh..wh..opq", "var/.wh..wh..opq", ".wh..wh..opq"],
)
def test_a_whiteout_takes_away_what_lower_layers_have(tmp_path: Path, name: str) -> None:
    assert collect(tmp_path, layer((STATUS, "old")), layer((name, ""))) == {}


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_folder_keeps_what_its_own_layer_has(tmp_path: Path, first: bool) -> None:
    lower = layer((STATUS, "old"), ("var/lib/dpkg/status.d/a", "old"))
    own = [("var/lib/dpkg/.wh..wh..opq", ""), (STATUS, "new")]
    assert collect(tmp_path, lower, layer(*(own if first else own[::-1]))) == {STATUS: b"new"}


@pytest.mark.parametrize("path", [STATUS, "var/lib/dpkg", "var"])
def test_something_else_at_a_path_takes_away_what_was_there(tmp_path: Path, path: str) -> None:
    for other in (member(path, tarfile.SYMTYPE, "elsewhere"), member(path, tarfile.FIFOTYPE)):
        assert collect(tmp_path, layer((STATUS, "old")), layer(other)) == {}
    assert collect(tmp_path, layer((STATUS, "old")), layer(member("var/lib/dpkg", tarfile.DIRTYPE))) == {STATUS: b"old"}


def test_a_hard_link_is_followed_within_its_layer(tmp_path: Path) -> None:
    link = member(STATUS, tarfile.LNKTYPE, "var/lib/dpkg/status-old")
    assert collect(tmp_path, layer(("var/lib/dpkg/status-old", "content"), link)) == {STATUS: b"content"}
    known = member("usr/lib/os-release", tarfile.LNKTYPE, "./etc/os-release")
    assert collect(tmp_path, layer(("etc/os-release", "content"), known))["usr/lib/os-release"] == b"content"


def test_of_rpm_it_is_only_noticed_that_it_is_there(tmp_path: Path) -> None:
    found = collect(tmp_path, layer(("usr/lib/sysimage/rpm/rpmdb.sqlite", "x" * 100_000)))
    assert found == {"usr/lib/sysimage/rpm/rpmdb.sqlite": b""}
    assert inventory.take(found).manager == "rpm"


@pytest.mark.parametrize("name", ["../var/lib/dpkg/status", "var/../var/lib/dpkg/status", "x/../../var/lib/dpkg/status", ".."])
def test_names_that_lead_out_are_passed_over(tmp_path: Path, name: str) -> None:
    assert collect(tmp_path, layer((name, "evil"))) == {}


def test_a_bomb_is_given_up(tmp_path: Path) -> None:
    bomb = layer(("usr/share/zeros", bytes(40 << 20)), (STATUS, "x"))
    assert len(bomb) < 1 << 20
    with pytest.raises(TooLarge, match="unpack to more"):
        collect(tmp_path, bomb, limits=Limits(unpacked=16 << 20))
    with pytest.raises(TooLarge, match="databases are larger"):
        collect(tmp_path, layer((STATUS, bytes(2 << 20))), limits=Limits(kept=1 << 20))
    many = layer(*((f"var/lib/dpkg/status.d/{number}", "") for number in range(300)))
    with pytest.raises(TooLarge, match="databases are larger"):
        collect(tmp_path, many, limits=Limits(files=200))
    with pytest.raises(TooLarge, match="more files"):
        collect(tmp_path, many, limits=Limits(members=200))


def test_a_file_larger_than_allowed_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Its header says so already."""
    info = member(STATUS, tarfile.REGTYPE, size=1 << 40)
    with pytest.raises(TooLarge):
        collect(tmp_path, info.tobuf() + bytes(1024))


@pytest.mark.parametrize(
    "blob",
    [
        b"\x1f\x8b\x08" + b"x" * 100,
        b"\x28\xb5\x2f\xfd" + b"x" * 100,
        b"no tar" * 200,
        layer((STATUS, random.randbytes(9000)))[:5000],
        b"\x1f\x8b",
    ],
    ids=["gzip", "zstd", "text", "cut off", "short"],
)
def test_a_damaged_layer_is_refused(tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(EngineError):
        collect(tmp_path, blob)


def test_whoever_waits_may_say_stop(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        collect(tmp_path, debian(stanza("a", "1")), limits=Limits(stop=lambda: True))
    with pytest.raises(TooLarge, match="too long"):
        collect(tmp_path, debian(stanza("a", "1")), limits=Limits(until=0.0))


def test_any_byte_of_a_layer_may_be_wrong(tmp_path: Path) -> None:
    chance = random.Random(11)
    for compression in ("", "gzip", "zstd"):
        good = debian(stanza("a", "1"), compression=compression)
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(chance.randrange(1, 4)):
                bad[chance.randrange(len(bad))] = chance.randrange(256)
            (tmp_path / "bad").write_bytes(bad)
            outcome = examine([tmp_path / "bad"], tmp_path)
            assert outcome.status in ("COMPLETE", "FAILED")
            assert "Cloudstead's log" not in outcome.description, outcome


# ── security data ────────────────────────────────────────────────────────────────────────────────────────────────────

TRACKER = {
    "openssl": {
        "CVE-2023-0001": {
            "description": "A flaw.",
            "scope": "remote",
            "releases": {
                "bookworm": {
                    "status": "resolved",
                    "repositories": {"bookworm": "3.0.11-1"},
                    "fixed_version": "3.0.11-1~deb12u2",
                    "urgency": "high**",
                },
                "bullseye": {"status": "resolved", "repositories": {}, "fixed_version": "0", "urgency": "unimportant"},
            },
        },
        "CVE-2023-0002": {"releases": {"bookworm": {"status": "open", "urgency": "not yet assigned", "nodsa": "Minor issue"}}},
        "CVE-2023-0003": {"releases": {"bookworm": {"status": "undetermined", "urgency": "not yet assigned"}}},
        "TEMP-0000001-ABCDEF": {"releases": {"bookworm": {"status": "open", "urgency": "unimportant"}}},
    },
    "bash": {"CVE-2023-0004": {"releases": {"sid": {"status": "resolved", "fixed_version": "5.2-1", "urgency": "low"}}}},
}


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_the_data_of_debians_tracker_are_imported(tmp_path: Path, compression: str) -> None:
    text = json.dumps(TRACKER).encode()
    packed = {"": text, "gzip": gzip.compress(text), "zstd": zstandard.compress(text)}[compression]
    for each in importing.read(packed, "the tracker", DAY):
        advisories.write(each, tmp_path)
    assert [path.name for path in advisories.files(tmp_path)] == ["debian-bookworm.json.zst", "debian-sid.json.zst"]
    (bookworm,) = advisories.find(tmp_path, "debian", "bookworm")
    assert (bookworm.dated, bookworm.complete, bookworm.source) == (DAY, True, "the tracker")
    assert bookworm.of("openssl") == (
        Advisory("CVE-2023-0001", "3.0.11-1~deb12u2", "high**", "A flaw."),
        Advisory("CVE-2023-0002", "", "not yet assigned"),
        Advisory("TEMP-0000001-ABCDEF", "", "unimportant"),
    )
    assert bookworm.of("bash") == ()


def test_a_secdb_of_alpine_is_imported(tmp_path: Path) -> None:
    secfixes = {"3.3.1-r0": ["CVE-2024-0001", "CVE-2024-0002 GHSA-x"], "0": ["CVE-2024-0003"], "3.0-r0": None}
    packages = [{"pkg": {"name": "openssl", "secfixes": secfixes}}, {"pkg": {"name": "musl", "secfixes": None}}]
    for part in ("main", "community"):
        secdb = {"apkurl": "{{urlprefix}}", "distroversion": "v3.20", "reponame": part, "archs": ["x86_64"], "packages": packages}
        (found,) = importing.read(json.dumps(secdb).encode(), "secdb", DAY)
        advisories.write(found, tmp_path)
    both = advisories.find(tmp_path, "alpine", "3.20")
    assert [each.part for each in both] == ["community", "main"]
    assert both[0].of("openssl") == (Advisory("CVE-2024-0001", "3.3.1-r0"), Advisory("CVE-2024-0002", "3.3.1-r0"))
    assert advisories.find(tmp_path, "alpine", "3.2") == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b'{"a": 1}',
        b'{"distroversion": "../../x", "reponame": "main", "packages": []}',
        b"\x1f\x8b\x08zzzz",
        b'{"p": {"CVE-1": {"releases": {"../../etc/x": {"status": "open"}}}}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_security_data_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidArgument):
        importing.read(text, "x", DAY)


def test_imported_data_are_used_instead_of_shipped_ones(tmp_path: Path) -> None:
    shipped, imported = tmp_path / "shipped", tmp_path / "imported" / "security"
    write_data(tmp_path, {"a": [("CVE-1", "1")]})
    (tmp_path / "security").rename(shipped)
    assert [each.of("a")[0].name for each in advisories.find(imported, "debian", "bookworm", shipped)] == ["CVE-1"]
    write_data(tmp_path / "imported", {"a": [("CVE-2", "1")]})
    assert [each.of("a")[0].name for each in advisories.find(imported, "debian", "bookworm", shipped)] == ["CVE-2"]
    (imported / "debian-bookworm.json.zst").write_bytes(b"damaged")
    with pytest.raises(Failed, match=r"debian-bookworm\.json\.zst cannot be read"):
        advisories.find(imported, "debian", "bookworm", shipped)


@pytest.mark.parametrize("release", ["../../../etc/passwd", "", "*", "bookworm/x", "a\0b"])
def test_a_release_that_an_image_claims_names_no_other_file(tmp_path: Path, release: str) -> None:
    write_data(tmp_path, {"a": []})
    assert advisories.find(tmp_path / "security", "debian", release) == []


CHANGELOG = """\
app (1.0-4~deb12u1) bookworm; urgency=medium

  * Rebuild for bookworm, without a word of CVE-2023-0001.

 -- Somebody <somebody@example.org>  Sat, 01 Jul 2023 10:00:00 +0200

app (1.0-4) unstable; urgency=high

  [ Somebody else ]
  * Mend what is left of CVE-2022-0001; fix CVE-2023-0002,
    CVE-2023-10000.

 -- Somebody <somebody@example.org>  Fri, 30 Jun 2023 10:00:00 +0200

app (1:0.9-1) unstable; urgency=low

  * New upstream version (fixes CVE-2022-0001).

 -- Somebody <somebody@example.org>  Thu, 29 Jun 2023 10:00:00 +0200
"""


def test_a_changelog_says_which_version_fixed_what() -> None:
    """The oldest entry that speaks of a vulnerability counts, and the lowest version from there on: 1.0-4~deb12u1 has what 1.0-4 has."""
    assert list(fixes(CHANGELOG)) == [
        Advisory("CVE-2022-0001", "1.0-4~deb12u1", "low"),
        Advisory("CVE-2023-0001", "1.0-4~deb12u1", "medium"),
        Advisory("CVE-2023-0002", "1.0-4~deb12u1", "high"),
        Advisory("CVE-2023-10000", "1.0-4~deb12u1", "high"),
    ]
    assert list(fixes("no changelog\n  CVE-2023-0001\n")) == []


# ── matching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def matched(tmp_path: Path, *stanzas: str, os_release: str = BOOKWORM) -> matching.Outcome:
    (tmp_path / "layer").write_bytes(debian(*stanzas, os_release=os_release))
    return examine([tmp_path / "layer"], tmp_path / "security")


def test_a_version_before_the_fixed_one_is_vulnerable_and_the_fixed_one_is_not(tmp_path: Path) -> None:
    write_data(
        tmp_path,
        {"openssl": [("CVE-2023-1", "3.0.11-1~deb12u2", "high", "A flaw."), ("CVE-2023-2", "", "")], "bash": [("CVE-2023-3", "1", "")]},
    )
    (first, second) = matched(tmp_path, stanza("libssl3", "3.0.11-1~deb12u1", "openssl"), stanza("bash", "5")).findings
    assert (first.name, first.severity, first.description) == ("CVE-2023-1", "HIGH", "A flaw.")
    assert first.uri == "https://security-tracker.debian.org/tracker/CVE-2023-1"
    assert dict(first.attributes) == {"package_name": "openssl", "package_version": "3.0.11-1~deb12u1", "fixed_version": "3.0.11-1~deb12u2"}
    assert (second.name, second.severity, second.description) == ("CVE-2023-2", "UNDEFINED", "No version of openssl fixes it yet.")
    assert "fixed_version" not in dict(second.attributes)
    outcome = matched(tmp_path, stanza("libssl3", "3.0.11-1~deb12u2", "openssl"))
    assert [each.name for each in outcome.findings] == ["CVE-2023-2"]
    assert (outcome.status, outcome.description, outcome.source_updated) == ("COMPLETE", "The scan was completed successfully.", DAY)


@pytest.mark.parametrize(
    ("urgency", "severity"),
    [
        ("emergency", "CRITICAL"),
        ("critical", "CRITICAL"),
        ("high**", "HIGH"),
        ("medium", "MEDIUM"),
        ("Low*", "LOW"),
        ("unimportant", "INFORMATIONAL"),
        ("not yet assigned", "UNDEFINED"),
        ("end-of-life", "UNDEFINED"),
        ("", "UNDEFINED"),
    ],
)
def test_an_urgency_is_a_severity(urgency: str, severity: str) -> None:
    assert matching.severity(urgency) == severity


def test_incomplete_data_say_what_they_do_not_cover(tmp_path: Path) -> None:
    write_data(tmp_path, {"openssl": []}, complete=False)
    told = matched(tmp_path, stanza("openssl", "1"), stanza("bash", "1")).description
    assert told.startswith("The scan was completed successfully. ")
    assert "1 of the 2 source packages" in told


@pytest.mark.parametrize(
    ("os_release", "words"),
    [
        ("", ""),
        ('ID=ubuntu\nPRETTY_NAME="Ubuntu 22.04"\n', " It is Ubuntu 22.04; images of Debian and Alpine can be scanned."),
        (
            "ID=debian\nVERSION_CODENAME=hamm\n",
            " There are no security data of debian hamm: import them with `cloudstead security-data update`.",
        ),
        ("ID=alpine\nVERSION_ID=3.20\nPRETTY_NAME=Alpine", " It is Alpine; images of Debian and Alpine can be scanned."),
    ],
)
def test_what_cannot_be_scanned_is_told_in_awss_words_and_ours(tmp_path: Path, os_release: str, words: str) -> None:
    outcome = matched(tmp_path, stanza("a", "1"), os_release=os_release)
    sentence = "UnsupportedImageError: The operating system and/or package manager are not supported."
    assert (outcome.status, outcome.description) == ("FAILED", sentence + words)


def test_an_image_with_nothing_in_it_cannot_be_scanned(tmp_path: Path) -> None:
    assert examine([], tmp_path).description == matching.UNSUPPORTED


def test_an_image_of_alpine_is_scanned_by_its_own_versions(tmp_path: Path) -> None:
    write_data(tmp_path, {"openssl": [("CVE-2024-1", "3.3.1-r10"), ("CVE-2024-2", "3.3.1_rc1-r0")]}, "alpine", "3.20")
    (tmp_path / "layer").write_bytes(layer(("lib/apk/db/installed", "P:libssl3\no:openssl\nV:3.3.1-r9\n\n"), ("etc/os-release", ALPINE)))
    (found,) = examine([tmp_path / "layer"], tmp_path / "security").findings
    assert (found.name, found.severity, found.uri) == ("CVE-2024-1", "UNDEFINED", "https://security.alpinelinux.org/vuln/CVE-2024-1")


def test_no_image_makes_the_matching_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [(f"CVE-2023-{number}", "99", "high") for number in range(4000)]
    write_data(tmp_path, {"linux": [(name, "1.0", urgency) for name, _, urgency in known]})
    many = "".join(f"Package: linux\nVersion: 1.{number}\n\n" for number in range(20_000))
    assert "more versions of the same packages" in matched(tmp_path, many).description
    write_data(tmp_path, {"linux": known})
    monkeypatch.setattr(matching, "MOST", 5000)
    outcome = matched(tmp_path, many)
    assert (len(outcome.findings), outcome.description) == (
        5000,
        f"{matching.DONE} It has more than 5,000 findings; the others are not told.",
    )
    several = "".join(f"Package: p{number}\nVersion: 1\n\n" for number in range(inventory.MOST + 1))
    assert "more packages are installed" in matched(tmp_path, several).description


def test_a_status_file_of_empty_lines_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        assert inventory.take({STATUS: b"\n" * (8 << 20)}).packages == ()
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_findings_are_kept_in_their_order_and_small(tmp_path: Path) -> None:
    many = [(f"CVE-2023-{number}", "9", ("low", "high", "", "medium")[number % 4], "A flaw of some kind. " * 5) for number in range(400)]
    write_data(tmp_path, {"a": many})
    found = list(matched(tmp_path, stanza("a", "1")).findings)
    assert [each.severity for each in found] == ["HIGH"] * 100 + ["MEDIUM"] * 100 + ["LOW"] * 100 + ["UNDEFINED"] * 100
    assert findings.counts(found) == {"HIGH": 100, "MEDIUM": 100, "LOW": 100, "UNDEFINED": 100}
    packed = findings.pack(found)
    assert findings.unpack(packed) == found
    assert len(packed) < 10_000
    assert findings.unpack(findings.pack([])) == []


# ── what is shipped ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shipped_data_know_old_versions_from_new_ones(tmp_path: Path) -> None:
    old = [
        stanza("libssl3", "3.0.9-1", "openssl"), stanza("libc6", "2.36-9", "glibc"), stanza("perl-base", "5.36.0-7", "perl"),
        stanza("libexpat1", "2.5.0-1", "expat"),
    ]  # fmt: skip
    outcome = matched(tmp_path, *old)
    found = {(each.name, dict(each.attributes)["package_name"]) for each in outcome.findings}
    known = {
        ("CVE-2023-5678", "openssl"),
        ("CVE-2024-0727", "openssl"),
        ("CVE-2023-4911", "glibc"),
        ("CVE-2023-47038", "perl"),
        ("CVE-2024-45490", "expat"),
    }
    assert known <= found
    assert outcome.source_updated is not None
    assert outcome.source_updated > 1_750_000_000
    assert "all 4 source packages" in outcome.description
    new = [stanza(name, "9999:1") for name in ("openssl", "glibc", "perl", "expat")]
    assert matched(tmp_path, *new).findings == ()


def test_the_shipped_data_are_of_three_releases_and_small() -> None:
    shipped = {path.name: advisories.read(path) for path in advisories.files(advisories.SHIPPED)}
    assert {each.release for each in shipped.values()} >= {"bullseye", "bookworm", "trixie"}
    assert sum(path.stat().st_size for path in advisories.files(advisories.SHIPPED)) < 2 << 20
    for name, data in shipped.items():
        assert data.file_name == name
        assert not data.complete
        assert {"openssl", "glibc", "perl", "zlib"} <= data.packages.keys()
