"""botocore's own tests, of the very release that is installed. Read where they are unpacked, below `.cache/`; no copy of them is in this repository."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache"


def tests_directory() -> Path:
    """The `tests` directory of botocore's source distribution; downloads that the first time."""
    version = importlib.metadata.version("botocore")
    unpacked = CACHE / f"botocore-{version}"
    if (unpacked / "tests" / "unit" / "protocols").is_dir():
        return unpacked / "tests"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "botocore.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of one run all come here at once
        if not (unpacked / "tests" / "unit" / "protocols").is_dir():
            _download(version, unpacked)
    return unpacked / "tests"


def _download(version: str, unpacked: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            directory,
            f"botocore=={version}",
        ]
        subprocess.run(pip, check=True, timeout=300, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        top = f"botocore-{version}"
        with tarfile.open(Path(directory) / f"{top}.tar.gz") as archive:
            wanted = [
                member for member in archive.getmembers() if member.name.startswith((f"{top}/tests/unit/", f"{top}/tests/functional/"))
            ]
            archive.extractall(directory, wanted, filter="data")
        os.replace(Path(directory) / top, unpacked)  # whole or not at all
