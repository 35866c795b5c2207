"""Which function answers which request.

Patterns are Docker's: `{name}` takes everything, slashes and colons too, for names of images hold both. So a pattern with more fixed text is tried
before one with less: "/images/{name}/json" before "/images/{name}".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import unquote

from cloudstead.engine.dockerapi.bodies import read_body
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.parameters import Parameters
from cloudstead.engine.errors import InvalidArgument
from cloudstead.http.messages import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi

API_VERSION = "1.41"
MIN_API_VERSION = "1.22"  # what skopeo speaks
BODY_LIMIT = 8 << 20  # of JSON

Version: TypeAlias = tuple[int, int]
T = TypeVar("T")


class DockerRequest:
    """A request that has found its route. `request["name"]` is what `{name}` of its pattern took."""

    __slots__ = ("http", "names", "parameters", "version")

    def __init__(self, http: HttpRequest, names: dict[str, str], version: Version) -> None:
        self.http = http
        self.names = names
        self.version = version  # the client's
        self.parameters = Parameters(http.query)

    def __getitem__(self, name: str) -> str:
        return self.names[name]

    def text(self, name: str, default: str = "") -> str:
        return self.parameters.text(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        return self.parameters.flag(name, default)

    def number(self, name: str, default: int = 0) -> int:
        return self.parameters.number(name, default)

    def filters(self, *known: str) -> Filters:
        """The `filters` parameter, of which these names are known."""
        return Filters(self.text("filters"), known)

    async def json(self, kind: type[T], *, needed: bool = True) -> T:
        """The body as a struct. InvalidArgument: it is none, or has a field that nothing here acts on.

        Args:
            needed: false where no body means one without fields.
        """
        data = await self.http.read(BODY_LIMIT)
        if data:
            content_type = (self.http.headers.get("content-type") or "").partition(";")[0].strip().lower()
            if content_type != "application/json":
                raise InvalidArgument(f"unsupported Content-Type header ({content_type}): must be 'application/json'")
        elif needed:
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        return read_body(data or b"{}", kind)


Answering: TypeAlias = "Callable[[DockerApi, DockerRequest], Awaitable[HttpResponse]]"
F = TypeVar("F", bound=Callable[..., Any])

_VERSION = re.compile(r"/v(\d{1,4})\.(\d{1,4})(?=/)")


class Routes:
    """All routes, by method."""

    def __init__(self) -> None:
        self._by_method: dict[str, list[tuple[int, str, re.Pattern[str], Answering]]] = {}

    def add(self, method: str, pattern: str, function: Answering) -> None:
        known = self._by_method.setdefault(method, [])
        if any(pattern == other for _, other, _, _ in known):
            raise ValueError(f"two functions for {method} {pattern}")
        expression = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(pattern)), re.DOTALL)
        known.append((len(re.sub(r"\{\w+\}", "", pattern)), pattern, expression, function))
        known.sort(key=lambda each: each[0], reverse=True)

    def find(self, method: str, path: str) -> tuple[Answering, dict[str, str]] | None:
        """The function for a decoded path without version, and what its parameters took."""
        for _, _, expression, function in self._by_method.get(method, ()):
            if found := expression.fullmatch(path):
                return function, found.groupdict()
        return None

    def all(self) -> list[tuple[str, str]]:
        return [(method, pattern) for method, known in self._by_method.items() for _, pattern, _, _ in known]


ROUTES = Routes()


def route(method: str, pattern: str) -> Callable[[F], F]:
    """`@route("GET", "/images/{name}/json")`."""

    def register(function: F) -> F:
        ROUTES.add(method, pattern, function)
        return function

    return register


def split_version(path: str) -> tuple[Version | None, str]:
    """The version that a raw path begins with, and the decoded rest.

    Raises:
        InvalidArgument: it is newer or older than what is spoken here; the sentences are Docker's.
    """
    found = _VERSION.match(path)
    if not found:
        return None, unquote(path)
    version = int(found[1]), int(found[2])
    spelled = f"{version[0]}.{version[1]}"
    if version > numbers(API_VERSION):
        raise InvalidArgument(f"client version {spelled} is too new. Maximum supported API version is {API_VERSION}")
    if version < numbers(MIN_API_VERSION):
        raise InvalidArgument(
            f"client version {spelled} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return version, unquote(path[found.end() :])


def numbers(version: str) -> Version:
    major, _, minor = version.partition(".")
    return int(major), int(minor)
