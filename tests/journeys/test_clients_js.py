"""The AWS SDK for JavaScript against a daemon, strict and not: one round a service, in `js/rounds.mjs`."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cloudstead import datadir
from support import Daemon

HERE = Path(__file__).parent / "js"
PLACE = Path(__file__).parents[2] / ".cache" / "js"
ROUNDS = re.findall(r"^  async (\w+)\(", (HERE / "rounds.mjs").read_text(), re.MULTILINE)
INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")


def packages() -> Path:
    """A folder with the script and the packages that package-lock.json names; installed once, 40 MB. Skips where there is no npm or no registry."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "installing").open("w") as lock:  # tests run in parallel, and by several people on one machine
        fcntl.flock(lock, fcntl.LOCK_EX)
        install((HERE / "package-lock.json").read_text())
        shutil.copy(HERE / "rounds.mjs", PLACE)
    return PLACE


def install(wanted: str) -> None:
    done = PLACE / "installed-lock.json"
    if done.exists() and done.read_text() == wanted:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, PLACE)
    try:
        installed = subprocess.run(INSTALL, cwd=PLACE, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the AWS SDK within three minutes")
    if installed.returncode:
        pytest.skip(f"npm cannot install the AWS SDK: {installed.stderr[-500:]}")
    done.write_text(wanted)


def run_rounds(endpoint: str, environment: dict[str, str]) -> dict[str, str]:
    """What became of each round: "ok", or a stack."""
    command = ["node", "--no-warnings", "rounds.mjs"]
    told = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "ENDPOINT": endpoint, "AWS_EC2_METADATA_DISABLED": "true", **environment}
    done = subprocess.run(command, cwd=PLACE, env=told, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    results: dict[str, str] = json.loads(done.stdout)
    return results


def test_the_javascript_sdk_finds_what_it_finds_at_aws(tmp_path: Path) -> None:
    packages()
    with Daemon(tmp_path / "data") as daemon:
        results = run_rounds(daemon.endpoint, {"AWS_ACCESS_KEY_ID": "000000000000", "AWS_SECRET_ACCESS_KEY": "test"})
    assert results == dict.fromkeys(ROUNDS, "ok")


def test_the_javascript_sdk_signs_all_that_a_strict_daemon_checks(tmp_path: Path) -> None:
    packages()
    with Daemon(tmp_path / "data", "--strict") as daemon:
        key = datadir.root_key(daemon.data)
        signed = {"AWS_ACCESS_KEY_ID": key.access_key_id, "AWS_SECRET_ACCESS_KEY": key.secret_access_key}
        results = run_rounds(daemon.endpoint, signed | {"STRICT": "1"})
    assert results == dict.fromkeys(ROUNDS, "ok")
