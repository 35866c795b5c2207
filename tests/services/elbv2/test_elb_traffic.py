"""The data plane of application load balancers, against small servers: what arrives, what comes back, what happens when something breaks."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from balanced import client, echo, forward, get, named, text_of, world

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.upgrade import RawStream
from cloudstead.kernel.clock import SystemClock
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.health.probing import probe
from cloudstead.services.elbv2.health.states import FAILED, HEALTHY, TIMEOUT, mismatch
from cloudstead.services.elbv2.model import TARGETS, HealthCheck
from cloudstead.services.elbv2.traffic.dialing import Place


async def test_a_request_reaches_a_target_with_the_headers_that_tell_of_the_client(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        await lb.register(group, await lb.serve("echo", echo))
        async with client(lb.address, port) as upstream:
            response = await upstream.send("POST", "/a%20b?x=%2F", [("Host", "shop.example"), ("X-Forwarded-For", "9.9.9.9")], b"hello")
            told = json.loads(await response.read())
        assert (told["method"], told["target"], told["body"]) == ("POST", "/a%20b?x=%2F", "hello")
        assert told["headers"]["Host"] == f"shop.example:{port}"
        assert told["headers"]["X-Forwarded-For"] == "9.9.9.9, 127.0.0.1"
        assert told["headers"]["X-Forwarded-Port"] == str(port)
        assert told["headers"]["X-Forwarded-Proto"] == "http"
        assert told["headers"]["X-Amzn-Trace-Id"].startswith("Root=1-")


async def test_targets_take_turns_and_connections_are_kept(tmp_path: Path) -> None:
    peers: set[tuple[str, int]] = set()

    async def handler(request: HttpRequest) -> HttpResponse:
        if request.headers.get("user-agent") != "ELB-HealthChecker/2.0":
            peers.add((request.peer, request.peer_port))
        return HttpResponse(200, [], b"a")

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        await lb.register(group, await lb.serve("a", handler), await lb.serve("b", named("b")))
        async with client(lb.address, port) as upstream:
            answers = [await (await upstream.send("GET", "/")).read() for _ in range(20)]
        assert sorted(answers) == [b"a"] * 10 + [b"b"] * 10
        assert len(peers) == 1


async def test_rules_send_requests_to_their_groups_or_answer_themselves(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        one, two = await lb.group("one"), await lb.group("two")
        listener, port = await lb.listen(forward(one))
        fixed = api.FixedResponseActionConfig(status_code="418", content_type="text/plain", message_body="teapot")
        redirect = api.RedirectActionConfig(protocol="HTTPS", port="443", host="www.#{host}", status_code="HTTP_301")
        for priority, pattern, action in (
            (1, "/two/*", forward(two)),
            (2, "/tea", api.Action(type="fixed-response", fixed_response_config=fixed)),
            (3, "/old/*", api.Action(type="redirect", redirect_config=redirect)),
        ):
            condition = api.RuleCondition(field="path-pattern", values=[pattern])
            await lb.call(api.CreateRuleRequest(listener_arn=listener, priority=priority, conditions=[condition], actions=[action]))
        await lb.register(one, await lb.serve("one", named("one")))
        await lb.register(two, await lb.serve("two", named("two")))
        assert text_of(await get(port, lb.address, "/")) == "one"
        assert text_of(await get(port, lb.address, "/two/x?y")) == "two"
        tea = await get(port, lb.address, "/tea")
        assert (tea.status, text_of(tea), tea.headers.get("server")) == (418, "teapot", "awselb/2.0")
        moved = await get(port, lb.address, "/old/x?y=1", host="a.example:80")
        assert (moved.status, moved.headers.get("location")) == (301, "https://www.a.example:443/old/x?y=1")


async def test_a_name_below_elb_localhost_leads_to_its_load_balancer_from_shared_addresses(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        fixed = api.FixedResponseActionConfig(status_code="200", message_body="here")
        _, port = await lb.listen(api.Action(type="fixed-response", fixed_response_config=fixed))
        name = str(lb.balancer.dns_name)
        assert text_of(await get(port, "127.0.0.1", host=f"{name}:{port}")) == "here"
        assert text_of(await get(port, "127.0.0.1", host="unheard.example")) == "here"  # there is no other
        edge = await lb.balancing.at_the_edge(HttpRequest.of("GET", "/", [("Host", f"{name.upper()}:4566")]))
        assert edge.body == b"here"
        absent = await lb.balancing.at_the_edge(HttpRequest.of("GET", "/", [("Host", "gone-1.us-east-1.elb.localhost")]))
        assert absent.status == 404


async def test_without_targets_it_is_503_and_without_a_server_502(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        empty = await get(port, lb.address)
        assert (empty.status, empty.headers.get("server")) == (503, "awselb/2.0")
        assert "<h1>503 Service Temporarily Unavailable</h1>" in text_of(empty)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            lb.routes["172.31.9.99", 80] = closed.getsockname()[1]
            await lb.register(group, "172.31.9.99", healthy=False)
            refused = await get(port, lb.address)
        assert (refused.status, "<h1>502 Bad Gateway</h1>" in text_of(refused)) == (502, True)


async def test_a_target_that_breaks_off_is_502_and_one_that_is_too_slow_504(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def slow(request: HttpRequest) -> HttpResponse:
        if request.path == "/slow":
            await hold.wait()
        return HttpResponse(200)

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" if b"ELB-Health" in head else b"HTTP/1.1 200 OK\r\nConte")
        await writer.drain()
        writer.close()

    async with world(tmp_path) as lb:
        one, two = await lb.group("one"), await lb.group("two")
        _, first = await lb.listen(forward(one))
        _, second = await lb.listen(forward(two))
        server = await asyncio.start_server(rude, "127.0.0.1", 0)
        lb.routes["172.31.9.50", 80] = server.sockets[0].getsockname()[1]
        idle = [api.LoadBalancerAttribute(key="idle_timeout.timeout_seconds", value="1")]
        await lb.call(api.ModifyLoadBalancerAttributesRequest(load_balancer_arn=str(lb.balancer.load_balancer_arn), attributes=idle))
        await lb.register(one, "172.31.9.50")
        await lb.register(two, await lb.serve("slow", slow))
        assert (await get(first, lb.address)).status == 502
        late = await get(second, lb.address, "/slow")
        assert (late.status, "504 Gateway Time-out" in text_of(late)) == (504, True)
        assert (await get(second, lb.address)).status == 200
        hold.set()
        server.close()


async def test_long_bodies_stream_both_ways(tmp_path: Path) -> None:
    size, piece = 24 << 20, bytes(1 << 16)

    async def mirror(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], request.stream()) if request.method == "POST" else HttpResponse(200)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        await lb.register(group, await lb.serve("mirror", mirror))
        async with client(lb.address, port) as upstream:
            response = await upstream.send("POST", "/", [], body())
            received = 0
            async for each in response:
                received += len(each)
        assert received == size
        assert lb.balancing.groups.busy(lb.key(group, "172.31.9.1")) == 0


async def test_a_client_that_leaves_ends_its_request_at_the_target(tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever(request: HttpRequest) -> HttpResponse:
        if request.path != "/wait":
            return HttpResponse(200)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return HttpResponse(200)

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        await lb.register(group, await lb.serve("forever", forever))
        _, writer = await asyncio.open_connection(lb.address, port)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await begun.wait()
        writer.close()
        await asyncio.wait_for(ended.wait(), 20)
        await lb.until_idle(group, "172.31.9.1")


async def test_a_websocket_is_passed_through(tmp_path: Path) -> None:
    async def socket_server(request: HttpRequest) -> HttpResponse:
        async def talk(raw: RawStream) -> None:
            while piece := await raw.read():
                await raw.write(piece.upper())

        if request.headers.get("upgrade") is None:
            return HttpResponse(200)
        return HttpResponse(101, [("Connection", "Upgrade"), ("Upgrade", "websocket")], upgrade=talk)

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        await lb.register(group, await lb.serve("socket", socket_server))
        async with client(lb.address, port) as upstream:
            response = await upstream.send("GET", "/", [("Connection", "Upgrade"), ("Upgrade", "websocket")], upgrade=True)
            assert response.status == 101
            assert response.raw is not None
            for word in (b"hello", b"again"):
                await response.raw.write(word)
                assert await response.raw.read() == word.upper()
            response.raw.write_eof()
            assert await response.raw.read() == b""
        await lb.until_idle(group, "172.31.9.1")


async def test_a_request_that_two_servers_could_read_differently_goes_no_further(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(request.path)
        return HttpResponse(200)

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        await lb.register(group, await lb.serve("one", handler))
        seen.clear()
        for head in (
            b"POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
            b"POST /smuggled HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(lb.address, port)
            writer.write(head)
            assert (await reader.read(12)).startswith(b"HTTP/1.1 4")
            writer.close()
        assert "/smuggled" not in seen


async def test_cookies_bring_a_client_back_to_its_target(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        group = await lb.group()
        await lb.attributes(group, stickiness__enabled="true", stickiness__type="lb_cookie")
        _, port = await lb.listen(forward(group))
        targets = [await lb.serve(str(at), named(str(at))) for at in range(3)]
        await lb.register(group, *targets)
        first = await get(port, lb.address)
        cookie = str(first.headers.get("set-cookie")).partition(";")[0]
        assert cookie.startswith("AWSALB=")
        again = [text_of(await get(port, lb.address, headers=[("Cookie", f"a=b; {cookie}")])) for _ in range(6)]
        assert set(again) == {text_of(first)}
        forged = [text_of(await get(port, lb.address, headers=[("Cookie", cookie[:-4] + "AAAA")])) for _ in range(6)]
        assert len(set(forged)) == 3
        await lb.deregister(group, targets[int(text_of(first))])
        assert text_of(await get(port, lb.address, headers=[("Cookie", cookie)])) != text_of(first)


async def test_an_applications_own_cookie_makes_a_client_stick(tmp_path: Path) -> None:
    def handler(name: str) -> Any:
        async def answer(request: HttpRequest) -> HttpResponse:
            headers = [("Set-Cookie", "SESSION=1; Path=/")] if request.path == "/login" else []
            return HttpResponse(200, headers, name.encode())

        return answer

    async with world(tmp_path) as lb:
        group = await lb.group()
        await lb.attributes(group, stickiness__enabled="true", stickiness__type="app_cookie", stickiness__app_cookie__cookie_name="SESSION")
        _, port = await lb.listen(forward(group))
        await lb.register(group, *[await lb.serve(str(at), handler(str(at))) for at in range(3)])
        assert (await get(port, lb.address)).headers.get("set-cookie") is None
        login = await get(port, lb.address, "/login")
        cookies = "; ".join(each.partition(";")[0] for each in login.headers.get_all("set-cookie"))
        assert "AWSALBAPP-0=" in cookies
        assert {text_of(await get(port, lb.address, headers=[("Cookie", cookies)])) for _ in range(6)} == {text_of(login)}


async def test_weights_share_requests_between_groups_and_a_cookie_keeps_a_client_at_one(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        one, two = await lb.group("one"), await lb.group("two")
        _, port = await lb.listen(forward(one, two, weights=(1, 1), sticky=60))
        await lb.register(one, await lb.serve("one", named("one")))
        await lb.register(two, await lb.serve("two", named("two")))
        found = [await get(port, lb.address) for _ in range(40)]
        assert {text_of(each) for each in found} == {"one", "two"}
        cookie = str(found[0].headers.get("set-cookie")).partition(";")[0]
        assert cookie.startswith("AWSALBTG=")
        again = {text_of(await get(port, lb.address, headers=[("Cookie", cookie)])) for _ in range(10)}
        assert again == {text_of(found[0])}


async def test_what_runs_on_a_leaving_target_ends_well_and_new_requests_go_elsewhere(tmp_path: Path) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(request: HttpRequest) -> HttpResponse:
        if request.path == "/slow":
            begun.set()
            await finish.wait()
        return HttpResponse(200, [], b"old")

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        old = await lb.serve("old", slow)
        await lb.register(group, old)
        running = asyncio.create_task(get(port, lb.address, "/slow"))
        await begun.wait()
        await lb.register(group, await lb.serve("new", named("new")))
        await lb.deregister(group, old)
        assert await lb.states(group, old) == {old: "draining"}
        assert {text_of(await get(port, lb.address)) for _ in range(5)} == {"new"}
        finish.set()
        assert text_of(await running) == "old"
        await lb.until_state(group, "unused", old)  # gone at once, long before the delay of 300 s


async def test_the_delay_over_a_request_is_cut(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def forever(request: HttpRequest) -> HttpResponse:
        if request.path == "/wait":
            begun.set()
            await asyncio.Event().wait()
        return HttpResponse(200)

    async with world(tmp_path) as lb:
        group = await lb.group()
        await lb.attributes(group, deregistration_delay__timeout_seconds="1")
        _, port = await lb.listen(forward(group))
        target = await lb.serve("forever", forever)
        await lb.register(group, target)
        running = asyncio.create_task(get(port, lb.address, "/wait"))
        await begun.wait()
        await lb.deregister(group, target)
        assert (await asyncio.wait_for(running, 20)).status == 502
        await lb.until_state(group, "unused", target)


async def test_rolling_all_targets_under_load_fails_no_request(tmp_path: Path) -> None:
    """New targets are registered and healthy before old ones are deregistered, drained, and stopped: the order in which ECS does it."""
    statuses: dict[int, int] = {}
    stop = False

    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        current = [await lb.serve("v0", named("v0")) for _ in range(2)]
        await lb.register(group, *current)

        async def load() -> None:
            async with client(lb.address, port) as upstream:
                while not stop:
                    response = await upstream.send("POST", "/", [], b"x")  # not to be sent a second time by anybody
                    await response.read()
                    statuses[response.status] = statuses.get(response.status, 0) + 1

        loads = [asyncio.create_task(load()) for _ in range(8)]
        for version in range(1, 4):
            fresh = [await lb.serve(f"v{version}", named(f"v{version}")) for _ in range(2)]
            await lb.register(group, *fresh)
            await lb.deregister(group, *current)
            await lb.until_state(group, "unused", *current)
            for address in current:
                await lb.servers[address].stop(0.0)
            current = fresh
        stop = True
        await asyncio.gather(*loads)
    assert set(statuses) == {200}
    assert statuses[200] > 100


async def test_a_target_that_fails_its_checks_gets_nothing_more(tmp_path: Path) -> None:
    async with world(tmp_path) as lb:
        group = await lb.group(unhealthy_threshold_count=2)
        _, port = await lb.listen(forward(group))
        sick, well = await lb.serve("sick", named("sick")), await lb.serve("well", named("well"))
        await lb.register(group, sick, well)
        check = HealthCheck(protocol="HTTP", path="/", matcher="200", unhealthy=2)
        lb.balancing.health.learn(lb.key(group, sick), mismatch(500), check)
        assert {text_of(await get(port, lb.address)) for _ in range(6)} == {"sick", "well"}
        lb.balancing.health.learn(lb.key(group, sick), mismatch(500), check)
        assert {text_of(await get(port, lb.address)) for _ in range(6)} == {"well"}
        assert await lb.states(group) == {sick: "unhealthy", well: "healthy"}


async def test_a_check_says_how_a_target_did(tmp_path: Path) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/hang":
            await asyncio.Event().wait()
        return HttpResponse(int(request.path[1:]))

    async with world(tmp_path) as lb:
        await lb.serve("one", handler)
        clock = SystemClock()
        here, nowhere = Place("", "172.31.9.1", 80), Place("", "127.0.0.1", 1)

        def check(path: str, **more: Any) -> HealthCheck:
            return HealthCheck(protocol="HTTP", path=path, matcher="200-299", **more)

        assert await probe(here, check("/204"), lb.dial, clock) == HEALTHY
        assert await probe(here, check("/500"), lb.dial, clock) == mismatch(500)
        assert await probe(here, check("/hang", timeout=1), lb.dial, clock) == TIMEOUT
        assert await probe(nowhere, check("/200"), lb.dial, clock) == FAILED
        assert await probe(here, HealthCheck(protocol="TCP"), lb.dial, clock) == HEALTHY
        assert await probe(nowhere, HealthCheck(protocol="TCP"), lb.dial, clock) == FAILED


async def test_a_target_that_went_before_anybody_was_told_is_not_missed(tmp_path: Path) -> None:
    """Rows change when a transaction ends; watchers hear of it when it is on the disk. Requests come in between."""
    async with world(tmp_path) as lb:
        group = await lb.group()
        _, port = await lb.listen(forward(group))
        old, new = await lb.serve("old", named("old")), await lb.serve("new", named("new"))
        await lb.register(group, old, new)
        assert {text_of(await get(port, lb.address)) for _ in range(4)} == {"old", "new"}
        found = lb.balancing.groups.find(("000000000000", "us-east-1", group))
        assert found is not None
        with lb.cloud.store.transaction() as tx:
            tx.delete(TARGETS, lb.key(group, old))
        chosen = [lb.balancing.groups.choose(found) for _ in range(4)]
        assert {each.id for each in chosen if each is not None} == {new}
        assert None not in chosen
