"""What the data plane keeps of each target group: whose turn it is, how busy everyone is, and connections to the targets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from typing import Any, Literal, cast

from cloudstead.http.upstream import Upstream
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Key, Store
from cloudstead.services.elbv2 import attributes
from cloudstead.services.elbv2.health.checking import Health
from cloudstead.services.elbv2.health.probing import unverified
from cloudstead.services.elbv2.model import LOAD_BALANCERS, TARGET_GROUPS, TARGETS, Target, TargetGroup
from cloudstead.services.elbv2.traffic.choosing import Candidate, Turns, Way, usable
from cloudstead.services.elbv2.traffic.dialing import Dialer, Place

KEPT_CONNECTIONS = 256
KEPT_FOR = 4.0  # seconds without a request; less than the servers of most languages keep a connection (Node.js: 5)
CONNECT_SECONDS = 10.0


class Group:
    """One target group at work."""

    def __init__(self, row: TargetGroup) -> None:
        self.turns = Turns()
        self.upstreams: dict[Key, Upstream] = {}
        self.flows: dict[Key, dict[Any, Callable[[], None]]] = {}  # what ends each connection that is relayed
        self.candidates: list[Candidate] | None = None
        self.learn(row)

    def learn(self, row: TargetGroup) -> None:
        """The row has changed."""

        def read(key: str) -> str:
            return attributes.group_value(row, key)

        self.row = row
        percent = read("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage")
        self.way = Way(
            algorithm=cast(
                Literal["round_robin", "least_outstanding_requests", "weighted_random"],
                read("load_balancing.algorithm.type") or "round_robin",
            ),
            slow_start=float(read("slow_start.duration_seconds") or 0),
            least_healthy=int(read("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count")),
            least_healthy_percent=0 if percent == "off" else int(percent),
        )
        self.sticky = read("stickiness.type") if read("stickiness.enabled") == "true" else ""
        self.cookie_seconds = int(read("stickiness.lb_cookie.duration_seconds") or 0)
        self.app_cookie = read("stickiness.app_cookie.cookie_name")
        self.app_cookie_seconds = int(read("stickiness.app_cookie.duration_seconds") or 0)
        self.proxy_protocol = read("proxy_protocol_v2.enabled") == "true"
        self.cuts_flows = read("deregistration_delay.connection_termination.enabled") == "true"


class Groups:
    """All of them, made when they are first asked for."""

    def __init__(self, store: Store, clock: Clock, dial: Dialer) -> None:
        self._store = store
        self._clock = clock
        self.dial = dial
        self.health: Health
        self.idle: Callable[[Key], object] = lambda key: None  # nothing of a target is under way any more
        self._groups: dict[str, Group] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._unwatch: list[Callable[[], None]] = []

    def start(self) -> None:
        self._unwatch = [self._store.watch(TARGETS, self._target_changed), self._store.watch(TARGET_GROUPS, self._group_changed)]
        self.health.changed = self._forget_candidates

    async def stop(self) -> None:
        for unwatch in self._unwatch:
            unwatch()
        for group in self._groups.values():
            for key in list(group.upstreams):
                self._close(group, key)
        if self._closing:
            await asyncio.wait(self._closing)

    def find(self, key: Key) -> Group | None:
        """
        Args:
            key: account, region and ARN.
        """
        known = self._groups.get(key[2])
        if known is None:
            row = self._store.table(TARGET_GROUPS).get(key)
            if row is None:
                return None
            known = self._groups[key[2]] = Group(row)
        return known

    def choose(self, group: Group, stuck: tuple[str, ...] | None = None, *, excluded: Container[Key] = ()) -> Target | None:
        """The target of the next request.

        Args:
            stuck: the id and port to which a cookie leads; taken if it is still good.
            excluded: targets that have been tried.
        """
        return self._chosen(group, stuck, excluded) or self._chosen(group, stuck, excluded)

    def _chosen(self, group: Group, stuck: tuple[str, ...] | None, excluded: Container[Key]) -> Target | None:
        candidates = [each for each in self._candidates(group) if each.key not in excluded] if excluded else self._candidates(group)
        key = (*group.row.key, *stuck) if stuck is not None else None
        if key is None or not any(each.key == key and each.healthy for each in candidates):
            key = group.turns.choose(candidates, group.way, self._clock.time())
        return None if key is None else self._row(group, key)

    def _row(self, group: Group, key: Key) -> Target | None:
        """A candidate's row. One that is gone was so a moment ago, before anybody was told: who are the candidates is to be asked again."""
        row = self._store.table(TARGETS).get(key)
        if row is None:
            group.candidates = None
        return row

    def hashed(self, group: Group, number: int, excluded: Container[Key] = ()) -> Target | None:
        """The same target for the same number, as long as targets stay the same."""
        among = [each for each in usable(self._candidates(group), group.way) if each.key not in excluded]
        return self._row(group, among[number % len(among)].key) if among else None

    def _candidates(self, group: Group) -> list[Candidate]:
        if group.candidates is None:
            rows = [row for row in self._store.table(TARGETS).scan(group.row.key) if row.leaves is None]
            known = [(row.key, self.health.progress(row.key)) for row in rows]
            # The first targets of a group start at full share: there is nobody to take the rest.
            first = min((found.since for _, found in known if found.state == "healthy"), default=0.0)
            group.candidates = [
                Candidate(key, found.state == "healthy", 0.0 if found.since == first else found.since) for key, found in known
            ]
        return group.candidates

    def place(self, row: Target, port: int = 0) -> Place:
        """Where a target is."""
        group = self._store.table(TARGET_GROUPS).get((row.account, row.region, row.group))
        vpc = group.vpc if group is not None else ""
        if row.id.startswith("arn:"):
            balancer = self._store.table(LOAD_BALANCERS).get((row.account, row.region, row.id))
            return Place("", balancer.address if balancer is not None else "0.0.0.0", port or row.port)
        return Place(vpc, row.ip or row.id, port or row.port)

    def upstream(self, group: Group, row: Target) -> Upstream:
        """The connections to a target."""
        known = group.upstreams.get(row.key)
        if known is None:
            place = self.place(row)
            known = group.upstreams[row.key] = Upstream(
                (place.address, place.port),
                max_idle=KEPT_CONNECTIONS,
                idle_timeout=KEPT_FOR,
                connect_timeout=CONNECT_SECONDS,
                tls=unverified() if group.row.protocol == "HTTPS" else None,
                dial=lambda: self.dial(place),
            )
        return known

    # -- what is under way

    def begin(self, group: Group, row: Target) -> None:
        group.turns.begin(row.key)

    def end(self, group: Group, row: Target) -> None:
        group.turns.end(row.key)
        if row.key not in group.turns.busy:
            self.idle(row.key)

    def busy(self, key: Key) -> int:
        group = self._groups.get(key[2])
        return 0 if group is None else group.turns.busy.get(key, 0)

    def cut(self, key: Key) -> None:
        """A target is gone: end what is still under way to it."""
        group = self._groups.get(key[2])
        if group is None:
            return
        self._close(group, key)
        if group.cuts_flows:
            for end in list(group.flows.pop(key, {}).values()):
                end()

    def _close(self, group: Group, key: Key) -> None:
        upstream = group.upstreams.pop(key, None)
        if upstream is not None:
            task = asyncio.get_running_loop().create_task(upstream.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    # -- what changes

    def _forget_candidates(self, arn: str) -> None:
        group = self._groups.get(arn)
        if group is not None:
            group.candidates = None

    def _target_changed(self, old: Target | None, new: Target | None) -> None:
        for row in (old, new):
            if row is not None:
                self._forget_candidates(row.group)

    def _group_changed(self, old: TargetGroup | None, new: TargetGroup | None) -> None:
        if new is not None:
            if (group := self._groups.get(new.arn)) is not None:
                group.learn(new)
        elif old is not None and (group := self._groups.pop(old.arn, None)) is not None:
            for key in list(group.upstreams):
                self._close(group, key)
