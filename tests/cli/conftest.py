"""A command line with a data directory, a home and AWS files of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudstead import runfile

STUB = Path(__file__).parent / "stub"


class CommandLine:
    """Runs `cloudstead`, as a person would, with the stand-in daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "aws" / "config"
        self.credentials = folder / "aws" / "credentials"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLOUDSTEAD_"))}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "CLOUDSTEAD_DATA": str(self.data),
            "AWS_CONFIG_FILE": str(self.config),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "PYTHONPATH": str(STUB),
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cloudstead", *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def up(self, *arguments: str, **environment: str) -> runfile.Run:
        """Start in the background on any free port."""
        done = self.run("up", "--detach", "--port", "0", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        run = runfile.read(self.data)
        assert run is not None
        return run


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    line = CommandLine(tmp_path)
    yield line
    run = runfile.read(line.data)
    if run is not None:
        os.kill(run.pid, signal.SIGKILL)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
