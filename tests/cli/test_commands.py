"""The parser, doctor, version, coverage, the port's holder, the launchers."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudstead import __version__
from cloudstead.cli import coverage, doctor, ports, terminal

from .conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]


def test_version(cli: CommandLine) -> None:
    assert cli.run("version").stdout == f"cloudstead {__version__}\n"
    assert json.loads(cli.run("version", "--json").stdout)["version"] == __version__


@pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--port", "x"], ["up", "--port", "70000"], ["up", "--iam", "maybe"]])
def test_what_makes_no_sense_is_refused_with_the_usage(cli: CommandLine, arguments: list[str]) -> None:
    done = cli.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: cloudstead")


def test_colours_only_on_a_terminal_and_never_with_no_color(cli: CommandLine) -> None:
    assert "\x1b" not in cli.run("doctor").stdout
    for extra, coloured in ({}, True), ({"NO_COLOR": "1"}, False):
        outer, inner = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cloudstead", "doctor"],
            env={**cli.environment, "TERM": "xterm", **extra},
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        said = b""
        try:
            while piece := os.read(outer, 65536):
                said += piece
        except OSError:  # EIO: the other end is closed
            pass
        process.wait(10)
        os.close(outer)
        assert (b"\x1b[" in said) is coloured


def test_every_finding_of_doctor_that_is_not_fine_says_what_to_do(cli: CommandLine) -> None:
    told = json.loads(cli.run("doctor", "--json").stdout)
    names = {finding["name"] for finding in told["findings"]}
    assert {
        "python",
        "kernel",
        "user",
        "cgroups",
        "overlayfs",
        "nftables",
        "runc",
        "disk",
        "seccomp",
        "/dev/net/tun",
        "user namespaces",
        "names below .localhost",
    } <= names
    for finding in told["findings"]:
        assert finding["state"] in ("ok", "warning", "missing")
        assert finding["state"] == "ok" or finding["fix"].endswith((".", ")"))
        assert finding["detail"]


def test_doctor_fails_only_over_what_up_needs(cli: CommandLine, taken_port: int) -> None:
    done = cli.run("doctor", "--port", str(taken_port))
    assert done.returncode == 1
    assert f"taken by process {os.getpid()}" in done.stdout
    assert cli.run("doctor", "--port", "0").returncode == 0


def test_doctor_leaves_nothing_behind(tmp_path: Path) -> None:
    doctor.overlayfs(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize(
    ("name", "state", "detail"),
    [
        ("localhost", "ok", "mean this machine"),
        ("192.0.2.1", "warning", "lead to 192.0.2.1"),
        ("no-such-name.invalid", "warning", "are not resolved"),
    ],
)
def test_where_the_names_of_registries_lead_is_told(name: str, state: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REGISTRY", name)
    found = doctor.registry_names(4577)
    assert (found.state, found.detail) == (state, detail)
    assert (state == "ok") == (not found.fix)
    assert state == "ok" or ("libnss-myhostname" in found.fix and "localhost:4577/<repository>" in found.fix)


def test_a_resolver_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "RESOLVES_WITHIN", 0.0)
    assert doctor.registry_names(0).detail == "are not resolved"


def test_cgroups_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    assert doctor.cgroups().state == "missing"
    (tmp_path / "memory").mkdir()
    assert doctor.cgroups().detail.startswith("v1")
    (tmp_path / "unified").mkdir()
    assert doctor.cgroups().detail.startswith("hybrid")
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    assert doctor.cgroups() == doctor.Finding("cgroups", "ok", "v2, controllers cpu io memory pids, delegated cpu memory")
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert "io, pids" in doctor.cgroups().fix


def test_a_port_is_free_or_has_a_holder(taken_port: int) -> None:
    assert not ports.is_free("127.0.0.1", taken_port)
    assert ports.holder(taken_port).startswith(f"process {os.getpid()} (")
    assert ports.is_free("127.0.0.1", 0)
    with pytest.raises(OSError, match="assign requested address"):
        ports.is_free("203.0.113.7", taken_port)


def test_coverage_says_done_partial_or_absent_and_nothing_else() -> None:
    document = {"operations": {"B": {"partial": "the rest"}, "A": "done", "C": "absent"}}
    assert coverage.parse(document) == [
        coverage.Operation("A", "done"),
        coverage.Operation("B", "partial", "the rest"),
        coverage.Operation("C", "absent"),
    ]
    for wrong in ("partial", "soon", {"status": "done"}, 1):
        with pytest.raises(ValueError, match="say"):
            coverage.parse({"operations": {"A": wrong}})


def test_coverage_of_every_service_can_be_listed(cli: CommandLine) -> None:
    known = json.loads(cli.run("coverage", "--json").stdout)
    for service, counted in known.items():
        listed = json.loads(cli.run("coverage", service, "--json").stdout)
        assert len(listed) == sum(counted.values())
    unknown = cli.run("coverage", "teleport")
    assert unknown.returncode == 1
    assert "no service teleport" in unknown.stderr


def test_a_reader_that_has_seen_enough_is_no_error(cli: CommandLine) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -P -m cloudstead doctor | head -1"], env=cli.environment, capture_output=True, text=True, check=True
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_durations_are_said_as_a_person_would() -> None:
    assert [terminal.ago(seconds) for seconds in (1, 59.9, 60, 7200, 90000)] == ["1 second", "59 seconds", "1 minute", "2 hours", "1 day"]


def test_the_launcher_is_quick_when_nothing_is_to_be_done(tmp_path: Path) -> None:
    """30 ms are promised; measured against the same command without it, the best of several on a busy machine."""
    for name in ("cloudstead", "tools", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name) if name != "cloudstead" else shutil.copy(ROOT / name, tmp_path / name)
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to("/bin/true")
    shutil.copy(ROOT / "requirements.lock", venv / "installed.requirements")
    best = min(_seconds([str(tmp_path / "cloudstead"), "version"]) for _ in range(10))
    assert best < 0.030


def test_the_launcher_passes_arguments_and_exit_status_on(tmp_path: Path) -> None:
    shutil.copy(ROOT / "cloudstead", tmp_path / "cloudstead")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\nexit 5\n')
    python.chmod(0o755)
    shutil.copy(ROOT / "requirements.lock", tmp_path / ".venv" / "installed.requirements")
    link = tmp_path / "elsewhere"
    link.symlink_to(tmp_path / "cloudstead")
    done = subprocess.run([str(link), "logs", "a b", ""], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 5
    assert done.stdout == "<-P>\n<-m>\n<cloudstead>\n<logs>\n<a b>\n<>\n"


def test_the_locks_agree_and_every_entry_has_a_hash() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE))

    run, development = versions("requirements.lock"), versions("requirements-dev.lock")
    assert run.items() <= development.items()
    assert {"uvloop", "httptools", "msgspec", "moto"} <= run.keys()
    assert not {"pytest", "mypy", "awscli"} & run.keys()


def test_scripts_are_plain_sh() -> None:
    for name in ("cloudstead", "test", "tools/environment.sh", "tools/lock.sh"):
        subprocess.run(["dash" if shutil.which("dash") else "sh", "-n", str(ROOT / name)], check=True)


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
