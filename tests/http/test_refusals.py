"""Requests that are refused: what can be read in two ways, bad chunks, heads beyond the caps."""

from __future__ import annotations

import asyncio

import pytest
from stack import echo, get, run, talking

from cloudstead.http.limits import Limits
from cloudstead.http.messages import BodyBroken, HttpRequest, HttpResponse

REFUSED = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, other order": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
    "a signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "a huge length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\nabc",
    "another coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3": b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an unknown method": b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(name: str) -> None:
    called = False

    async def handler(request: HttpRequest) -> HttpResponse:
        nonlocal called
        called = True
        return HttpResponse()

    async def main() -> None:
        async with talking(handler) as client:
            status, headers, _ = await client.ask(REFUSED[name])
            assert (status, headers["connection"]) == (400, "close")
            assert await client.at_end()

    run(main())
    if name not in ("an unknown coding",):
        assert not called


@pytest.mark.parametrize(
    "body", [b"xyz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"3 \r\nabc\r\n", b"3\nabc\r\n"]
)
def test_bad_chunks_are_told_to_the_reader(body: bytes) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            return await echo(request)
        except BodyBroken as error:
            return HttpResponse(error.status, body=b"broken")

    async def main() -> None:
        async with talking(handler) as client:
            status, headers, said = await client.ask(get("/", "Transfer-Encoding: chunked", method="POST") + body)
            assert (status, said, headers["connection"]) == (400, b"broken", "close")
            assert await client.at_end()

    run(main())


def test_the_requests_before_a_bad_one_are_answered_first() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.02)
        return await echo(request)

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/1") + get("/2") + b"NONSENSE\r\n\r\n")
            assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 400]
            assert await client.at_end()

    run(main())


@pytest.mark.parametrize("limit", ["bytes in one field", "bytes in many", "target", "count", "dripping", "trailers", "chunk extension"])
def test_heads_and_trailers_have_caps(limit: str) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            return await echo(request)
        except BodyBroken as error:
            return HttpResponse(error.status)

    chunked = get("/", "Transfer-Encoding: chunked", method="POST")

    async def main() -> None:
        async with talking(handler, limits=Limits()) as client:
            expected = 431
            if limit == "bytes in one field":
                client.send(get("/", "X: " + "x" * 70_000))
            elif limit == "bytes in many":
                client.send(get("/", *[f"X{n}: {'x' * 1000}" for n in range(70)]))
            elif limit == "target":
                client.send(get("/" + "x" * 70_000))
            elif limit == "count":
                client.send(get("/", *[f"X{n}: 1" for n in range(201)]))
            elif limit == "dripping":
                client.send(get()[:-2])
                for _ in range(80):
                    client.send(b"X: " + b"x" * 1000)
                    await asyncio.sleep(0.001)
            else:
                expected = 400
                client.send(chunked + (b"0\r\n" if limit == "trailers" else b"5;"))
                for _ in range(80):
                    client.send(b"X: " + b"x" * 1000)
                    await asyncio.sleep(0.001)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (expected, "close")
            assert await client.at_end()

    run(main())
