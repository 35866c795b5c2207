"""The tokens of connections, when a connection changes while one is being fetched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import parse_qs

from cloudstead.kernel.clock import SystemClock
from cloudstead.services.events.http_targets import Answer, Http
from cloudstead.services.events.model import Connection


class Slow(Http):
    """Answers with a token that tells the secret it was asked for with, when it may."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may = asyncio.Event()

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        self.asked += 1
        self.was_asked.set()
        secret = parse_qs((body or b"").decode())["client_secret"][0]
        await self.may.wait()
        return Answer(200, {}, json.dumps({"access_token": f"of-{secret}", "expires_in": 3600}).encode())


def connection(secret: str, version: int) -> Connection:
    client = {"ClientID": "id", "ClientSecret": secret}
    return Connection(
        account="000000000000",
        region="us-east-1",
        name="c",
        uid="u",
        secret_uid="s",
        authorization="OAUTH_CLIENT_CREDENTIALS",
        parameters={"OAuthParameters": {"ClientParameters": client, "AuthorizationEndpoint": "http://e/", "HttpMethod": "POST"}},
        state="AUTHORIZED",
        created=0.0,
        modified=0.0,
        version=version,
    )


async def test_a_token_that_arrives_after_its_secret_was_changed_is_not_used() -> None:
    http = Slow()
    old = connection("old", 1)
    fetching = asyncio.create_task(http.authorization(old, 0.0))
    await http.was_asked.wait()
    http.forget(old)  # UpdateConnection
    http.may.set()
    assert await fetching == {"Authorization": "Bearer of-old"}
    assert await http.authorization(connection("new", 2), 0.0) == {"Authorization": "Bearer of-new"}
    assert await http.authorization(connection("new", 3), 0.0) == {"Authorization": "Bearer of-new"}
    assert http.asked == 2
