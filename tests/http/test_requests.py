"""What the server makes of requests: parsing, framing, pipelining, 100-continue, refusals."""

from __future__ import annotations

import asyncio
import logging

import pytest
from stack import Client, both_loops, echo, get, post, run, serving, talking, until

from cloudstead.http.messages import BodyBroken, BodyTooLong, Headers, HttpRequest, HttpResponse


@both_loops
def test_a_connection_serves_many_requests(loop: str) -> None:
    async def main() -> None:
        async with talking(echo) as client:
            for number in range(20):
                status, headers, body = await client.ask(post(b"x" * number, f"/{number}"))
                assert (status, body) == (200, f"POST /{number} {number} ".encode() + b"x" * number)
                assert headers["server"] == "Cloudstead"
                assert headers["date"].endswith("GMT")
                assert "connection" not in headers

    run(main(), loop)


@both_loops
def test_requests_sent_ahead_are_answered_in_order(loop: str) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.02 if request.path.endswith("0") else 0)
        return await echo(request)

    async def main() -> None:
        async with talking(handler) as client:
            count = 300
            client.send(b"".join(post(b"b" * (n % 7), f"/{n}") if n % 2 else get(f"/{n}") for n in range(count)))
            for number in range(count):
                _, _, body = await client.answer()
                assert body.split()[1] == f"/{number}".encode()

    run(main(), loop)


def test_a_client_that_sends_far_ahead_is_held_back() -> None:
    release = asyncio.Event
    served = 0

    async def main() -> None:
        gate = release()

        async def handler(request: HttpRequest) -> HttpResponse:
            nonlocal served
            served += 1
            await gate.wait()
            return HttpResponse(204)

        async with talking(handler) as client:
            flood = get("/" + "x" * 1000) * 8000
            client.send(flood)
            await asyncio.sleep(0.3)
            assert served == 1
            assert client.writer.transport.get_write_buffer_size() > 0
            gate.set()
            for _ in range(8000):
                assert (await client.answer())[0] == 204

    run(main())


def test_the_request_is_what_the_client_wrote() -> None:
    seen: list[HttpRequest] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    async def main() -> None:
        async with talking(handler) as client:
            await client.ask(get("//a/../b%2Fc/./?x=%20&y=1?2&x", "X-DUP: 1", "x-dup:  2 ", "Accept:", "X-Latin: \xe9"))
            await client.ask(get("http://user@other.example:81/p//q?z", method="DELETE"))
            await client.ask(get("HTTPS://other?z"))
            await client.ask(get("*", method="OPTIONS"))

    run(main())
    first, absolute, bare, star = seen
    assert (first.method, first.target, first.path, first.query) == (
        "GET",
        "//a/../b%2Fc/./?x=%20&y=1?2&x",
        "//a/../b%2Fc/./",
        "x=%20&y=1?2&x",
    )
    assert first.headers.pairs == [("Host", "test"), ("X-DUP", "1"), ("x-dup", "2"), ("Accept", ""), ("X-Latin", "\xe9")]
    assert first.headers.get_all("X-Dup") == ["1", "2"]
    assert (first.peer, first.secure, first.http_version, first.host) == ("127.0.0.1", False, "1.1", "test")
    assert (absolute.host, absolute.path, absolute.query, absolute.method) == ("other.example:81", "/p//q", "z", "DELETE")
    assert (bare.host, bare.path, bare.query) == ("other", "/", "z")
    assert (star.path, star.target) == ("*", "*")


def test_headers_look_up_without_case_and_keep_order() -> None:
    headers = Headers([("Content-Type", "a"), ("content-type", "b"), ("X", "c")])
    assert headers.get("CONTENT-TYPE") == "a"
    assert headers.get("nothing") is None
    assert "x" in headers
    assert list(headers) == [("Content-Type", "a"), ("content-type", "b"), ("X", "c")]
    assert len(headers) == 3


@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_chunked_bodies_and_their_trailers(size: int) -> None:
    seen: list[tuple[bytes, list[tuple[str, str]], Headers]] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        body = await request.read()
        seen.append((body, request.trailers.pairs, request.headers))
        return HttpResponse()

    async def main() -> None:
        wire = (
            get("/", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="PUT")
            + b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n"
        )
        async with talking(handler) as client:
            for at in range(0, len(wire), size):
                client.send(wire[at : at + size])
                await asyncio.sleep(0)
            assert (await client.answer())[0] == 200
            assert (await client.ask(get()))[0] == 200

    run(main())
    body, trailers, headers = seen[0]
    assert body == b"hello world"
    assert trailers == [("X-Sum", "1"), ("Host", "evil")]
    assert headers.get_all("host") == ["test"]


@both_loops
def test_100_continue_is_said_when_the_body_is_first_wanted(loop: str) -> None:
    order: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        order.append("authorised")
        await asyncio.sleep(0.05)
        order.append("reading")
        return await echo(request)

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/", "Content-Length: 5", "Expect: 100-Continue", method="PUT"))
            assert (await client.answer())[0] == 100
            assert order == ["authorised", "reading"]
            assert (await client.ask(b"hello"))[2] == b"PUT / 5 hello"
            assert (await client.ask(get()))[0] == 200  # and the connection goes on

    run(main(), loop)


def test_100_continue_is_not_said_when_the_answer_needs_no_body() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(403)

    async def main() -> None:
        async with talking(handler) as client:
            status, headers, _ = await client.ask(get("/", "Content-Length: 5", "Expect: 100-continue", method="PUT"))
            assert (status, headers["connection"]) == (403, "close")
            assert await client.at_end()

    run(main())


def test_100_continue_is_not_said_to_who_did_not_wait_or_speaks_http_1_0() -> None:
    async def main() -> None:
        async with serving(echo) as (_, port):
            eager = await Client.connect(port)
            assert (await eager.ask(get("/", "Content-Length: 2", "Expect: 100-continue", method="PUT") + b"hi"))[0] == 200
            old = await Client.connect(port)
            old.send(b"PUT / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            await asyncio.sleep(0.05)
            assert (await old.ask(b"hi"))[2] == b"PUT / 2 hi"
            eager.close()
            old.close()

    run(main())


def test_a_body_longer_than_the_reader_allows() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await request.read(limit=10)
        except BodyTooLong as error:
            return HttpResponse(error.status)
        return HttpResponse()

    async def main() -> None:
        async with serving(handler) as (_, port):
            for wire in (post(b"x" * 11), get("/", "Transfer-Encoding: chunked", method="POST") + b"b\r\n01234567890\r\n0\r\n\r\n"):
                client = await Client.connect(port)
                assert (await client.ask(wire))[0] == 413
                client.close()
            client = await Client.connect(port)
            status, headers, _ = await client.ask(get("/", "Content-Length: 999999999999", "Expect: 100-continue", method="POST"))
            assert (status, headers["connection"]) == (413, "close")
            client.close()

    run(main())


def test_a_short_body_that_nobody_reads_is_passed_over() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=request.path.encode())

    async def main() -> None:
        async with talking(handler) as client:
            wire = post(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n" * 20, "/1")
            client.send(wire[:200])
            assert (await client.answer())[2] == b"/1"
            client.send(wire[200:] + get("/2"))
            assert (await client.answer())[2] == b"/2"

    run(main())


def test_a_long_body_that_nobody_reads_closes_and_the_answer_still_arrives() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(403, body=b"no")

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/", "Content-Length: 50000000", method="POST") + b"x" * 3_000_000)
            status, headers, body = await client.answer()
            assert (status, headers["connection"], body) == (403, "close", b"no")
            assert await client.at_end()

    run(main())


def test_http_1_0_closes_unless_asked_to_stay() -> None:
    async def main() -> None:
        async with serving(echo) as (_, port):
            client = await Client.connect(port)
            _, headers, _ = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert headers["connection"] == "keep-alive"
            _, headers, _ = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
            assert headers["connection"] == "close"
            assert await client.at_end()
            client.close()

    run(main())


def test_empty_lines_before_a_request_do_not_matter() -> None:
    async def main() -> None:
        async with talking(echo) as client:
            for _ in range(3):
                assert (await client.ask(b"\r\n\r\n" + get()))[0] == 200

    run(main())


def test_an_upgrade_that_is_not_taken_up_goes_on_as_http() -> None:
    """Java's HttpClient asks for h2c with every first request."""

    async def main() -> None:
        async with talking(echo) as client:
            client.send(get("/1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA") + get("/2"))
            assert (await client.answer())[2].startswith(b"GET /1")
            assert (await client.answer())[2].startswith(b"GET /2")
            assert (await client.ask(get("/3")))[2].startswith(b"GET /3")

    run(main())


def test_an_error_in_the_handler_is_logged_and_answered_with_a_bare_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        raise RuntimeError("a bug")

    async def main() -> None:
        async with talking(handler) as client:
            status, headers, body = await client.ask(get("/x"))
            assert (status, body, headers["connection"]) == (500, b"", "close")

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "a bug" in caplog.text


def test_a_body_that_ends_early_is_told_to_the_reader() -> None:
    seen: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await request.read()
        except BodyBroken as error:
            seen.append(error.message)
            raise
        return HttpResponse()

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/", "Content-Length: 10", method="POST") + b"12345")
            client.writer.write_eof()
            await until(lambda: bool(seen))

    logging.disable(logging.ERROR)
    try:
        run(main())
    finally:
        logging.disable(logging.NOTSET)
