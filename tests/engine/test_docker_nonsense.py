"""Nonsense in requests about containers: answered with a sentence, never with a failure of ours, and nothing is left of it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from cloudstead.engine.dockerapi.routing import ROUTES
from docker_stage import Connection, staged

OURS = ("/containers", "/exec", "/events", "/info", "/version", "/_ping", "/commit")
VALUES = [
    "",
    "0",
    "1",
    "-1",
    "x",
    "\0",
    "9" * 40,
    "1e9",
    "NaN",
    "true",
    "{}",
    "[]",
    '{"a":["b"]}',
    '{"label":{"a":true}}',
    "\u00e4\U0001f600",
    "/",
    "..",
    "a" * 5000,
]
NAMES = """
    all limit size filters name platform signal t condition h w logs stream stdin stdout stderr detachKeys follow since until timestamps tail
    details ps_args one-shot path noOverwriteDirNonDir copyUIDGID force v link container repo tag comment author pause changes checkpoint scope
""".split()  # noqa: SIM905
BODIES: list[Any] = [
    None,
    {},
    [],
    "x",
    1,
    {"Cmd": "x"},
    {"Cmd": ["true"]},
    {"Tty": "x"},
    {"Memory": -1},
    {"Env": [1]},
    {"ConsoleSize": [1]},
    {"Detach": 5},
]
TURNS = 1500
LONGEST = 1.5  # seconds for an answer's head: streams have one too


async def head(path: Any, method: str, target: str, query: dict[str, str], body: Any) -> int:
    import json
    from urllib.parse import quote, urlencode

    data = b"" if body is None else json.dumps(body).encode()
    connection = await Connection.open(path)
    try:
        line = f"{method} {quote(target, safe='/:{}')}?{urlencode(query)} HTTP/1.1"
        connection.send(f"{line}\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        async with asyncio.timeout(LONGEST):
            return (await connection.head())[0]
    except TimeoutError:
        raise AssertionError(f"no answer to {line} with {body}") from None
    finally:
        await connection.close()


def test_nonsense_is_answered() -> None:
    """Seeded: what fails once fails always."""
    chance = random.Random(41)

    async def test() -> None:
        async with staged() as stage:
            targets = {
                "running": await stage.run("sleep", "100000", name="running"),
                "tty": await stage.run("cat", Tty=True, OpenStdin=True, name="tty"),
                "ended": (await stage.ran("true", name="ended"))[0],
            }
            made = (await stage.post("/containers/running/exec", {"Cmd": ["true"]}, 201))["Id"]
            ids = [*targets, *targets.values(), made, "nosuch", targets["running"][:3], "%00", "a/b", "\u00e4", ""]
            known = [(method, pattern) for method, pattern in ROUTES.all() if pattern.startswith(OURS)]
            seen = set()
            for _ in range(TURNS):
                method, pattern = chance.choice(known)
                target = pattern.replace("{name}", chance.choice(ids)).replace("{id}", chance.choice(ids))
                query = {name: chance.choice(VALUES) for name in chance.sample(NAMES, chance.randrange(6))}
                if pattern.endswith(("/stop", "/restart")):
                    query["t"] = chance.choice(("0", "x"))  # else it takes as long as it is told to
                slow = method == "GET" and pattern.endswith("/stats")  # waits a second between two samples
                status = 200 if slow else await head(stage.path / "docker.sock", method, target, query, chance.choice(BODIES))
                assert status < 500 or status == 501, (method, target, query, status)
                seen.add(status)
            assert seen >= {200, 204, 400, 404, 409}
            for each in list(stage.server.connections):
                each.abort()
            assert stage.api.events.listeners == 0 or await _soon(lambda: stage.api.events.listeners == 0)

    asyncio.run(test())


RAW = [
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff\xfe",
    b'{"Cmd":["\xff"]}',
    b'{"Cmd":["\\ud800"]}',
    b'{"Memory":1e400}',
    b"\0" * 10,
    b'"' + b"a" * 200_000 + b'"',
]


def test_bodies_that_are_no_json_are_refused() -> None:
    async def test() -> None:
        async with staged() as stage:
            await stage.run("sleep", "100000", name="running")
            targets = (
                "/containers/create",
                "/containers/running/exec",
                "/containers/running/update",
                "/networks/create",
                "/volumes/create",
                "/auth",
            )
            for target in targets:
                for body in RAW:
                    connection = await Connection.open(stage.path / "docker.sock")
                    connection.send(
                        f"POST {target} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode()
                        + body
                    )
                    async with asyncio.timeout(LONGEST):
                        assert (await connection.head())[0] in (400, 501), (target, body[:50])
                    await connection.close()

    asyncio.run(test())


async def _soon(true: Any) -> bool:
    for _ in range(200):
        if true():
            return True
        await asyncio.sleep(0.01)
    return False
