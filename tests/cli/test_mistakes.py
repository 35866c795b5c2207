"""What goes wrong for a new user ends in a sentence that says what to do, never in a traceback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cloudstead import datadir

from .conftest import CommandLine

EVERY = [("up", "--detach", "--port", "0"), ("up", "--port", "0"), ("status",), ("down",), ("logs",), ("reset", "--yes"), ("env",), ("doctor", "--port", "0")]  # fmt: skip


@pytest.fixture
def real(cli: CommandLine) -> CommandLine:
    """With the daemon itself, not the stand-in."""
    cli.environment["PYTHONPATH"] = ""
    return cli


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_place_of_the_data_directory(cli: CommandLine, arguments: tuple[str, ...], place: str) -> None:
    (cli.folder / "file").write_text("a letter")
    done = cli.run(*arguments, "--data", str(cli.folder / place))
    assert "Traceback" not in done.stderr
    if arguments[0] in ("up", "env", "doctor"):
        assert done.returncode == 1
        assert "--data" in done.stderr + done.stdout or "Not a directory" in done.stderr
    assert (cli.folder / "file").read_text() == "a letter"


def test_the_data_of_a_newer_version_are_left_alone(cli: CommandLine) -> None:
    datadir.prepare(cli.data)
    newer = datadir.MARK_TEXT.replace(f"layout = {datadir.LAYOUT}", f"layout = {datadir.LAYOUT + 1}")
    (cli.data / datadir.MARK).write_text(newer)
    done = cli.run("up", "--detach", "--port", "0")
    assert (done.returncode, "newer Cloudstead" in done.stderr) == (1, True)
    assert [path.name for path in cli.data.iterdir()] == [datadir.MARK]


def test_a_folder_that_was_open_to_all_is_closed_before_secrets_lie_in_it(cli: CommandLine) -> None:
    cli.data.mkdir(mode=0o755)
    cli.data.chmod(0o755)
    cli.up()
    assert cli.data.stat().st_mode & 0o777 == 0o700


def test_what_the_daemon_writes_is_its_owners_alone(real: CommandLine) -> None:
    real.up()
    real.run("down")
    assert {path.name for path in real.data.rglob("*") if path.stat().st_mode & 0o077} == set()


@pytest.mark.parametrize("arguments", [("up", "--detach", "--port", "0"), ("up", "--port", "0")], ids=" ".join)
def test_a_damaged_store_is_named_with_what_to_do(real: CommandLine, arguments: tuple[str, ...]) -> None:
    datadir.prepare(real.data)
    (real.data / "state.db").write_bytes(b"not a database " * 1000)
    done = real.run(*arguments)
    assert done.returncode == 1
    assert "state.db" in done.stderr
    assert "cloudstead reset" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("up", "--detach", "--port", "0"), ("up", "--port", "0"), ("env",)], ids=" ".join)
def test_a_damaged_root_key_is_named_with_what_to_do(real: CommandLine, arguments: tuple[str, ...]) -> None:
    datadir.prepare(real.data)
    (real.data / datadir.ROOT_KEY).write_text("{")
    done = real.run(*arguments)
    assert done.returncode == 1
    assert "root-key.json is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_in_the_last_moment_is_told(real: CommandLine) -> None:
    """After the check: the daemon itself, as --detach starts it, finds the port taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = real.run("up", "--in-background", "--port", str(server.getsockname()[1]))
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ways_out_name_the_data_that_is_meant(cli: CommandLine) -> None:
    other = cli.folder / "with blank"
    started = cli.run("up", "--detach", "--port", "0", "--data", str(other))
    try:
        assert f"cloudstead down --data '{other}'" in started.stderr
        assert f"cloudstead down --data '{other}'" in cli.run("up", "--detach", "--port", "0", "--data", str(other)).stderr
        assert f"cloudstead down --data '{other}'" in cli.run("reset", "--yes", "--data", str(other)).stderr
    finally:
        cli.run("down", "--data", str(other))


def test_a_configuration_that_is_not_utf8_stays_as_it_is(cli: CommandLine) -> None:
    cli.config.parent.mkdir()
    before = "[profile café]\nregion = eu-west-1\n".encode("latin-1")
    cli.config.write_bytes(before)
    cli.up()
    assert cli.config.read_bytes().startswith(before)
    assert b"[profile cloudstead]" in cli.config.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="becomes another user, which only root can")
def test_the_data_of_another_user_is_said_to_be_that(tmp_path: Path) -> None:
    """Run by a user who may not even look into the folder."""
    tmp_path.chmod(0o755)
    data = tmp_path / "data"
    datadir.prepare(data)
    package = Path(datadir.__file__).parents[1]
    for arguments in EVERY:
        code = f"import sys; sys.path.insert(0, {str(package)!r}); from cloudstead.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-P", "-c", code, *arguments, "--data", str(data)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/", env={"HOME": "/nonexistent"})
        if "ModuleNotFoundError" in done.stderr or ("Permission denied" in done.stderr.partition("\n")[0] and "setpriv" in done.stderr):
            pytest.skip("the code cannot be read by others here")
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        assert done.returncode == 1, (arguments, done)


def test_doctor_says_when_the_data_cannot_be_written_or_is_no_folder(cli: CommandLine) -> None:
    (cli.folder / "file").write_text("")
    told = json.loads(cli.run("doctor", "--json", "--port", "0", "--data", str(cli.folder / "file")).stdout)
    assert told["ready"] is False
    assert [finding["state"] for finding in told["findings"] if finding["name"] == "data directory"] == ["missing"]
