"""Cookies by which a client comes back to the same target group, or the same target.

    AWSALB        the target, for as long as the group's attribute says
    AWSALBAPP-0   the target, while the application's own cookie is there
    AWSALBTG      the target group of a weighted action

What stands in them is sealed with a secret of this installation and bound to the group or rule; a cookie that was made up counts as none.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/sticky-sessions.html
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from cloudstead.kernel import pagination
from cloudstead.kernel.store import Store

TARGET, APPLICATION, GROUP = "AWSALB", "AWSALBAPP-0", "AWSALBTG"
CORS = "CORS"  # the same once more, for requests from other sites


class Cookies:
    """Makes and reads them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key: bytes = b""

    @property
    def _secret(self) -> bytes:
        if not self._key:
            self._key = pagination.secret(self._store, "elbv2")
        return self._key

    def read(self, cookies: dict[str, str], name: str, scope: str, now: float) -> tuple[str, ...] | None:
        """What a client's cookie says; None when it says nothing that counts any more."""
        value = cookies.get(name) or cookies.get(name + CORS)
        if not value:
            return None
        try:
            expires, *what = pagination.decode(self._secret, f"{name} {scope}".encode(), value)
        except (pagination.InvalidToken, ValueError, TypeError):
            return None
        return tuple(what) if expires > now else None

    def made(self, name: str, scope: str, what: tuple[str, ...], seconds: int, now: float) -> list[tuple[str, str]]:
        """The Set-Cookie headers."""
        payload: Any = (now + seconds, *what)
        value = pagination.encode(self._secret, f"{name} {scope}".encode(), payload)
        until = formatdate(now + seconds, usegmt=True)
        plain = f"{name}={value}; Expires={until}; Path=/"
        found = [("Set-Cookie", plain)]
        if name != APPLICATION:
            found.append(("Set-Cookie", f"{name}{CORS}={value}; Expires={until}; Path=/; SameSite=None"))
        return found


def parsed(header: str) -> dict[str, str]:
    """The cookies of a request; the first of a name counts."""
    found: dict[str, str] = {}
    for piece in header.split(";"):
        name, _, value = piece.strip().partition("=")
        found.setdefault(name, value)
    return found


def sets(headers: Any, name: str) -> bool:
    """Whether a response sets this cookie."""
    return any(value.partition("=")[0].strip() == name for key, value in headers if key.lower() == "set-cookie")
