"""The keys that leave a container running: ctrl-p ctrl-q, or what the client names ("ctrl-x,x")."""

from __future__ import annotations

import re

from cloudstead.engine.errors import InvalidArgument

DEFAULT = b"\x10\x11"
_CONTROL = {**{chr(ord("a") + at): 1 + at for at in range(26)}, "@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def keys_of(text: str) -> bytes:
    """Raises InvalidArgument."""
    if not text:
        return DEFAULT
    keys = bytearray()
    for word in text.split(","):
        control = re.fullmatch(r"ctrl-(.)", word, re.DOTALL)
        if control and control[1].lower() in _CONTROL:
            keys.append(_CONTROL[control[1].lower()])
        elif len(word) == 1 and word.isascii():
            keys.append(ord(word))
        else:
            raise InvalidArgument(f"Invalid detach keys ({text[:100]}) provided")
    return bytes(keys)


class DetachKeys:
    """Looks for the keys in what is typed, also when they come one by one. What might be their beginning is held back."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """What goes on to the process, and whether all keys were typed."""
        data, self._held = self._held + data, b""
        at = data.find(self._keys)
        if at >= 0:
            return data[:at], True
        for length in range(min(len(self._keys) - 1, len(data)), 0, -1):
            if data.endswith(self._keys[:length]):
                self._held = data[-length:]
                return data[:-length], False
        return data, False
