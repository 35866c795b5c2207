"""Programs that the host runs: found once, started without a shell, ended when they take too long."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloudstead.engine.errors import Failed, Unsupported

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Finished(NamedTuple):
    status: int
    stdout: bytes
    stderr: bytes


@functools.cache
def find(program: str) -> str:
    """The path of a program, also where only root's PATH looks.

    Raises:
        Unsupported: it is not installed.
    """
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PATH}")
    if path is None:
        raise Unsupported(f"{program} is not installed on this machine; `cloudstead doctor` says how to get it")
    return path


async def run_program(
    program: Sequence[str],
    *,
    stdin: bytes = b"",
    within: float = 60.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run to the end.

    Raises:
        Failed: with `check`, the status was not 0; or it took longer than `within` seconds and was killed.
        Unsupported: it is not installed.
    """
    process = await asyncio.create_subprocess_exec(
        find(program[0]),
        *program[1:],
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": PATH, "LANG": "C.UTF-8", **(env or {})},
        cwd=cwd,
        pass_fds=tuple(pass_fds),
    )
    try:
        async with asyncio.timeout(within):
            stdout, stderr = await process.communicate(stdin or None)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise Failed(f"{program[0]} did not end within {within:g} seconds") from None
        raise
    status = process.returncode or 0
    if check and status != 0:
        said = stderr.decode(errors="replace").strip() or stdout.decode(errors="replace").strip()
        raise Failed(f"{program[0]}: {said or f'status {status}'}")
    return Finished(status, stdout, stderr)
