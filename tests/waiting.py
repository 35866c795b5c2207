"""Waiting for what comes true in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.02  # seconds between two looks


def until(reached: Callable[[], T], within: float = 30.0, *, passing: type[Exception] | tuple[type[Exception], ...] = ()) -> T:
    """What it gives once that is true.

    Args:
        passing: errors that mean no more than "not yet".
    """
    deadline = time.monotonic() + within
    while True:
        try:
            if found := reached():
                return found
        except passing:
            pass
        assert time.monotonic() < deadline, f"it did not happen within {within} s"
        time.sleep(PAUSE)
