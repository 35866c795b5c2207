"""Tests of this folder may be coroutines: each runs in an event loop of its own."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from cloudstead.http.server import loop_factory

LONGEST = 60.0  # seconds


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    with asyncio.Runner(loop_factory=loop_factory()) as runner:  # as the daemon runs
        runner.run(asyncio.wait_for(pyfuncitem.obj(**arguments), LONGEST))
    return True
