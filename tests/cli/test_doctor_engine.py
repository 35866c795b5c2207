"""What doctor says of a machine that is to run containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloudstead.cli import doctor_engine
from cloudstead.cli.bootstrap import busybox
from cloudstead.cli.findings import which
from cloudstead.cli.terminal import Failure

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def has_busybox() -> bool:
    try:
        return bool(busybox.find())
    except Failure:
        return False


def runtime(folder: Path, script: str) -> str:
    path = folder / "crun"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@as_root
@pytest.mark.skipif(which("runc") is None or not has_busybox(), reason="needs runc and busybox-static")
def test_a_runtime_that_works_runs_a_container_and_leaves_nothing() -> None:
    assert doctor_engine.try_runtime(which("runc") or "") == ""
    left = [str(path) for path in Path("/sys/fs/cgroup").rglob(f"cloudstead-doctor-{os.getpid()}*")]
    assert left == []


@pytest.mark.skipif(not has_busybox(), reason="needs busybox-static")
def test_a_runtime_that_refuses_is_told_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = runtime(
        tmp_path, '[ "$3" = run ] && echo "cgroups in hybrid mode not supported, drop all controllers from cgroupv1" >&2 && exit 1; exit 0'
    )
    assert doctor_engine.try_runtime(path) == "cgroups in hybrid mode not supported, drop all controllers from cgroupv1"
    monkeypatch.setattr(doctor_engine, "which", lambda name: path if name == "crun" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    runc, crun = doctor_engine.runtimes()
    assert (runc.name, runc.state) == ("runc", "missing")
    assert (crun.name, crun.state) == ("crun", "warning")
    assert "hybrid mode not supported" in crun.detail
    path = runtime(tmp_path, '[ "$3" = run ] && echo \'time="now" level=error msg="no \\"proc\\" here"\' >&2 && exit 1; exit 0')
    assert doctor_engine.try_runtime(path) == 'no "proc" here'


@pytest.mark.skipif(not has_busybox(), reason="needs busybox-static")
def test_a_runtime_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_engine, "WITHIN", 0.3)
    path = runtime(tmp_path, '[ "$3" = run ] && exec sleep 30; exit 0')
    assert doctor_engine.try_runtime(path) == "it did not end within 0.3 seconds"


@as_root
def test_a_cgroup_is_made_for_trial_in_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_engine, "CGROUP", tmp_path)
    assert doctor_engine.cgroup_trial().state == "missing"
    (tmp_path / "memory").mkdir()
    found = doctor_engine.cgroup_trial()
    assert (found.state, found.detail) == ("warning", "no controller cpu, pids")
    for name in ("cpu", "pids"):
        (tmp_path / name).mkdir()
    assert doctor_engine.cgroup_trial().state == "ok"
    (tmp_path / "cgroup.controllers").touch()
    assert doctor_engine.cgroup_trial().state == "ok"
    monkeypatch.setattr(doctor_engine, "_can_make", lambda place: False)
    assert "--privileged" in doctor_engine.cgroup_trial().fix


@pytest.mark.parametrize(
    ("held", "state", "said"),
    [
        ("1ffffffffff", "ok", "all that containers need"),
        ("1fffeffffff", "warning", "CAP_SYS_RESOURCE"),
        ("a80425fb", "missing", "CAP_SYS_ADMIN"),
    ],
)
def test_roots_of_outer_containers_are_told_what_they_lack(held: str, state: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last is what Docker gives its containers."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "read_text", lambda self: f"Name:\tx\nCapEff:\t{held}\n")
    found = doctor_engine.rights()
    assert (found.state, said in found.detail) == (state, True)


def test_who_is_not_root_is_told_how_to_run_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    fixes = [finding.fix for finding in doctor_engine.examine() if finding.name == "rootless" and finding.state != "ok"]
    assert all("sudo" in fix for fix in fixes)
    assert all(finding.state != "ok" or finding.detail for finding in doctor_engine.examine())


@as_root
@pytest.mark.skipif(which("ip") is None or which("nft") is None, reason="needs iproute2 and nftables")
def test_a_namespace_that_cannot_be_filled_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_engine.namespaces().state == "ok"
    broken = tmp_path / "ip"
    broken.write_text("#!/bin/sh\necho 'RTNETLINK answers: Operation not supported' >&2\nexit 2\n")
    broken.chmod(0o755)
    monkeypatch.setattr(doctor_engine, "which", lambda name: str(broken) if name == "ip" else which(name))
    found = doctor_engine.namespaces()
    assert (found.state, found.detail) == (
        "missing",
        "no interface (veth) can be made in a namespace: RTNETLINK answers: Operation not supported",
    )
