"""The registry protocol in a few words, for tests of what ECR makes of it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from typing import Any, NamedTuple

from cloudstead.engine.images import media_types
from support import REGION, CloudThread


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> tuple[str, str]:
        """Code and sentence of a refusal."""
        first = json.loads(self.body)["errors"][0]
        return first["code"], first["message"]


class Wire:
    """Requests to the registry with one Authorization header."""

    def __init__(self, cloud: CloudThread, token: str = "", *, host: str = "") -> None:
        self._address = cloud.endpoint.partition("://")[2]
        self._headers = {"Authorization": f"Basic {token}"} if token else {}
        if host:
            self._headers["Host"] = host

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, f"/v2/{path}", body, {**self._headers, **sent})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def push_blob(self, repository: str, content: bytes) -> Answer:
        return self.ask("POST", f"{repository}/blobs/uploads/?digest={digest(content)}", content, Content_Type="application/octet-stream")

    def push_manifest(self, repository: str, reference: str, manifest: bytes) -> Answer:
        return self.ask("PUT", f"{repository}/manifests/{reference}", manifest, Content_Type=media_types.OCI_MANIFEST)

    def push(self, repository: str, tag: str, seed: str = "") -> str:
        """A whole small image; its digest."""
        layer, config = f"layer {seed or tag}".encode(), b"{}"
        for blob in (layer, config):
            assert self.push_blob(repository, blob).status == 201
        manifest = image(config, layer)
        pushed = self.push_manifest(repository, tag, manifest)
        assert pushed.status == 201, pushed
        return digest(manifest)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def image(config: bytes, *layers: bytes) -> bytes:
    """A manifest."""

    def described(content: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest(content), "size": len(content)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": described(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        }
    ).encode()


def token_of(ecr: Any, *accounts: str) -> str:
    """What `docker login` would send."""
    given = ecr.get_authorization_token(**({"registryIds": list(accounts)} if accounts else {}))
    token: str = given["authorizationData"][0]["authorizationToken"]
    return token


def wire_of(cloud: CloudThread, account: str, *, registry: str = "", region: str = REGION) -> Wire:
    """The registry of an account, as somebody of another (or the same) sees it."""
    host = f"{registry or account}.dkr.ecr.{region}.localhost"
    return Wire(cloud, token_of(cloud.client("ecr", key=account, region=region)), host=host)


def password_of(token: str) -> str:
    return base64.b64decode(token).decode().partition(":")[2]


def header_of(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
