"""Session tokens of version 2. A token is sealed and good for one instance until it expires; nothing is kept."""

from __future__ import annotations

import secrets
import struct
from typing import Final

from cloudstead.kernel.sessions import Sessions

LONGEST: Final = 21_600  # seconds
_PURPOSE: Final = "imds-token"
_FORM: Final = struct.Struct(">d8s")  # until when; what makes two tokens differ


def issue(sessions: Sessions, instance_id: str, expires_at: float) -> str:
    return sessions.seal(_PURPOSE, _FORM.pack(expires_at, secrets.token_bytes(8)) + instance_id.encode())


def is_good(sessions: Sessions, token: str, instance_id: str, now: float) -> bool:
    content = sessions.unseal(_PURPOSE, token)
    if content is None or len(content) < _FORM.size:
        return False
    expires_at: float = _FORM.unpack_from(content)[0]
    return now < expires_at and content[_FORM.size :] == instance_id.encode()


def lifetime(header: str | None) -> int | None:
    """The seconds that a client asks for; None when it asks for nonsense."""
    if header is None or not (header.isascii() and header.isdigit()) or len(header) > 5:
        return None
    seconds = int(header)
    return seconds if 1 <= seconds <= LONGEST else None
