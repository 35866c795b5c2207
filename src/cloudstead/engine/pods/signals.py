"""Names of signals, as `docker kill --signal` and STOPSIGNAL take them. Pure."""

from __future__ import annotations

import signal

from cloudstead.engine.errors import InvalidArgument

SIGKILL = int(signal.SIGKILL)
LAST = 64  # the highest real-time signal of Linux
FIRST_REALTIME = 34  # SIGRTMIN of the C libraries, which keep 32 and 33 for themselves


def number_of(name: str) -> int:
    """ "SIGTERM", "term" and "15" are 15; real-time signals are "RTMIN+3" or "SIGRTMAX-1".

    Raises:
        InvalidArgument
    """
    text = name.strip().upper().removeprefix("SIG")
    number = int(text) if text.isascii() and text.isdigit() else _by_name(text)
    if not 1 <= number <= LAST:
        raise InvalidArgument(f"Invalid signal: {name}")
    return number


def _by_name(text: str) -> int:
    for base, start, sign in (("RTMIN", FIRST_REALTIME, 1), ("RTMAX", LAST, -1)):
        if text == base:
            return start
        rest = text.removeprefix(base + ("+" if sign > 0 else "-"))
        if rest != text and rest.isascii() and rest.isdigit() and FIRST_REALTIME <= start + sign * int(rest) <= LAST:
            return start + sign * int(rest)
    found = signal.Signals.__members__.get(f"SIG{text}")
    return 0 if found is None or text.startswith("RT") else int(found)
