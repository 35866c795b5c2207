"""Calls that a web page makes through somebody's browser.

A daemon that is not strict takes whoever reaches it for the root user, and only this machine reaches it. But a browser on this machine carries
requests for every page that it shows: a form, an image or a script of any site may call 127.0.0.1. A browser says for whom it does that (`Origin`,
`Sec-Fetch-Site`), unless the site has had its own name resolve to 127.0.0.1; then the name stands in `Host`. So calls without a signature of a known
key are taken from programs and from pages of this machine, by the names that this machine is called by.

https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import AuthenticationError

_OURS: Final = (
    ".localhost",  # RFC 6761
    ".localhost.localstack.cloud",  # resolves to 127.0.0.1; its buckets and APIs stand before it
    ".amazonaws.com",  # what clients call AWS itself, with a resolver or a proxy of their own
    ".amazonaws.com.cn",
    ".internal", ".local", ".test", ".lan", ".home.arpa",  # domains that nobody can own: no site has them
)  # fmt: skip


class ForeignPage(AuthenticationError):
    """A page of another site calls, and has no key to show."""

    code, json_code = "AccessDenied", "AccessDeniedException"


def refuse_foreign(request: HttpRequest) -> None:
    """
    Raises:
        ForeignPage: a page of another site makes this call, or may be making it.
    """
    index = request.headers.index()
    origin = index.get("origin")
    if origin is not None and not _is_ours(origin.partition("://")[2]):
        raise _refusal(f"a web page of {origin[:100]}")
    if origin is None and index.get("sec-fetch-site") == "cross-site":
        raise _refusal("a web page of another site")
    if request.host and not _is_ours(request.host):
        raise _refusal(f"whoever calls this machine {request.host[:100]}")


def _refusal(who: str) -> ForeignPage:
    return ForeignPage(f"Calls of {who} must be signed with a key that IAM knows; `cloudstead env` shows one.")


@functools.lru_cache(maxsize=256)
def _is_ours(host: str) -> bool:
    """Whether a host (with or without port) is this machine by a name that no site can have."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    name = name.rstrip(".")
    if not name:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or f".{name}".endswith(_OURS)
    return True
