"""`cloudstead up`, `down`, `status` and `reset`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloudstead import datadir, logs, runfile
from cloudstead.cli import client, env, ports
from cloudstead.cli.docker import Docker
from cloudstead.cli.terminal import Failure, ago, out, out_json, paint, say, table
from cloudstead.runfile import Run
from cloudstead.settings import Settings, default_data, settings_for

STARTS_WITHIN = 60.0  # seconds: a first start on a slow machine; more means that something hangs
_POLL = 0.02
NOT_RUNNING = 3  # the exit status that init scripts give a stopped service


def up(arguments: argparse.Namespace) -> int:
    """Start the daemon: in this process, or with --detach in one of its own."""
    settings = settings_for(
        data=arguments.data,
        host=arguments.host,
        port=arguments.port,
        strict=arguments.strict,
        iam=arguments.iam,
        tls=arguments.tls,
        log_level=arguments.log_level,
        engine=arguments.engine,
        runtime=arguments.runtime,
        engine_host=arguments.engine_host,
        registries=tuple(arguments.registry),
    )
    if arguments.in_background:
        logs.keep_short(settings.data / runfile.LOG_FILE)
        return _run(settings)
    _check(settings)
    if arguments.detach:
        run = _start_in_background(settings)
        _announce(run, settings, arguments)
        return 0
    threading.Thread(target=_announce_when_ready, args=(settings, arguments), daemon=True).start()
    return _run(settings)


def _check(settings: Settings) -> None:
    """Refuse, with a sentence that helps, what cannot work."""
    if settings.strict and settings.iam == "off":
        say(paint("Signatures are verified, but policies are not judged (--iam off).", "yellow", sys.stderr))
    try:
        datadir.prepare(settings.data)
    except datadir.Unusable as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"The data directory {settings.data} cannot be used: {error.strerror}. Choose another with --data.") from None
    run = runfile.read(settings.data)
    if run is not None or runfile.held(settings.data):
        raise Failure(
            f"{runfile.AlreadyRunning(settings.data, run)} Stop it with `cloudstead down{_on(settings.data)}`, or give another --data and --port."
        )
    try:
        free = ports.is_free(settings.host, settings.port)
    except OSError as error:
        raise Failure(f"Cloudstead cannot listen on {settings.host} port {settings.port}: {error.strerror}.") from None
    if not free:
        holder = ports.holder(settings.port)
        raise Failure(f"Port {settings.port} is taken{' by ' + holder if holder else ''}. Stop that, or choose another with --port.")


def _run(settings: Settings) -> int:
    """Be the daemon."""
    from cloudstead.daemon import run  # here, so that no other command pays for it

    try:
        return run(settings)
    except (runfile.CannotStart, datadir.Unusable) as error:
        raise Failure(str(error)) from None


def _start_in_background(settings: Settings) -> Run:
    """Start the daemon as a process of its own session and wait until it answers.

    Raises:
        Failure: it ended, or did not answer in time; with the end of its log.
    """
    path = settings.data / runfile.LOG_FILE
    log = logs.open_log(path)
    begin = os.fstat(log).st_size
    command = [sys.executable, "-P", "-m", "cloudstead", "up", "--in-background", "--data", str(settings.data), "--host", settings.host]
    command += ["--port", str(settings.port), "--iam", settings.iam, "--log-level", settings.log_level]
    command += ["--strict"] * settings.strict + ["--tls"] * settings.tls
    command += ["--engine", settings.engine, "--runtime", settings.runtime]
    command += ["--engine-host", str(settings.engine_host)] if settings.engine_host is not None else []
    command += [f"--registry={registry}" for registry in settings.registries]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    os.close(log)
    deadline = time.monotonic() + STARTS_WITHIN
    try:
        while time.monotonic() < deadline:
            run = runfile.read(settings.data)
            if run is not None and run.pid == process.pid and client.healthy(run):
                return run
            if process.poll() is not None:
                raise Failure(f"Cloudstead stopped while starting (exit status {process.returncode}).{_last_words(path, begin)}")
            time.sleep(_POLL)
    except KeyboardInterrupt:
        process.terminate()  # whoever gives up waiting for it does not want it
        raise
    process.terminate()
    raise Failure(f"Cloudstead did not become healthy within {STARTS_WITHIN:g} seconds.{_last_words(path, begin)}")


def _last_words(path: Path, begin: int) -> str:
    """The end of what this start wrote to the log."""
    with path.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").splitlines()[-20:]
    return f" The end of {path}:\n" + "\n".join(f"  {line}" for line in lines) if lines else f" It wrote nothing to {path}."


def _announce_when_ready(settings: Settings, arguments: argparse.Namespace) -> None:
    """Beside a daemon in the foreground: say so when it answers."""
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        run = runfile.read(settings.data)
        if run is not None and run.pid == os.getpid() and client.healthy(run):
            _announce(run, settings, arguments)
            return
        time.sleep(_POLL)


def _announce(run: Run, settings: Settings, arguments: argparse.Namespace) -> None:
    """Write the AWS profile, and tell where the daemon is and how to use it."""
    profile = ""
    if not arguments.no_profile:
        try:
            env.write_profile(settings.data, run)
            profile = "  the AWS profile `cloudstead` points there:  aws --profile cloudstead sts get-caller-identity"
        except (OSError, datadir.Unusable) as error:
            profile = f"  the AWS profile could not be written: {error}"
    if arguments.json:
        out_json(_describe(run))
        return
    say(
        f"{paint('●', 'green', sys.stderr)} Cloudstead {run.version} is running at {paint(run.endpoint, 'bold', sys.stderr)} (process {run.pid})"
    )
    say(f"  data in {settings.data}")
    rules = "verified" if settings.strict else "not required"
    say(f"  signatures {rules}, policies {({'off': 'not judged', 'warn': 'judged and logged', 'enforce': 'enforced'})[settings.iam]}")
    if profile:
        say(profile)
    if arguments.detach:
        say(f"  log: cloudstead logs -f{_on(settings.data)}    stop: cloudstead down{_on(settings.data)}")
    else:
        say("  stop with Ctrl-C")


def _on(data: Path) -> str:
    """The option that another command needs to mean the same Cloudstead; none for the usual one."""
    return "" if data == default_data() else f" --data {shlex.quote(str(data))}"


def down(arguments: argparse.Namespace) -> int:
    """Ask the daemon to stop, and wait until it has."""
    run = runfile.read(arguments.data)
    if run is None:
        if runfile.held(arguments.data):
            raise Failure(f"A Cloudstead on {arguments.data} is just starting or stopping; try again in a moment.")
        say("Cloudstead is not running.")
        return 0
    going_on = _containers(arguments.data)
    if arguments.containers:
        _stop_containers(arguments.data, going_on)
        going_on = []
    try:
        os.kill(run.pid, signal.SIGTERM)
    except ProcessLookupError:
        return 0
    except PermissionError:
        raise Failure(f"Process {run.pid} belongs to another user; stop it as that user.") from None
    deadline = time.monotonic() + arguments.timeout
    while run.alive:
        if time.monotonic() > deadline:
            raise Failure(
                f"Process {run.pid} has not stopped after {arguments.timeout:g} seconds. `kill -9 {run.pid}` ends it; what it acknowledged is safe."
            )
        time.sleep(_POLL)
    say("Cloudstead has stopped.")
    if going_on:
        say(
            f"{len(going_on)} container{'s' * (len(going_on) > 1)} went on and will be found again by `cloudstead up`; `cloudstead down --containers` stops them too."
        )
    return 0


def _containers(data: Path) -> list[str]:
    """Names of those that run. None where no engine was ever started: asking would start one."""
    if not (data / "engine").exists():
        return []
    try:
        return [str(container["Names"][0]).lstrip("/") for container in Docker(data).get("/containers/json")]
    except Failure:
        return []


def _stop_containers(data: Path, names: list[str]) -> None:
    docker = Docker(data)
    for name in names:
        say(f"  stopping {name}")
        docker.post(f"/containers/{name}/stop")


def status(arguments: argparse.Namespace) -> int:
    """Tell whether it runs, where, and what it serves."""
    run = runfile.read(arguments.data)
    if run is None:
        if arguments.json:
            out_json({"running": False, "data": str(arguments.data)})
        else:
            out(f"Cloudstead is not running on {arguments.data}.")
        return NOT_RUNNING
    try:
        told = {**client.get(run, "/_cloudstead/health"), **client.get(run, "/_cloudstead/status")}
    except client.Unreachable as error:
        raise Failure(f"Process {run.pid} runs, but {run.endpoint} does not answer: {error}.") from None
    if arguments.json:
        out_json({"running": True, "data": str(arguments.data), **_describe(run), "status": told})
        return 0
    out(
        f"{paint('●', 'green')} Cloudstead {run.version} runs at {paint(run.endpoint, 'bold')} for {ago(time.time() - run.started)} (process {run.pid})"
    )
    out(f"  data in {arguments.data}")
    for line in _told(told):
        out(line)
    return 0


def _describe(run: Run) -> dict[str, Any]:
    known = asdict(run)
    return {"endpoint": run.endpoint, **{name: known[name] for name in ("pid", "host", "port", "tls", "started", "version", "log")}}


def _told(told: dict[str, Any]) -> list[str]:
    """The daemon's own words as lines: names and values, one level deep for what has parts."""
    lines = []
    for name, value in told.items():
        if name in ("status", "version", "uptime", "endpoint"):  # said already
            continue
        if isinstance(value, dict):
            lines.append(f"  {name}:")
            lines += table(([key, _short(inner)] for key, inner in value.items()), indent="    ")
        else:
            lines.append(f"  {name}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_short(inner) for inner in value)
    return str(value)


def reset(arguments: argparse.Namespace) -> int:
    """Delete all that is stored. Never under a running daemon, never a folder that is not Cloudstead's."""
    data: Path = arguments.data
    if runfile.read(data) is not None or runfile.held(data):
        raise Failure(f"Cloudstead is running; stop it first with `cloudstead down{_on(data)}`.")
    if data.exists() and not data.is_dir():
        raise Failure(f"{data} is not a folder; nothing was deleted.")
    if not data.exists() or not any(data.iterdir()):
        say(f"There is nothing in {data}.")
        return 0
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise Failure("This deletes everything; without a terminal to ask on, say --yes.")
        say(f"This deletes everything that Cloudstead stored in {paint(str(data), 'bold', sys.stderr)}.")
        if input("Delete it? [y/N] ").strip().lower() not in ("y", "yes"):
            say("Nothing was deleted.")
            return 1
    _end_containers(data)
    try:
        datadir.empty(data)
    except datadir.NotOurs as error:
        raise Failure(str(error)) from None
    say(f"{data} is empty.")
    return 0


def _end_containers(data: Path) -> None:
    """What the engine left: it belongs to root, and some of it is mounted."""
    if not (data / "engine").exists():
        return
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cloudstead.engine.teardown", str(data)], capture_output=True, text=True, check=False
    )
    for line in done.stdout.splitlines():
        say(f"  {line}")
    if done.returncode != 0:
        raise Failure(f"{(done.stderr.strip().splitlines() or ['the engine could not be torn down'])[-1]}.")
