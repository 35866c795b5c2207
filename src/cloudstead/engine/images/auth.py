"""Who we are to a registry: challenges, Basic and Bearer (distribution-spec's token authentication, as Docker does it).

A registry answers 401 with a challenge. `Basic`: name and password go along from then on. `Bearer`: a token is asked for at the realm that the
challenge names, for the scopes that the request needs, with the password, or with an identity token (OAuth 2, grant type refresh_token); it is
used until it runs out.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from cloudstead.engine.errors import InvalidArgument, Unauthorized
from cloudstead.engine.images.api import Credentials
from cloudstead.engine.images.tasks import KeyedLocks
from cloudstead.kernel.clock import Clock

CLIENT = "docker"  # token servers know it
TOKEN_SECONDS = 60.0  # how long a token holds that does not say so
EARLY = 5.0  # seconds before its end from which on a token is not used any more
_PARAMETER = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')
_SCHEME = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s+|$)(?!=)")

Ask = Callable[[str, str, list[tuple[str, str]], bytes], Awaitable[tuple[int, bytes]]]  # method, URL, headers, body -> status, body


class Challenge(NamedTuple):
    scheme: str  # lower case
    parameters: dict[str, str]  # names in lower case


def parse_challenges(lines: Iterable[str]) -> list[Challenge]:
    """WWW-Authenticate (RFC 9110, 11.6.1); what cannot be read is left out."""
    found: list[Challenge] = []
    for line in lines:
        at = 0
        while at < len(line):
            if found and (parameter := _PARAMETER.match(line, at)):
                name, quoted, plain = parameter.groups()
                found[-1].parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                at = parameter.end()
            elif scheme := _SCHEME.match(line, at):
                found.append(Challenge(scheme[1].lower(), {}))
                at = scheme.end()
            else:
                break
    return found


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


class Authorizer:
    """For one registry and one set of credentials."""

    def __init__(self, credentials: Credentials, ask: Ask, clock: Clock, *, secure: bool) -> None:
        """
        Args:
            ask: sends one request to any URL.
            secure: credentials may not be sent over plain HTTP.
        """
        self._credentials = credentials
        self._ask = ask
        self._clock = clock
        self._secure = secure
        self._challenge: Challenge | None = None
        self._fetching = KeyedLocks()
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}

    async def header(self, scopes: frozenset[str]) -> str | None:
        """What to send with a request that needs these scopes; None before the registry has asked for anything."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return basic(self._credentials) if self._credentials.username else None
        async with self._fetching.hold(" ".join(sorted(scopes))):  # many layers at once need one token
            token, until = self._tokens.get(scopes, ("", 0.0))
            if not token or until <= self._clock.monotonic():
                token = await self._fetch(self._challenge, scopes)
        return f"Bearer {token}"

    def challenged(self, challenges: list[Challenge], scopes: frozenset[str], sent: str | None) -> bool:
        """The registry refused what was sent. Whether trying again makes sense: there is something else to send."""
        if self._credentials.registry_token:
            return False
        if sent is not None and self._tokens.get(scopes, ("", 0.0))[0] == sent.removeprefix("Bearer "):
            del self._tokens[scopes]  # unless another request has had it replaced already
        bearer = next((each for each in challenges if each.scheme == "bearer" and each.parameters.get("realm")), None)
        chosen = bearer or next((each for each in challenges if each.scheme == "basic"), None)
        if chosen is None or (chosen.scheme == "basic" and (not self._credentials.username or sent is not None)):
            return False
        self._challenge = chosen
        return True

    async def _fetch(self, challenge: Challenge, scopes: frozenset[str]) -> str:
        realm = challenge.parameters["realm"]
        try:
            split = urlsplit(realm)
        except ValueError:  # brackets that hold no IPv6 address
            split = urlsplit("")
        if split.scheme not in ("http", "https") or not split.hostname:
            raise InvalidArgument(f"the registry's token server has no usable address: {realm!r}")
        service = challenge.parameters.get("service", "")
        wanted = sorted(scopes) or [each for each in [challenge.parameters.get("scope", "")] if each]
        known = self._credentials
        if (known.username or known.identity_token) and split.scheme == "http" and self._secure:
            raise Unauthorized(f"the registry wants credentials to be sent unencrypted to {realm}, which is refused")
        if known.identity_token:
            status, body = await self._exchange(realm, service, wanted)
        else:
            query = [("service", service)] if service else []
            query += [("account", known.username)] if known.username else []
            query += [("client_id", CLIENT)] if known.username else []
            query += [("scope", each) for each in wanted]
            headers = [("Authorization", basic(known))] if known.username else []
            joined = f"{realm}{'&' if split.query else '?'}{urlencode(query, quote_via=quote, safe=':/,')}"
            status, body = await self._ask("GET", joined, headers, b"")
        return self._accept(status, body, scopes)

    async def _exchange(self, realm: str, service: str, scopes: list[str]) -> tuple[int, bytes]:
        form = {"grant_type": "refresh_token", "service": service, "client_id": CLIENT, "refresh_token": self._credentials.identity_token}
        form |= {"scope": " ".join(scopes)} if scopes else {}
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        return await self._ask("POST", realm, headers, urlencode(form).encode())

    def _accept(self, status: int, body: bytes, scopes: frozenset[str]) -> str:
        if status in (400, 401, 403):
            raise Unauthorized("unauthorized: incorrect username or password" if self._has_password else "unauthorized: access denied")
        try:
            answer = msgspec.json.decode(body, type=_Token)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Unauthorized(f"the token server's answer (status {status}) cannot be understood") from error
        token = answer.token or answer.access_token
        if status != 200 or not token or not token.isascii() or not token.isprintable():
            raise Unauthorized(f"the token server gave no token (status {status})")
        lasts = TOKEN_SECONDS if answer.expires_in is None else answer.expires_in
        self._tokens[scopes] = token, self._clock.monotonic() + max(lasts - EARLY, EARLY)
        return token

    @property
    def _has_password(self) -> bool:
        return bool(self._credentials.username or self._credentials.identity_token)


def basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
