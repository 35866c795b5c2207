"""The clocks. What the virtual one does by itself is shown in test_simulation.py; here it is moved by hand."""

from __future__ import annotations

import asyncio
import time

import pytest

from cloudstead.kernel import clock as clocks
from cloudstead.kernel.clock import Clock, SystemClock, VirtualClock
from cloudstead.kernel.simulation import Simulation


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_virtual_time_stands_still_until_it_is_moved():
    clock = VirtualClock(start=1000.0)
    assert (clock.time(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(5)
    assert (clock.time(), clock.monotonic()) == (1005.0, 5.0)


def test_timers_go_off_in_order_each_at_its_own_time():
    clock, heard = VirtualClock(start=100.0), []
    for name, when in [("c", 130.0), ("a", 110.0), ("b", 120.0), ("b, set later", 120.0), ("past", 50.0), ("far", 900.0)]:
        clock.call_at(when, lambda name=name: heard.append((name, clock.time())))
    clock.advance(40)
    assert heard == [("past", 100.0), ("a", 110.0), ("b", 120.0), ("b, set later", 120.0), ("c", 130.0)]
    assert clock.time() == 140.0


def test_a_timer_may_set_a_timer_on_the_way():
    clock, heard = VirtualClock(), []

    def tick():
        heard.append(clock.monotonic())
        clock.call_later(10, tick)

    clock.call_later(10, tick)
    clock.advance(35)
    assert heard == [10, 20, 30]


def test_a_cancelled_timer_stays_silent_and_holds_no_time_up():
    clock, heard = VirtualClock(), []
    clock.call_later(1, heard.append, "cancelled").cancel()
    clock.call_later(2, heard.append, "kept")
    assert clock.next_timer() == 2
    clock.advance(3)
    assert heard == ["kept"]
    assert clock.next_timer() is None
    assert not clock.step()


def test_a_sleeper_wakes_when_its_time_has_come():
    async def main():
        clock = VirtualClock()
        sleeper = asyncio.create_task(clock.sleep(60))
        await turns()
        clock.advance(59)
        await turns()
        assert not sleeper.done()
        clock.advance(1)
        await turns()
        assert sleeper.done()

    asyncio.run(main())


def test_a_cancelled_sleeper_leaves_no_timer():
    async def main():
        clock = VirtualClock()
        sleeper = asyncio.create_task(clock.sleep(60))
        await turns()
        sleeper.cancel()
        await turns()
        assert clock.next_timer() is None

    asyncio.run(main())


def test_a_virtual_timeout_cuts_a_block_off():
    async def main(sim):
        started = sim.clock.time()
        with pytest.raises(TimeoutError):
            async with sim.clock.timeout(30):
                await sim.clock.sleep(60)
        assert sim.clock.time() - started == 30
        async with sim.clock.timeout(30):
            await sim.clock.sleep(29)
        async with sim.clock.timeout(None):
            await sim.clock.sleep(1e6)
        assert sim.clock.next_timer() is None

    Simulation().run(main)


def test_cancelling_a_block_with_a_timeout_is_no_timeout():
    async def main(sim):
        async def block():
            async with sim.clock.timeout(30):
                await sim.clock.sleep(60)

        task = asyncio.create_task(block())
        await sim.clock.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    Simulation().run(main)


def test_the_system_clock_tells_and_keeps_real_time():
    async def main():
        clock: Clock = SystemClock()
        assert abs(clock.time() - time.time()) < 1
        started, heard = clock.monotonic(), asyncio.Event()
        clock.call_at(clock.time() + 0.03, heard.set)
        cancelled = clock.call_at(clock.time() + 0.01, pytest.fail)
        cancelled.cancel()
        clock.call_later(0.01, pytest.fail).cancel()
        await heard.wait()
        assert clock.monotonic() - started >= 0.029
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.01):
                await clock.sleep(5)

    asyncio.run(main())


def test_a_system_timer_notices_that_the_clock_was_set(monkeypatch):
    """A call for tomorrow is made within a minute of the clock being set to tomorrow; the minute is shortened here."""
    monkeypatch.setattr(clocks, "_LONGEST_WAIT", 0.01)

    async def main():
        clock, heard, real = SystemClock(), asyncio.Event(), time.time
        clock.call_at(clock.time() + 86400, heard.set)
        await asyncio.sleep(0.03)
        assert not heard.is_set()
        monkeypatch.setattr(time, "time", lambda: real() + 86401)
        async with asyncio.timeout(5):
            await heard.wait()

    asyncio.run(main())
