"""What is read from the rows once for many requests: the rules of a listener, compiled, and the attributes of its load balancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from cloudstead.kernel.store import Key, Store
from cloudstead.services.elbv2 import attributes
from cloudstead.services.elbv2.model import LISTENERS, LOAD_BALANCERS, RULES, Listener, LoadBalancer, Rule
from cloudstead.services.elbv2.traffic.headers import Ways
from cloudstead.services.elbv2.traffic.pages import SERVER
from cloudstead.services.elbv2.traffic.routing import Routes

_RESPONSE = "routing.http.response."


class Plan:
    """How one listener answers."""

    def __init__(self, listener: Listener, balancer: LoadBalancer, rules: list[Rule]) -> None:
        def read(key: str) -> str:
            return attributes.balancer_value(balancer, key)

        self.listener = listener
        self.balancer = balancer
        self.routes = Routes(listener, rules)
        self.idle = float(read("idle_timeout.timeout_seconds") or 60)
        self.flow_idle = float(
            attributes.value(attributes.of_listener(listener.protocol), listener.attributes, "tcp.idle_timeout.seconds") or 350
        )
        self.ways = Ways(
            forwarded_for=cast(Literal["append", "preserve", "remove"], read("routing.http.xff_header_processing.mode") or "append"),
            client_port=read("routing.http.xff_client_port.enabled") == "true",
            drop_invalid=read("routing.http.drop_invalid_header_fields.enabled") == "true",
            preserve_host=read("routing.http.preserve_host_header.enabled") == "true",
        )
        known = attributes.of_listener(listener.protocol)
        self.added = [
            ("-".join(part.capitalize() for part in key.removeprefix(_RESPONSE).removesuffix(".header_value").split("_")), value)
            for key, value in attributes.told(known, listener.attributes)
            if key.startswith(_RESPONSE) and key.endswith(".header_value") and value
        ]
        self.server = "" if attributes.value(known, listener.attributes, f"{_RESPONSE}server.enabled") == "false" else SERVER


class Plans:
    """The plans of all listeners, made when they are first asked for and forgotten when a row changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: dict[str, Plan] = {}
        self._unwatch: list[Callable[[], None]] = []

    def start(self) -> None:
        store = self._store
        self._unwatch = [
            store.watch(LISTENERS, self._listener_changed),
            store.watch(RULES, self._rule_changed),
            store.watch(LOAD_BALANCERS, self._balancer_changed),
        ]

    async def stop(self) -> None:
        for unwatch in self._unwatch:
            unwatch()

    def find(self, key: Key) -> Plan | None:
        """
        Args:
            key: account, region and ARN of a listener.
        """
        plan = self._plans.get(key[2])
        if plan is None:
            listener = self._store.table(LISTENERS).get(key)
            balancer = None if listener is None else self._store.table(LOAD_BALANCERS).get((*key[:2], listener.load_balancer))
            if listener is None or balancer is None:
                return None
            rules = self._store.table(RULES).scan(key, index="by_priority")
            plan = self._plans[key[2]] = Plan(listener, balancer, list(rules))
        return plan

    def _listener_changed(self, old: Listener | None, new: Listener | None) -> None:
        for row in (old, new):
            if row is not None:
                self._plans.pop(row.arn, None)

    def _rule_changed(self, old: Rule | None, new: Rule | None) -> None:
        for row in (old, new):
            if row is not None:
                self._plans.pop(row.listener, None)

    def _balancer_changed(self, old: LoadBalancer | None, new: LoadBalancer | None) -> None:
        row = new or old
        assert row is not None
        for arn in [arn for arn, plan in self._plans.items() if plan.balancer.arn == row.arn]:
            del self._plans[arn]
