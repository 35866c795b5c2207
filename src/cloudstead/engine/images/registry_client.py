"""One registry, as one pull or push uses it: OCI distribution-spec 1.1, from the client's side.

A request is sent to the first origin that answers (https, and for insecure registries then http), with whatever authorization the registry has asked
for; a 401 is answered once with what it challenges for. Redirects are followed, and the authorization stays behind when they lead to another host.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import msgspec

from cloudstead.engine.errors import EngineError, Failed, NotFound, Unauthorized, Unavailable
from cloudstead.engine.images import digests, media_types
from cloudstead.engine.images.api import Credentials
from cloudstead.engine.images.auth import Authorizer, parse_challenges
from cloudstead.engine.images.content import SMALL
from cloudstead.engine.images.own import RegistryResponse
from cloudstead.engine.images.references import HUB, Reference
from cloudstead.engine.images.transport import CHOSEN_BY_OTHERS, Origin, Transport, join, split_url
from cloudstead.http.upstream import NotSent
from cloudstead.kernel.clock import Clock

HUB_HOST = "registry-1.docker.io"
AGENT = ("User-Agent", "cloudstead")
ERROR_LIMIT = 256 << 10
TOKEN_LIMIT = 1 << 20
MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_PAGES = 1000  # of tags
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Body = Callable[[], AsyncIterator[bytes]]  # made anew for each attempt


class Answer(NamedTuple):
    response: RegistryResponse
    url: str  # that answered, for relative locations


class _Fault(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Faults(msgspec.Struct):
    errors: list[_Fault] = []


class RegistryFault(Failed):
    """The registry said no. `status` is HTTP's; `codes` are distribution-spec's ("MANIFEST_UNKNOWN")."""

    def __init__(self, status: int, message: str, codes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes


class RegistryClient:
    def __init__(self, transport: Transport, domain: str, credentials: Credentials | None, clock: Clock) -> None:
        self.domain = domain
        self._transport = transport
        self._host = HUB_HOST if domain == HUB else domain
        self._origin: Origin | None = None
        self._authorizer = Authorizer(credentials or Credentials(), self._ask, clock, secure=not transport.is_insecure(self._host))

    @property
    def is_own(self) -> bool:
        """Whether the registry is this process, and has its blobs where we have ours."""
        return self._transport.is_own(self._host)

    # questions

    async def ping(self) -> None:
        """GET /v2/. Raises Unauthorized: it wants other credentials."""
        answer = await self.request("GET", "/v2/", scopes=frozenset())
        await self.accept(answer, 200)
        await answer.response.aclose()

    async def manifest(self, reference: Reference) -> tuple[bytes, str]:
        """What a reference names, checked against its digest when it has one, and its media type as the registry calls it.

        Raises:
            RegistryFault; InvalidArgument: larger than 4 MiB, or not what was asked for.
        """
        answer = await self.request(
            "GET",
            f"/v2/{reference.path}/manifests/{reference.target}",
            scopes=pull_scope(reference),
            headers=[("Accept", each) for each in (*media_types.ACCEPTED, *sorted(media_types.OLD), "*/*")],
        )
        await self.accept(answer, 200)
        data = await self._transport.read(answer.response, SMALL)
        if reference.digest and digests.of(data, digests.split(reference.digest)[0]) != reference.digest:
            raise RegistryFault(200, f"manifest verification failed for digest {reference.digest}")
        return data, answer.response.headers.get("content-type") or ""

    async def blob(self, reference: Reference, digest: str, start: int = 0) -> tuple[AsyncIterator[bytes], int]:
        """The blob's bytes, and from where on they are: 0 when the registry cannot begin at `start`."""
        answer = await self.request(
            "GET",
            f"/v2/{reference.path}/blobs/{digest}",
            scopes=pull_scope(reference),
            headers=[("Range", f"bytes={start}-")] if start else [],
        )
        return await self._body(answer, start)

    async def check_blob(self, reference: Reference, digest: str) -> None:
        """Raises what the registry says unless the blob may be had from it. Nothing of it is read."""
        answer = await self.request("GET", f"/v2/{reference.path}/blobs/{digest}", scopes=pull_scope(reference))
        await self.accept(answer, 200)
        await answer.response.aclose()

    async def foreign_blob(self, url: str, start: int = 0) -> tuple[AsyncIterator[bytes], int]:
        """From anywhere, without credentials."""
        headers = [AGENT, *([("Range", f"bytes={start}-")] if start else [])]
        try:
            answer = await self._follow("GET", url, [*headers, CHOSEN_BY_OTHERS], b"", None, None)
        except NotSent as error:
            raise Unavailable(str(error)) from error
        return await self._body(answer, start)

    async def _body(self, answer: Answer, start: int) -> tuple[AsyncIterator[bytes], int]:
        await self.accept(answer, 200, 206)
        began = 0
        if answer.response.status == 206:
            ranged = _RANGE.fullmatch(answer.response.headers.get("content-range") or "")
            if ranged is None or int(ranged[1]) != start:
                await answer.response.aclose()
                raise Unavailable("the registry sent another part of the blob than it was asked for")
            began = start
        return self._transport.pieces(answer.response), began

    async def tags(self, reference: Reference) -> tuple[str, ...]:
        """All of a repository, page by page (distribution-spec, "Listing Tags")."""
        found: dict[str, None] = {}
        location = f"/v2/{reference.path}/tags/list"
        for _ in range(MAX_PAGES):
            answer = await self.request("GET", location, scopes=pull_scope(reference))
            await self.accept(answer, 200)
            data = await self._transport.read(answer.response, SMALL)
            try:
                page = msgspec.json.decode(data, type=_Tags).tags or []
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise Failed(f"the registry's list of tags cannot be understood: {error}") from error
            found.update(dict.fromkeys(page))
            following = _NEXT.search(answer.response.headers.get("link") or "")
            if following is None:
                break
            location = join(answer.url, following[1])
        return tuple(found)

    async def has_blob(self, reference: Reference, digest: str) -> int | None:
        """Its size, or None."""
        answer = await self.request("HEAD", f"/v2/{reference.path}/blobs/{digest}", scopes=push_scope(reference))
        await answer.response.aclose()
        if answer.response.status == 200:
            length = answer.response.headers.get("content-length") or ""
            return int(length) if length.isdigit() else 0
        if answer.response.status in (401, 403):
            raise denied(answer.response.status)
        return None

    # requests

    async def request(
        self,
        method: str,
        location: str,
        *,
        scopes: frozenset[str],
        headers: list[tuple[str, str]] | None = None,
        body: bytes | Body = b"",
        length: int | None = None,
    ) -> Answer:
        """Ask, with authorization, following redirects of GET and HEAD.

        Args:
            location: a path of this registry, or a whole URL that it gave.
        """
        refused: RegistryResponse | None = None
        sent: str | None = None
        for attempt in range(3):
            sent = await self._authorizer.header(scopes)
            answer = await self._send(method, location, [AGENT, *(headers or [])], body, length, sent)
            if answer.response.status != 401 or attempt == 2:
                return answer
            refused = answer.response
            challenges = parse_challenges(value for name, value in refused.headers if name.lower() == "www-authenticate")
            if not self._authorizer.challenged(challenges, scopes, sent):
                return answer
            await refused.aclose()
        raise AssertionError("unreachable")

    async def _send(
        self, method: str, location: str, headers: list[tuple[str, str]], body: bytes | Body, length: int | None, authorization: str | None
    ) -> Answer:
        """To the origin that is known to work, or to the first that does."""
        if self._origin is not None or "://" in location:
            url = location if "://" in location else f"{self._origin}{location}"
            try:
                return await self._follow(method, url, headers, body, length, authorization)
            except NotSent as error:
                raise Unavailable(str(error)) from error
        failures: list[str] = []
        for origin in self._transport.origins(self._host):
            try:
                answer = await self._follow(method, f"{origin}{location}", headers, body, length, authorization)
            except NotSent as error:
                failures.append(str(error))
                continue
            self._origin = origin
            self._transport.works(self._host, origin)
            return answer
        raise Unavailable(failures[-1] if len(set(failures)) < 2 else "; ".join(failures))

    async def _follow(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes | Body, length: int | None, authorization: str | None
    ) -> Answer:
        checked = not self._transport.is_insecure(self._host)
        home = self._home(url, checked)
        for _ in range(MAX_REDIRECTS):
            # Elsewhere than at the registry nobody is to see what we are known by.
            at_home = split_url(url, checked)[0] == home
            sent = [*headers, ("Authorization", authorization)] if authorization is not None and at_home else headers
            sent = sent if at_home else [*sent, CHOSEN_BY_OTHERS]
            content = body if isinstance(body, bytes) else body()
            response = await self._transport.send(method, url, sent, content, length=length, checked=checked)
            target = response.headers.get("location")
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD") or target is None:
                return Answer(response, url)
            await response.aclose()
            url = join(url, target)
        raise Failed(f"the registry redirects more than {MAX_REDIRECTS} times")

    def _home(self, url: str, checked: bool) -> Origin:
        if self._origin is not None:
            return self._origin
        return split_url(url, checked)[0]

    async def _ask(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, bytes]:
        """For the authorizer: its token server."""
        checked = not self._transport.is_insecure(self._host)
        chosen = [CHOSEN_BY_OTHERS] if split_url(url, checked)[0] != self._origin else []
        try:
            response = await self._transport.send(
                method, url, [AGENT, ("Accept", "application/json"), *chosen, *headers], body, checked=checked
            )
        except NotSent as error:
            raise Unavailable(str(error)) from error
        return response.status, await self._transport.read(response, TOKEN_LIMIT)

    async def accept(self, answer: Answer, *statuses: int) -> None:
        """Raises what the registry says unless the answer's status is one of these."""
        if answer.response.status not in statuses:
            raise await self.fault(answer)

    async def fault(self, answer: Answer) -> EngineError:
        status = answer.response.status
        try:
            data = await self._transport.read(answer.response, ERROR_LIMIT)
        except EngineError:
            data = b""
        return read_fault(status, data)


def read_fault(status: int, data: bytes) -> EngineError:
    """What an answer that is no success says, in the words of Docker's client for registries."""
    try:
        faults = msgspec.json.decode(data, type=_Faults).errors
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        faults = []
    words = [f"{each.code.lower().replace('_', ' ')}: {each.message}".rstrip(": ") for each in faults if each.code or each.message]
    message = "; ".join(words) if words else f"received unexpected HTTP status: {status}"
    if status in (401, 403):
        return Unauthorized(message if words else denied(status).message)
    if status == 429 or status >= 500:
        return Unavailable(message if words else f"the registry is not able to answer now (status {status})")
    return RegistryFault(status, message, tuple(each.code for each in faults))


def denied(status: int) -> Unauthorized:
    return Unauthorized("unauthorized: authentication required" if status == 401 else "denied: requested access to the resource is denied")


def not_found(error: EngineError) -> bool:
    return isinstance(error, NotFound) or (isinstance(error, RegistryFault) and error.status == 404)


def pull_scope(reference: Reference) -> frozenset[str]:
    return frozenset({f"repository:{reference.path}:pull"})


def push_scope(reference: Reference) -> frozenset[str]:
    return frozenset({f"repository:{reference.path}:pull,push"})
