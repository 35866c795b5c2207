"""A registry of other people's, for tests of what pulls from one: in a thread, with token authentication, and with a will to fail."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cloudstead.engine.images import digests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients try TLS first, and go when they are through."""


class UpstreamRegistry:
    """A context manager. `users`: names and passwords; none: everybody is given a token."""

    def __init__(self, users: dict[str, str] | None = None) -> None:
        self.users = users
        self.content: dict[str, tuple[bytes, str]] = {}  # digest or "name:tag" -> bytes, media type
        self.asked: Counter[str] = Counter()  # "GET manifests", "HEAD manifests", "GET blobs", "GET token"
        self.broken = False  # answers 503
        self.lying: set[str] = set()  # digests of blobs that are sent with other bytes
        self.wait = threading.Event()  # blobs are sent when it is set
        self.wait.set()
        self.began = threading.Event()  # a blob was asked for
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                registry._answer(self)

            def do_HEAD(self) -> None:
                registry._answer(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.domain = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> UpstreamRegistry:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait.set()
        self._server.shutdown()
        self._server.server_close()

    def image(self, name: str, text: str, *tags: str) -> str:
        layers = [self.blob(f"layer {text}".encode() * 1000), self.blob(b"shared layer")]
        config = self.blob(f"config {text}".encode())
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer} for layer in layers],
        }
        return self.manifest(name, document, *tags)

    def manifest(self, name: str, document: dict[str, Any], *tags: str) -> str:
        data = json.dumps(document).encode()
        digest = digests.of(data)
        for key in (digest, *(f"{name}:{tag}" for tag in tags)):
            self.content[key] = data, document["mediaType"]
        return digest

    def blob(self, data: bytes) -> dict[str, Any]:
        self.content[digests.of(data)] = data, "application/octet-stream"
        return {"digest": digests.of(data), "size": len(data)}

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        if url.path == "/token":
            self._token(request, parse_qs(url.query))
            return
        kind = "manifests" if "/manifests/" in url.path else "blobs" if "/blobs/" in url.path else "/v2/"
        self.asked[f"{request.command} {kind}"] += 1
        if self.broken:
            self._send(request, 503, b"{}")
        elif request.headers.get("Authorization") != "Bearer good":
            challenge = f'Bearer realm="http://{self.domain}/token",service="upstream"'
            self._send(request, 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}', ("WWW-Authenticate", challenge))
        else:
            self._content(request, url.path.removeprefix("/v2/"), kind)

    def _content(self, request: BaseHTTPRequestHandler, path: str, kind: str) -> None:
        name, _, target = path.partition(f"/{kind}/")
        found = (b"{}", "application/json") if kind == "/v2/" else self.content.get(target if ":" in target else f"{name}:{target}")
        if found is None:
            self._send(request, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            return
        if kind == "blobs":
            self.began.set()
            self.wait.wait(20)
        data = bytes(len(found[0])) if target in self.lying else found[0]
        self._send(request, 200, data, ("Content-Type", found[1]), ("Docker-Content-Digest", digests.of(found[0])))

    def _token(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        self.asked["GET token"] += 1
        shown = b64decode((request.headers.get("Authorization") or "Basic ").partition(" ")[2]).decode()
        user, _, password = shown.partition(":")
        if self.users is not None and (user not in self.users or self.users[user] != password):
            self._send(request, 401, b"{}")
            return
        self._send(request, 200, b'{"token":"good","expires_in":3600}')

    def _send(self, request: BaseHTTPRequestHandler, status: int, data: bytes, *headers: tuple[str, str]) -> None:
        request.send_response(status)
        for header, value in (*headers, ("Content-Length", str(len(data)))):
            request.send_header(header, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)
