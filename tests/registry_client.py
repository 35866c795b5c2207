"""The OCI distribution API in a few words, for tests.

Client      of any registry, over one connection
Wire        of the registries of a cloud, a connection for each request
Answer      can be asked for what the specification says of it
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from support import REGION, CloudThread

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage  # by name, in whatever case
    body: bytes

    def get(self, name: str) -> str | None:
        return self.headers.get(name)

    def all(self, name: str) -> list[str]:
        return self.headers.get_all(name, [])

    @property
    def location(self) -> str:
        found = self.get("Location")
        assert found is not None, "no Location"
        return found

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[str, str]:
        """Code and sentence of the first error; the body must be what the specification says."""
        errors = self.json()["errors"]
        assert self.get("Content-Type") == "application/json"
        assert errors
        assert all(set(error) <= {"code", "message", "detail"} for error in errors)
        return errors[0]["code"], errors[0]["message"]

    @property
    def code(self) -> str:
        return self.error[0]


class Client:
    """One connection, opened again when the registry closes it.

    Args:
        address: host and port.
        token: what GetAuthorizationToken gives; empty: none is shown.
        host: another Host header than the address.
    """

    def __init__(self, address: str, token: str = "", *, host: str = "") -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self.headers = {"Authorization": f"Basic {token}"} if token else {}
        if host:
            self.headers["Host"] = host

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        **query: str | list[str],
    ) -> Answer:
        """`path` may be a Location; a header that is empty is left out. Parameters whose names have a hyphen are given with an underscore."""
        if query:
            fields = urlencode({name.replace("_", "-"): value for name, value in query.items()}, doseq=True)
            path += ("&" if "?" in path else "?") + fields
        sent = {**self.headers, **(headers or {})}
        if body is None and method in ("POST", "PUT", "PATCH"):
            sent.setdefault("Content-Length", "0")
        sent = {name: value for name, value in sent.items() if value}
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.request(method, path, body=body, headers=sent, encode_chunked=chunked)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    # what a push is made of

    def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(data, algorithm)
        begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert begun.status == 202, begun
        done = self.ask("PUT", begun.location, data, digest=digest)
        assert done.status == 201, done
        return digest

    def push_manifest(self, repository: str, reference: str, data: bytes, media_type: str = "", **query: Any) -> Answer:
        kind = media_type or json.loads(data).get("mediaType", OCI_MANIFEST)
        return self.ask("PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": kind}, **query)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def described(data: bytes, media_type: str, algorithm: str = "sha256", /, **more: Any) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **more}


def token_of(ecr: Any, *accounts: str) -> str:
    """What `docker login` would send."""
    given = ecr.get_authorization_token(**({"registryIds": list(accounts)} if accounts else {}))
    token: str = given["authorizationData"][0]["authorizationToken"]
    return token


def header_of(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


# registries of a cloud


class Wire:
    """Requests to the registry of a cloud with one Authorization header."""

    def __init__(self, cloud: CloudThread, token: str = "", *, host: str = "") -> None:
        self._address = cloud.endpoint.partition("://")[2]
        self._token = token
        self._host = host

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Over a connection of its own. Headers are given with underscores."""
        with Client(self._address, self._token, host=self._host) as client:
            return client.ask(method, f"/v2/{path}", body, {name.replace("_", "-"): value for name, value in headers.items()})

    def push_blob(self, repository: str, content: bytes) -> Answer:
        return self.ask(
            "POST", f"{repository}/blobs/uploads/?digest={digest_of(content)}", content, Content_Type="application/octet-stream"
        )

    def push_manifest(self, repository: str, reference: str, manifest: bytes) -> Answer:
        return self.ask("PUT", f"{repository}/manifests/{reference}", manifest, Content_Type=OCI_MANIFEST)

    def push(self, repository: str, tag: str, seed: str = "") -> str:
        """A whole small image; its digest."""
        layer, config = f"layer {seed or tag}".encode(), b"{}"
        for blob in (layer, config):
            assert self.push_blob(repository, blob).status == 201
        manifest = image(config, layer)
        pushed = self.push_manifest(repository, tag, manifest)
        assert pushed.status == 201, pushed
        return digest_of(manifest)


def image(config: bytes, *layers: bytes) -> bytes:
    """A manifest."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(config, OCI_CONFIG),
            "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        }
    ).encode()


def wire_of(cloud: CloudThread, account: str, *, registry: str = "", region: str = REGION) -> Wire:
    """The registry of an account, as somebody of another (or the same) sees it."""
    host = f"{registry or account}.dkr.ecr.{region}.localhost"
    return Wire(cloud, token_of(cloud.client("ecr", key=account, region=region)), host=host)


def password_of(token: str) -> str:
    return base64.b64decode(token).decode().partition(":")[2]
