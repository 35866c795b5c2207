"""What a listener of an application load balancer does with one request: find the rule, do what it says."""

from __future__ import annotations

import random

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Key
from cloudstead.services.elbv2.model import FixedResponse, Forward, Redirect, Target
from cloudstead.services.elbv2.traffic import headers, pages, stickiness
from cloudstead.services.elbv2.traffic.choosing import weighted
from cloudstead.services.elbv2.traffic.forwarding import Exchange
from cloudstead.services.elbv2.traffic.groups import Group, Groups
from cloudstead.services.elbv2.traffic.plans import Plan, Plans
from cloudstead.services.elbv2.traffic.routing import Facts, host_of
from cloudstead.services.elbv2.traffic.stickiness import Cookies


class Answering:
    """The handler behind all listeners."""

    def __init__(self, plans: Plans, groups: Groups, cookies: Cookies, clock: Clock, *, chance: random.Random | None = None) -> None:
        self._plans = plans
        self._groups = groups
        self._cookies = cookies
        self._clock = clock
        self._chance = chance or random.Random()

    async def __call__(self, key: Key, request: HttpRequest) -> HttpResponse:
        """
        Args:
            key: of the listener.
        """
        plan = self._plans.find(key)
        if plan is None:
            return pages.page(503)
        if not request.host and request.http_version == "1.1":
            return pages.page(400)
        response = await self._do(plan, request)
        response.headers.extend(plan.added)
        if not plan.server:
            response.headers[:] = [pair for pair in response.headers if pair[0].lower() != "server"] + [("Server", "")]
        return response

    async def _do(self, plan: Plan, request: HttpRequest) -> HttpResponse:
        host = host_of(request.host).lower()
        facts = Facts(request.method, host, request.path, request.query, request.headers, request.peer)
        action = plan.routes.action(facts)
        if isinstance(action, Forward):
            return await self._forward(plan, action, request)
        if isinstance(action, Redirect):
            listener = plan.listener
            return pages.redirect(action, protocol=listener.protocol, host=host, port=listener.port, path=request.path, query=request.query)
        assert isinstance(action, FixedResponse)
        return pages.fixed(action)

    async def _forward(self, plan: Plan, action: Forward, request: HttpRequest) -> HttpResponse:
        now = self._clock.time()
        cookies = stickiness.parsed("; ".join(request.headers.get_all("cookie"))) if "cookie" in request.headers else {}
        arn, given = self._group(plan, action, cookies, now)
        place = (plan.listener.account, plan.listener.region)
        group = self._groups.find((*place, arn)) if arn is not None else None
        if group is None:
            return pages.page(503)
        stuck = self._stuck(group, cookies, now) if group.sticky else None
        target = self._groups.choose(group, stuck)
        if target is None:
            return pages.page(503)
        response = await self._pass(plan, group, target, request, now)
        response.headers.extend(given)
        if group.sticky:
            self._stick(group, target, response, cookies, now)
        return response

    async def _pass(self, plan: Plan, group: Group, target: Target, request: HttpRequest, now: float) -> HttpResponse:
        listener = plan.listener
        client = headers.Client(
            address=request.peer, port=request.peer_port, listener_port=listener.port, protocol=listener.protocol, now=now
        )
        sent = headers.passed_on(request.headers, client, plan.ways)
        self._groups.begin(group, target)
        exchange = Exchange(self._groups.upstream(group, target), self._clock, plan.idle, lambda: self._groups.end(group, target))
        return await exchange(request, sent)

    def _group(self, plan: Plan, action: Forward, cookies: dict[str, str], now: float) -> tuple[str | None, list[tuple[str, str]]]:
        """The target group of a request, and the cookies that say so."""
        if len(action.groups) == 1 and not action.sticky:
            return action.groups[0].arn, []
        weights = [(each.arn, each.weight) for each in action.groups]
        if not action.sticky:
            return weighted(weights, self._chance.random()), []
        scope = plan.listener.arn
        found = self._cookies.read(cookies, stickiness.GROUP, scope, now)
        arn = found[0] if found and any(found[0] == each for each, _ in weights) else weighted(weights, self._chance.random())
        if arn is None:
            return None, []
        return arn, self._cookies.made(stickiness.GROUP, scope, (arn,), action.sticky_seconds or 3600, now)

    def _stuck(self, group: Group, cookies: dict[str, str], now: float) -> tuple[str, ...] | None:
        if group.sticky == "app_cookie":
            if group.app_cookie not in cookies:
                return None
            return self._cookies.read(cookies, stickiness.APPLICATION, group.row.arn, now)
        return self._cookies.read(cookies, stickiness.TARGET, group.row.arn, now)

    def _stick(self, group: Group, target: Target, response: HttpResponse, cookies: dict[str, str], now: float) -> None:
        what = target.key[3:]
        if group.sticky == "lb_cookie":
            response.headers.extend(self._cookies.made(stickiness.TARGET, group.row.arn, what, group.cookie_seconds, now))
        elif group.app_cookie in cookies or stickiness.sets(response.headers, group.app_cookie):
            response.headers.extend(self._cookies.made(stickiness.APPLICATION, group.row.arn, what, group.app_cookie_seconds, now))
