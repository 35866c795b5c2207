"""Which listener a request is for that came to an address shared by several load balancers: its host tells.

Names below `elb.localhost` lead to 127.0.0.1 wherever they resolve (curl and browsers know so themselves), so every port on which some load balancer
listens is opened there too, where it is free; and the edge's own port passes on what asks for such a name.
"""

from __future__ import annotations

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.store import Store
from cloudstead.services.elbv2.model import HTTP, LISTENERS, LOAD_BALANCERS, Listener, LoadBalancer
from cloudstead.services.elbv2.traffic.answering import Answering
from cloudstead.services.elbv2.traffic.pages import page
from cloudstead.services.elbv2.traffic.routing import host_of


class Fronts:
    def __init__(self, store: Store, answering: Answering) -> None:
        self._store = store
        self._answering = answering

    async def by_port(self, port: int, protocol: str, request: HttpRequest) -> HttpResponse:
        """A request that came to a shared address. Who asks for a host that is no load balancer's means the only one that there is on this port."""
        balancer = self._balancer(request)
        there = [row for row in self._store.table(LISTENERS).scan((port,), index="on_port") if row.protocol == protocol]
        if balancer is not None:
            there = [row for row in there if row.load_balancer == balancer.arn]
        if len(there) == 1:
            return await self._answering(there[0].key, request)
        if there:
            return page(404, f"{len(there)} load balancers listen on port {port}: ask for one by its DNS name or address.")
        return page(404, f"This load balancer has no listener on port {port}.")

    async def at_the_edge(self, request: HttpRequest) -> HttpResponse:
        """A request that came to the edge's port and asks for a load balancer: for its port 80 if it listens there, else the lowest."""
        balancer = self._balancer(request)
        if balancer is None:
            return page(404, "There is no load balancer of this name.")
        listener = self._first(balancer)
        if listener is None:
            return page(404, "This load balancer has no listener for HTTP.")
        return await self._answering(listener.key, request)

    def _first(self, balancer: LoadBalancer) -> Listener | None:
        rows = self._store.table(LISTENERS).scan((balancer.account, balancer.region, balancer.arn), index="by_port")
        spoken = [row for row in rows if row.protocol in HTTP]
        return next((row for row in spoken if row.port == 80), spoken[0] if spoken else None)

    def _balancer(self, request: HttpRequest) -> LoadBalancer | None:
        host = host_of(request.host).lower().rstrip(".")
        table = self._store.table(LOAD_BALANCERS)
        return table.find("by_host", (host,)) or table.find("by_address", (host,))
