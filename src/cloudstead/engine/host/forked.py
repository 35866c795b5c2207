"""Python functions in forked children of the host: for what takes long, or reads what a stranger wrote.

The child inherits memory, so a call costs a fork and nothing is pickled on the way in; the result comes back through a pipe as MessagePack. It keeps only
the standard descriptors, its end of the pipe and those that it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec

from cloudstead.engine import linux
from cloudstead.engine.errors import BY_CODE, EngineError, Failed, NoSpace
from cloudstead.engine.host.waiting import read_pipe

T = TypeVar("T")

LONGEST_RESULT = 64 << 20
ENOSPC = 28


async def call(function: Callable[..., T], arguments: Sequence[Any], descriptors: Sequence[int]) -> T:
    """Run it in a child.

    Raises:
        EngineError: what the function raised; any other exception comes as Failed.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(function, arguments, {*descriptors, writing}, writing, parent)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        said = await read_pipe(reading, most=LONGEST_RESULT)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        # The pipe is closed, so it ends now; a zombie is waited for without holding up the loop.
        while os.waitpid(pid, os.WNOHANG) == (0, 0):  # noqa: ASYNC222
            await asyncio.shield(asyncio.sleep(0.001))
    result: T = _result(said, getattr(function, "__name__", "a child"))
    return result


def _result(said: bytes, name: str) -> Any:
    if not said:
        raise Failed(f"{name} was killed (out of memory, or a limit)")
    code, value = msgspec.msgpack.decode(said)
    if code:
        raise BY_CODE.get(code, Failed)(value)
    return value


def _child(function: Callable[..., Any], arguments: Sequence[Any], keep: set[int], writing: int, parent: int) -> NoReturn:
    """Never returns: no `finally` of the parent's must run here."""
    status = 1
    try:
        linux.die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        gc.disable()
        _close_others(keep)
        said = msgspec.msgpack.encode(_outcome(function, arguments))
        view = memoryview(said)
        while view:
            view = view[os.write(writing, view) :]
        status = 0
    except BrokenPipeError:  # nobody waits for it any more
        pass
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(status)


def _outcome(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[str, Any]:
    try:
        return "", function(*arguments)
    except EngineError as error:
        return error.code, error.message
    except OSError as error:
        return (NoSpace.code if error.errno == ENOSPC else Failed.code), str(error)
    except MemoryError:
        return Failed.code, "out of memory"
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Failed.code, f"{type(error).__name__}: {error}"


def _close_others(keep: set[int]) -> None:
    last = 2
    for fd in sorted(keep - {0, 1, 2}):
        os.closerange(last + 1, fd)
        last = fd
    linux.close_from(last + 1)
