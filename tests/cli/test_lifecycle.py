"""up, down, status, reset, logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cloudstead import datadir, runfile
from cloudstead.cli import logs as logs_command
from waiting import until

from .conftest import CommandLine


def test_up_in_the_background_returns_when_it_is_healthy_and_down_ends_it(cli: CommandLine) -> None:
    run = cli.up()
    status = cli.run("status")
    assert status.returncode == 0
    assert run.endpoint in status.stdout
    assert "iam" in status.stdout
    down = cli.run("down")
    assert (down.returncode, down.stderr) == (0, "Cloudstead has stopped.\n")
    assert not run.alive
    assert cli.run("status").returncode == 3
    assert not (cli.data / runfile.RUN_FILE).exists()


def test_what_a_script_reads_is_json(cli: CommandLine) -> None:
    up = json.loads(cli.run("up", "--detach", "--port", "0", "--json").stdout)
    status = json.loads(cli.run("status", "--json").stdout)
    assert status["running"] is True
    assert status["endpoint"] == up["endpoint"]
    assert status["status"]["services"] == {"iam": "running"}
    cli.run("down")
    assert json.loads(cli.run("status", "--json").stdout) == {"running": False, "data": str(cli.data)}


def test_a_second_up_on_the_same_data_refuses_and_says_why(cli: CommandLine) -> None:
    run = cli.up()
    again = cli.run("up", "--detach", "--port", "0")
    assert again.returncode == 1
    assert f"process {run.pid}" in again.stderr
    assert "cloudstead down" in again.stderr
    assert "Traceback" not in again.stderr
    assert run.alive


def test_two_ups_at_the_same_moment_leave_one_daemon(cli: CommandLine) -> None:
    both = [cli.start("up", "--detach", "--port", "0") for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], ends
    assert all("Traceback" not in err for _, err in ends)


def test_a_taken_port_is_told_with_its_holder(cli: CommandLine, taken_port: int) -> None:
    done = cli.run("up", "--detach", "--port", str(taken_port))
    assert done.returncode == 1
    assert f"Port {taken_port} is taken by process {os.getpid()} (" in done.stderr


def test_a_daemon_that_fails_to_start_shows_the_end_of_its_log(cli: CommandLine) -> None:
    done = cli.run("up", "--detach", "--port", "0", STUB_DAEMON="crash")
    assert done.returncode == 1
    assert "exit status 7" in done.stderr
    assert "the store is broken" in done.stderr


def test_in_the_foreground_it_says_where_it_runs_and_stops_on_ctrl_c(cli: CommandLine) -> None:
    process = cli.start("up", "--port", "0")
    run = until(lambda: runfile.read(cli.data))
    assert run.pid == process.pid
    until(lambda: cli.config.exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert run.endpoint in err
    assert "stub daemon stopped" in err


def test_sigterm_stops_a_daemon_in_the_foreground(cli: CommandLine) -> None:
    process = cli.start("up", "--port", "0")
    until(lambda: runfile.read(cli.data))
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert runfile.read(cli.data) is None


def test_a_killed_daemon_leaves_nothing_in_the_way(cli: CommandLine) -> None:
    run = cli.up()
    os.kill(run.pid, signal.SIGKILL)
    until(lambda: not run.alive)
    assert cli.run("status").returncode == 3
    assert cli.run("down").stderr == "Cloudstead is not running.\n"
    assert cli.up().pid != run.pid


def test_a_process_that_got_the_id_of_a_dead_daemon_is_not_taken_for_it(cli: CommandLine) -> None:
    datadir.prepare(cli.data)
    stale = {
        "pid": os.getpid(),
        "start_ticks": 1,
        "boot_id": runfile.boot_id(),
        "host": "127.0.0.1",
        "port": 1,
        "tls": False,
        "started": 0,
        "version": "0",
    }
    (cli.data / runfile.RUN_FILE).write_text(json.dumps(stale))
    assert cli.run("status").returncode == 3
    assert cli.run("down").stderr == "Cloudstead is not running.\n"
    cli.up()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_broken_run_file_counts_as_none(cli: CommandLine, content: str) -> None:
    datadir.prepare(cli.data)
    (cli.data / runfile.RUN_FILE).write_text(content)
    assert cli.run("status").returncode == 3


def test_strict_enforces_policies_and_so_does_an_address_that_others_reach(cli: CommandLine) -> None:
    cli.up("--strict")
    assert "stub daemon: enforce strict" in cli.run("logs").stdout
    cli.run("down")
    cli.up("--host", "0.0.0.0")
    assert "stub daemon: enforce strict" in cli.run("logs").stdout.splitlines()[-1]
    cli.run("down")
    cli.up("--strict", "--iam", "warn")
    assert "stub daemon: warn strict" in cli.run("logs").stdout.splitlines()[-1]


def test_the_log_is_followed_across_a_rotation(cli: CommandLine) -> None:
    cli.up()
    following = cli.start("logs", "--follow", "--lines", "1")
    log = cli.data / runfile.LOG_FILE
    time.sleep(0.5)
    with log.open("a") as file:
        file.write("before\n")
    log.rename(log.with_name("daemon.log.1"))
    log.write_text("after\n")
    time.sleep(0.8)
    following.terminate()
    out, _ = following.communicate(timeout=10)
    assert out.splitlines() == ["stub daemon: off lenient", "before", "after"]


def test_a_log_that_has_grown_is_rotated_under_the_running_process(cli: CommandLine) -> None:
    log = cli.folder / "daemon.log"
    code = f"""
import os, pathlib, sys
from cloudstead import logs
path = pathlib.Path({str(log)!r})
for number in range(6):
    os.dup2(logs.open_log(path), 2) if number == 0 else logs.swap(path)
    print("part", number, file=sys.stderr, flush=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    parts = {path.name: path.read_text() for path in cli.folder.glob("daemon.log*")}
    assert parts == {"daemon.log": "part 5\n", "daemon.log.1": "part 4\n", "daemon.log.2": "part 3\n", "daemon.log.3": "part 2\n"}


def test_the_log_of_a_daemon_in_the_foreground_is_on_its_terminal(cli: CommandLine) -> None:
    process = cli.start("up", "--port", "0")
    until(lambda: runfile.read(cli.data))
    done = cli.run("logs")
    assert done.returncode == 1
    assert f"process {process.pid}" in done.stderr
    process.terminate()
    process.communicate(timeout=10)


def test_the_last_lines_of_a_long_log_are_found_from_its_end(tmp_path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    with path.open() as file:
        file.seek(logs_command._start_of_last_lines(path, 3))
        assert file.read() == "line 49997\nline 49998\nline 49999\n"
    assert logs_command._start_of_last_lines(path, 60_000) == 0


def test_reset_empties_the_data_but_not_under_a_running_daemon(cli: CommandLine) -> None:
    cli.up()
    refused = cli.run("reset", "--yes")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    cli.run("down")
    (cli.data / "iam").mkdir()
    (cli.data / "iam" / "rows").write_text("x")
    assert "--yes" in cli.run("reset").stderr  # no terminal to ask on
    assert (cli.data / "iam" / "rows").exists()
    assert cli.run("reset", "--yes").returncode == 0
    assert list(cli.data.iterdir()) == []


def test_a_folder_of_other_things_is_neither_used_nor_deleted(cli: CommandLine) -> None:
    cli.data.mkdir()
    (cli.data / "thesis.tex").write_text("…")
    assert "not Cloudstead's" in cli.run("up", "--detach", "--port", "0").stderr
    assert cli.run("reset", "--yes").returncode == 1
    assert (cli.data / "thesis.tex").read_text() == "…"


def test_help_and_status_load_nothing_heavy(cli: CommandLine) -> None:
    code = (
        "import sys; from cloudstead.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'msgspec', 'uvloop', 'cryptography', 'cloudstead.services', 'cloudstead.edge', 'botocore', 'moto', 'sqlite3'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    for arguments in (["--help"], ["status"], ["env"], ["version"], ["coverage"]):
        done = os.popen(
            f'CLOUDSTEAD_DATA={cli.data} AWS_CONFIG_FILE={cli.config} AWS_SHARED_CREDENTIALS_FILE={cli.credentials} {sys.executable} -P -c "{code}" {" ".join(arguments)} 2>&1'
        ).read()
        assert "LOADED []" in done, (arguments, done)
