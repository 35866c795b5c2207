"""API destinations: events as requests to HTTP endpoints, signed in as their connection says.

Requests run in threads of their own (the standard library's client), at most 5 seconds each, and no faster than the destination's rate limit.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.context import Context
from cloudstead.services.events.envelope import Envelope
from cloudstead.services.events.failures import Undelivered
from cloudstead.services.events.model import API_DESTINATIONS, CONNECTIONS, ApiDestination, Connection, Target
from cloudstead.services.events.transform import MISSING, path, value_at

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

TIMEOUT: Final = 5.0  # seconds, AWS's
THREADS: Final = 16
TRIED_AGAIN: Final = frozenset((401, 407, 409, 429))  # and 5xx
LARGEST_ANSWER: Final = 65_536  # bytes of an answer that are read
TOKEN_MARGIN: Final = 60.0  # seconds before its end at which a token is no longer used
BODILESS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]  # lower case
    body: bytes


class Http:
    """The threads, the tokens of connections and the rate limits. One to a cloud."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._threads: ThreadPoolExecutor | None = None
        self._tokens: dict[str, tuple[str, float, Mapping[str, Any]]] = {}  # secret's uid -> Authorization, until when, got with what
        self._free_at: dict[str, float] = {}  # destination -> when the next call may begin

    def stop(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api-destination")
        return await asyncio.get_running_loop().run_in_executor(self._threads, _send, method, url, dict(headers), body)

    async def turn(self, destination: ApiDestination) -> None:
        """Wait until the destination's rate limit allows another call."""
        now = self._clock.monotonic()
        at = max(now, self._free_at.get(destination.uid, now))
        self._free_at[destination.uid] = at + 1.0 / destination.rate_limit
        if at > now:
            await self._clock.sleep(at - now)

    def forget_destination(self, destination: ApiDestination) -> None:
        """It is deleted."""
        self._free_at.pop(destination.uid, None)

    async def authorization(self, connection: Connection, now: float) -> dict[str, str]:
        """The headers with which a connection signs in.

        Raises:
            Undelivered: the token endpoint refuses.
        """
        given = connection.parameters
        if connection.authorization == "BASIC":
            basic = given["BasicAuthParameters"]
            pair = f"{basic['Username']}:{basic['Password']}".encode()
            return {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        if connection.authorization == "API_KEY":
            key = given["ApiKeyAuthParameters"]
            return {key["ApiKeyName"]: key["ApiKeyValue"]}
        oauth = given["OAuthParameters"]
        known = self._tokens.get(connection.secret_uid)
        # The connection may have been changed while a token was on its way: one that was got with other secrets is not its own.
        if known is None or known[1] <= now or known[2] != oauth:
            known = self._tokens[connection.secret_uid] = (*await self._token(oauth, now), oauth)
        return {"Authorization": known[0]}

    def forget(self, connection: Connection) -> None:
        """Its token was refused."""
        self._tokens.pop(connection.secret_uid, None)

    async def _token(self, oauth: Mapping[str, Any], now: float) -> tuple[str, float]:
        client = oauth["ClientParameters"]
        form = {"grant_type": "client_credentials", "client_id": client["ClientID"], "client_secret": client["ClientSecret"]}
        more, query, fields = _http_parameters(oauth.get("OAuthHttpParameters"))
        form.update(fields)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", **more}
        method, body = oauth["HttpMethod"], urlencode(form).encode()
        url = oauth["AuthorizationEndpoint"]
        if method == "GET":
            query, body = {**form, **query}, b""
        answer = await self.request(method, _with_query(url, query), headers, body or None)
        try:
            told = msgspec.json.decode(answer.body)
            token = told["access_token"]
        except (ValueError, KeyError, TypeError):
            told, token = {}, ""
        if answer.status >= 300 or not isinstance(token, str) or not token:
            raise Undelivered("SDK_CLIENT_ERROR", f"The authorization endpoint answered {answer.status} without a token.", again=True)
        lasts = told.get("expires_in")
        lasts = float(lasts) if isinstance(lasts, int | float) else 3600.0
        return f"Bearer {token}", now + max(0.0, lasts - TOKEN_MARGIN)


def _send(method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
    import http.client  # the daemon starts without them
    import ssl

    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        target = parts.path or "/"
        connection.request(method, f"{target}?{parts.query}" if parts.query else target, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read(LARGEST_ANSWER))
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


async def call_api_destination(ctx: Context, arn: Arn, target: Target, event: Envelope, payload: str) -> None:
    """
    Raises:
        Undelivered, OSError
    """
    client: Http = ctx.cloud.parts["events"].http
    destination: ApiDestination | None = ctx.table(API_DESTINATIONS).get((arn.account, arn.region, arn.name.partition("/")[0]))
    if destination is None or destination.arn() != str(arn):
        raise Undelivered("NO_RESOURCE", f"API destination {arn} does not exist.", again=False)
    connection = _connection(ctx, destination)
    if connection is None:
        raise Undelivered("NO_RESOURCE", f"The connection {destination.connection} does not exist.", again=False)
    if connection.state != "AUTHORIZED":
        raise Undelivered("NO_PERMISSIONS", f"The connection {connection.name} is {connection.state}.", again=True)
    await client.turn(destination)
    signed = await client.authorization(connection, ctx.now())
    method, url, headers, body = compose(destination, connection, signed, target, event, payload)
    answer = await client.request(method, url, headers, body)
    if answer.status == 401:
        client.forget(connection)
    if answer.status >= 300:
        again = answer.status in TRIED_AGAIN or answer.status >= 500
        after = answer.headers.get("retry-after", "")
        raise Undelivered(
            "SDK_CLIENT_ERROR" if answer.status < 500 else "ERROR_FROM_TARGET",
            f"The endpoint answered {answer.status}.",
            again=again,
            after=float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0,
        )


def _connection(ctx: Context, destination: ApiDestination) -> Connection | None:
    arn = Arn.parse(destination.connection)
    row: Connection | None = ctx.table(CONNECTIONS).get((arn.account, arn.region, arn.name.partition("/")[0]))
    return row if row is not None and row.arn() == destination.connection else None


def compose(
    destination: ApiDestination, connection: Connection, signed: Mapping[str, str], target: Target, event: Envelope, payload: str
) -> tuple[str, str, dict[str, str], bytes | None]:
    """The request: method, URL, headers and body. Parameters of the connection win over those of the target."""
    asked = target.parameters.get("HttpParameters", {})
    own, query, fields = _http_parameters(connection.parameters.get("InvocationHttpParameters"))
    url = destination.endpoint
    for value in asked.get("PathParameterValues") or ():
        url = url.replace("*", quote(_dynamic(value, event), safe=""), 1)
    query = {**{name: _dynamic(value, event) for name, value in (asked.get("QueryStringParameters") or {}).items()}, **query}
    headers = {
        "User-Agent": "Amazon/EventBridge/ApiDestinations",
        "Content-Type": "application/json; charset=utf-8",
        "Range": "bytes=0-1048575",
        **{name: _dynamic(value, event) for name, value in (asked.get("HeaderParameters") or {}).items()},
        **own,
        **signed,
    }
    body = None if destination.method in BODILESS else _with_fields(payload, fields)
    return destination.method, _with_query(url, query), headers, body


def _dynamic(text: str, event: Envelope) -> str:
    """A value of the target may be a path into the event: "$.detail.id"."""
    if not text.startswith("$."):
        return text
    found = value_at(event.document, path(text))
    return "" if found is MISSING else found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _with_fields(payload: str, fields: Mapping[str, str]) -> bytes:
    """Fields of the connection go into a body that is an object."""
    if fields:
        try:
            document = msgspec.json.decode(payload)
        except ValueError:
            document = None
        if isinstance(document, dict):
            return msgspec.json.encode({**document, **fields})
    return payload.encode()


def _http_parameters(given: Mapping[str, Any] | None) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Headers, query parameters and body fields."""

    def pairs(name: str) -> dict[str, str]:
        return {one["Key"]: one.get("Value") or "" for one in (given or {}).get(name) or () if one.get("Key")}

    return pairs("HeaderParameters"), pairs("QueryStringParameters"), pairs("BodyParameters")


def _with_query(url: str, query: Mapping[str, str]) -> str:
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
