"""Who the client is to a registry: the headers X-Registry-Auth and X-Registry-Config, and the body of /auth."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from cloudstead.engine.dockerapi.bodies import read_body
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images.api import Credentials
from cloudstead.http.messages import HttpRequest

T = TypeVar("T")
HUB = "docker.io"
HUBS = ("index.docker.io", "registry-1.docker.io", "docker.io")


class AuthConfig(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""  # base64 of username:password, in place of both
    email: str = ""  # of the first version of registries; says nothing any more
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def credentials(self) -> Credentials:
        """Raises InvalidArgument."""
        username, password = self.username, self.password
        if self.auth and not (username or password):
            username, _, password = _decoded(self.auth).decode(errors="replace").partition(":")
        return Credentials(username, password, self.identitytoken, self.registrytoken)


def from_request(request: HttpRequest) -> Credentials | None:
    """What X-Registry-Auth says; None when it is not there or empty."""
    header = request.headers.get("x-registry-auth")
    if not header:
        return None
    found = _read("X-Registry-Auth", header, AuthConfig).credentials()
    return found if found != Credentials() else None


def all_from_request(request: HttpRequest) -> dict[str, Credentials]:
    """What X-Registry-Config says, by registry."""
    header = request.headers.get("x-registry-config")
    if not header:
        return {}
    configs = _read("X-Registry-Config", header, dict[str, AuthConfig])
    return {registry_of(name): config.credentials() for name, config in configs.items()}


def registry_of(address: str) -> str:
    """The name of a registry, as references begin with it, from what people call it: https://index.docker.io/v1/ is docker.io."""
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if not host or host in HUBS else host


def _read(name: str, text: str, kind: type[T]) -> T:
    try:
        return read_body(_decoded(text), kind)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid {name} header: {error.message}") from None


def _decoded(text: str) -> bytes:
    """Base64 of either alphabet, with or without padding: clients differ."""
    try:
        text = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise InvalidArgument("it is no base64") from None
