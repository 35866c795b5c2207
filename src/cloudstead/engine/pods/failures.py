"""Why a container could not be started: the sentence that Docker says, and the exit code that goes with it. Pure.

The codes follow from the runtime's words, as in Docker (moby, daemon/errors.go), whose command line again looks for these words.
"""

from __future__ import annotations

import contextlib
import re

import msgspec

NOT_FOUND = 127
NOT_EXECUTABLE = 126
NOT_STARTED = 128


def exit_code_of(message: str) -> int:
    """126: it is there and may not be executed. 127: it is not there. 128: anything else."""
    said = message.lower()
    if "permission denied" in said or "is a directory" in said:
        return NOT_EXECUTABLE
    if any(words in said for words in ("not a directory", "executable file not found", "no such file or directory")):
        return NOT_FOUND
    return NOT_STARTED


def start_failure(said: str) -> str:
    """What the runtime wrote as Docker passes it on."""
    return _with_hint(f"failed to create task for container: failed to create shim task: OCI runtime create failed: {_tidy(said)}: unknown")


def exec_failure(said: str) -> str:
    return _with_hint(f"OCI runtime exec failed: {_tidy(said)}: unknown")


def _tidy(said: str) -> str:
    """The last thing that it said, without time and level, which it gives as JSON or as `msg="…"`."""
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
    if not lines:
        return "the runtime ended without a word"
    for line in reversed(lines):
        with contextlib.suppress(msgspec.MsgspecError):
            entry = msgspec.json.decode(line, type=Line)
            if entry.level in ("error", "fatal"):
                return entry.msg
    found = re.search(r' msg="((?:[^"\\]|\\.)*)"', lines[-1])
    return re.sub(r"\\(.)", r"\1", found[1]) if found else lines[-1]


class Line(msgspec.Struct):
    """One of a runtime's log with `--log-format json`."""

    msg: str
    level: str = ""


def _with_hint(message: str) -> str:
    said = message.lower()
    if "permission denied" not in said and "is a directory" in said:
        return f"{message}: permission denied"
    if "not a directory" in said:
        return (
            f"{message}: Are you trying to mount a directory onto a file (or vice-versa)? "
            "Check if the specified host path exists and is the expected type"
        )
    return message
