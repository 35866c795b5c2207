"""Opens the sockets that should be there and closes the others; tells load balancers what cannot be had."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from cloudstead.http.limits import Limits
from cloudstead.http.server import BACKLOG, Server
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.reconcile import Controller
from cloudstead.kernel.store import Key
from cloudstead.services.elbv2.model import HTTP, LISTENERS, LOAD_BALANCERS, Forward, LoadBalancer
from cloudstead.services.elbv2.traffic.answering import Answering
from cloudstead.services.elbv2.traffic.choosing import weighted
from cloudstead.services.elbv2.traffic.fronts import Fronts
from cloudstead.services.elbv2.traffic.groups import Group, Groups
from cloudstead.services.elbv2.traffic.plans import Plans
from cloudstead.services.elbv2.traffic.relaying import Relay
from cloudstead.services.elbv2.traffic.sockets import EVERYWHERE, Wanted, wanted

log = logging.getLogger(__name__)

GRACE = 5.0  # seconds for requests that run when their listener goes
RETRY = 15.0  # seconds after which a socket that could not be had is tried again


class Opened(Protocol):
    """What listens on one socket."""

    async def stop(self, grace: float) -> None: ...


class Listening:
    """One controller for all sockets: it looks at everything whenever a load balancer or listener changes."""

    def __init__(self, cloud: Cloud, plans: Plans, groups: Groups, answering: Answering, fronts: Fronts) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self._plans = plans
        self._groups = groups
        self._answering = answering
        self._fronts = fronts
        self._open: dict[tuple[str, int], tuple[Wanted, Opened]] = {}
        self._failed: dict[tuple[str, int], str] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._chance = random.Random()
        self._controller: Controller[str] = Controller(
            "elbv2.listening", self._look, clock=cloud.clock, keys=lambda: ("sockets",), resync=None
        )

    def start(self) -> None:
        self._controller.watch(self._store, LOAD_BALANCERS, lambda row: "sockets")
        self._controller.watch(self._store, LISTENERS, lambda row: "sockets")
        self._controller.start()

    async def stop(self) -> None:
        await self._controller.stop()
        for _, opened in self._open.values():
            self._close(opened)
        self._open.clear()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def settled(self) -> None:
        """All sockets are as the rows say. For tests."""
        await self._controller.settled()

    async def _look(self, _: str) -> float | None:
        balancers = list(self._store.table(LOAD_BALANCERS).scan())
        should = wanted(balancers, self._store.table(LISTENERS).scan(), self._cloud.host)
        for place, (spec, opened) in list(self._open.items()):
            if should.get(place) != spec:
                del self._open[place]
                self._close(opened)
        self._failed.clear()
        for place, spec in should.items():
            if place in self._open:
                self._refresh(spec)
                continue
            try:
                self._open[place] = spec, await self._opened(spec)
            except OSError as error:
                self._failed[place] = error.strerror or str(error)
                (log.debug if spec.shared else log.warning)("%s:%d cannot be listened on: %s", *place, error)
        self._tell(balancers)
        return RETRY if self._failed else None

    def _tell(self, balancers: list[LoadBalancer]) -> None:
        """A load balancer is active once its listeners have been seen to, and says which of them it could not have."""
        with self._store.transaction() as tx:
            for old in balancers:
                row = self._store.table(LOAD_BALANCERS).get(old.key)
                if row is None:
                    continue
                reason = self._reason(row)
                if (row.state, row.reason) != ("active", reason):
                    tx.update(LOAD_BALANCERS, row, state="active", reason=reason)

    def _reason(self, row: LoadBalancer) -> str:
        host = self._cloud.host if self._cloud.host in EVERYWHERE else row.address
        for listener in self._store.table(LISTENERS).scan((row.account, row.region, row.arn), index="by_port"):
            why = self._failed.get((host, listener.port))
            if why is not None:
                return f"{host}:{listener.port} cannot be listened on: {why}"
        return ""

    # -- sockets

    async def _opened(self, spec: Wanted) -> Opened:
        context = self._context(spec)
        if spec.protocol in HTTP:
            handler = partial(self._fronts.by_port, spec.port, spec.protocol) if spec.shared else partial(self._answering, spec.listener)
            server = Server(handler, limits=self._limits(spec))
            await server.listen_tcp(spec.host, spec.port, tls=context)
            return server
        relay = Relay(partial(self._group, spec.listener), self._groups, self._cloud.clock, partial(self._flow_idle, spec.listener))
        try:
            listener = await asyncio.get_running_loop().create_server(
                relay.protocol, spec.host, spec.port, ssl=context, backlog=BACKLOG, reuse_address=True
            )
        except BaseException:
            relay.stop()
            raise
        return _Relaying(relay, listener)

    def _context(self, spec: Wanted) -> ssl.SSLContext | None:
        if spec.policy is None:
            return None
        from cloudstead.services.elbv2.traffic import termination

        return termination.context(self._cloud.data, spec.names, spec.policy)

    def _limits(self, spec: Wanted) -> Limits:
        plan = self._plans.find(spec.listener)
        idle = plan.idle if plan is not None else 60.0
        # A client that closes its side has gone, as far as anybody can tell: its request ends at the target soon, too.
        return Limits(idle_timeout=idle, body_timeout=max(idle, 60.0), write_timeout=max(idle, 60.0), half_closed_timeout=1.0)

    def _refresh(self, spec: Wanted) -> None:
        opened = self._open[spec.place][1]
        if isinstance(opened, Server):
            opened.limits = replace(self._limits(spec), connections=opened.limits.connections)

    def _close(self, opened: Opened) -> None:
        task = asyncio.get_running_loop().create_task(opened.stop(GRACE))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _group(self, listener: Key) -> Group | None:
        """Of the next connection that is relayed."""
        plan = self._plans.find(listener)
        if plan is None or not isinstance(plan.listener.action, Forward):
            return None
        arn = weighted([(each.arn, each.weight) for each in plan.listener.action.groups], self._chance.random())
        return None if arn is None else self._groups.find((*listener[:2], arn))

    def _flow_idle(self, listener: Key) -> float:
        plan = self._plans.find(listener)
        return plan.flow_idle if plan is not None else 350.0


class _Relaying:
    """A socket whose connections are relayed."""

    def __init__(self, relay: Relay, listener: asyncio.Server) -> None:
        self._relay = relay
        self._listener = listener

    async def stop(self, grace: float) -> None:
        self._listener.close()
        self._relay.stop()
