"""One-time codes from the time: RFC 6238, as virtual MFA devices show them (SHA-1, 6 digits, 30 seconds)."""

from __future__ import annotations

import hmac
from base64 import b32decode
from typing import Final

SECONDS: Final = 30
NEAR: Final = 2  # steps that a device's clock may be off ours when it is enabled
FAR: Final = 120  # and when it is brought back in step: an hour


def code(seed: str, step: int) -> str:
    """The six digits of a step of 30 seconds.

    Args:
        seed: in base32.
    """
    digest = hmac.digest(b32decode(seed), step.to_bytes(8, "big"), "sha1")
    at = digest[-1] & 15
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF
    return f"{number % 1_000_000:06d}"


def step_of(now: float) -> int:
    return int(now) // SECONDS


def skew(step: int, now: float) -> int:
    """How far a device that showed the code of a step is ahead of us; one step is no more than slow typing."""
    ahead = step - step_of(now)
    return ahead if abs(ahead) > 1 else 0


def of_two(seed: str, first: str, second: str, now: float, within: int) -> int | None:
    """The step of the second of two consecutive codes; None when they are none of about now."""
    middle = step_of(now)
    for step in sorted(range(middle - within, middle + within + 1), key=lambda step: abs(step - middle)):
        if hmac.compare_digest(code(seed, step - 1), first) and hmac.compare_digest(code(seed, step), second):
            return step
    return None


def of_one(seed: str, given: str, now: float, *, skew: int, after: int) -> int | None:
    """The step of a code, one before or behind that of now at most; None when it is none, or not newer than the step `after`."""
    middle = step_of(now) + skew
    for step in (middle, middle - 1, middle + 1):
        if step > after and hmac.compare_digest(code(seed, step), given):
            return step
    return None
