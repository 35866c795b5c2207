"""Pods: made, connected, removed; and their networks.

A pod has its network from the start of its first container to the end of its last. The end of a container is told at once, the network given
back behind it; a start waits for what is being given back, so that its address and ports are free again.
"""

from __future__ import annotations

import asyncio
import logging
import re

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from cloudstead.engine.network.api import Attachment
from cloudstead.engine.pods import network_files
from cloudstead.engine.pods.base import DriverBase
from cloudstead.engine.pods.records import Container, Pod
from cloudstead.engine.pods.specs import PodSpec
from cloudstead.engine.pods.states import PodStatus
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

log = logging.getLogger(__name__)

POD_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")


class PodLife(DriverBase):
    """Of a Driver, what concerns pods."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._leaving: dict[str, asyncio.Task[None]] = {}  # pods whose network is being given back

    async def create_pod(self, spec: PodSpec) -> None:
        if not POD_ID.fullmatch(spec.id):
            raise InvalidArgument(f"{spec.id!r} is no id for a pod: small letters, digits, '_', '.' and '-'")
        network_files.check(spec.network)
        if spec.network.mode == "pod":
            self.records.pod(spec.network.pod)
        await self.records.add_pod(spec)

    def inspect_pod(self, pod: str) -> PodStatus:
        return self.records.pod(pod).status()

    def list_pods(self, owner: str = "") -> list[PodStatus]:
        return [pod.status() for pod in self.records.pods.values() if not owner or pod.spec.owner == owner]

    async def connect(self, pod: str, attachment: Attachment) -> None:
        await self._apart(self._connect_pod(self.records.pod(pod), attachment))

    async def disconnect(self, pod: str, network: str) -> None:
        await self._apart(self._disconnect_pod(self.records.pod(pod), network))

    async def remove_pod(self, pod: str, *, force: bool = False) -> None:
        found = self.records.pods.get(pod)
        if found is not None:
            await self._apart(self._remove_pod(found, force))

    async def _connect_pod(self, pod: Pod, attachment: Attachment) -> None:
        async with pod.lock:
            network = pod.spec.network
            if network.mode != "vpc":
                raise Conflict(f"the pod {pod.id} cannot be connected: its network is {network.mode!r}")
            if any(other.network == attachment.network for other in network.attachments):
                raise Conflict(f"endpoint with name {pod.id} already exists in network {attachment.network}")
            before = pod.row
            wanted = replace(network, attachments=(*network.attachments, attachment))
            pod.row = replace(before, spec=replace(pod.spec, network=wanted))
            try:
                more = (await self._connect(pod, len(network.attachments)),) if before.joined else ()
            except BaseException:
                pod.row = before
                raise
            self.records.change_pod(pod, interfaces=(*before.interfaces, *more))
        await self.records.settled()
        await self._network_changed(pod)

    async def _disconnect_pod(self, pod: Pod, network: str) -> None:
        async with pod.lock:
            wanted = pod.spec.network
            left = tuple(other for other in wanted.attachments if other.network != network)
            if len(left) == len(wanted.attachments):
                raise NotFound(f"container {pod.id} is not connected to network {network}")
            if pod.row.joined:
                await self._disconnect(pod, network)
            interfaces = tuple(interface for interface in pod.row.interfaces if interface.network != network)
            self.records.change_pod(pod, spec=replace(pod.spec, network=replace(wanted, attachments=left)), interfaces=interfaces)
        await self.records.settled()
        await self._network_changed(pod)

    async def _network_changed(self, pod: Pod) -> None:
        """The attachments of a pod are others now; its containers may need to be told."""

    async def _remove_pod(self, pod: Pod, force: bool) -> None:
        if pod.alive and not force:
            raise Conflict(f"a container of the pod {pod.id} runs")
        pod.closing = True
        try:
            for container in list(pod.containers.values()):
                await self._remove(container, force)
            await self._leave_if_idle(pod)
            await self._discard_pod(pod)
        finally:
            pod.closing = False
        if self.records.pods.get(pod.id) is pod:
            await self.records.remove_pod(pod)

    async def _remove(self, container: Container, force: bool) -> None:
        """Remove a container; the caller sees to it that this is durable."""
        raise NotImplementedError

    # the network

    async def _join(self, pod: Pod) -> None:
        while self._leaving:
            await asyncio.wait(list(self._leaving.values()))
        async with pod.lock:
            if pod.row.joined:
                return
            self.records.change_pod(pod, joined=True)  # so that what is half made is given back
            interfaces, ports = await self._join_network(pod)
            self.records.change_pod(pod, interfaces=interfaces, ports=ports)

    def _leave_later(self, pod: Pod) -> None:
        if pod.id not in self._leaving and pod.row.joined:
            task = self._leaving[pod.id] = self._spawn(self._leave_if_idle(pod))
            task.add_done_callback(lambda _: self._leaving.pop(pod.id, None))

    async def _leave_if_idle(self, pod: Pod) -> None:
        async with pod.lock:
            if pod.alive or pod.starting or not pod.row.joined:
                return
            try:
                await self._leave_network(pod)
            except EngineError as error:  # the sweeper tries again
                log.warning("the network of pod %s cannot be given back now: %s", pod.id, error)
                return
            self.records.change_pod(pod, joined=False, interfaces=(), ports=())
