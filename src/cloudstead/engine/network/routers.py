"""Which networks there are on the host, and what the daemon has open in their routers.

A network is made there when the first pod (or the first who listens) needs it. Then its name server begins. What listens is known here only:
after a restart of the daemon each service listens again, and addresses at which nobody does are taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import defaultdict
from typing import Literal

from cloudstead.engine.errors import EngineError, Failed, InvalidArgument, NotFound
from cloudstead.engine.host.channel import close_all
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.network import commands, specs
from cloudstead.engine.network.addresses import address_of
from cloudstead.engine.network.commands import Listening
from cloudstead.engine.network.dns_forwarding import Dialer, Forwarder
from cloudstead.engine.network.names import NameServer
from cloudstead.engine.network.records import Records
from cloudstead.kernel.clock import Clock

log = logging.getLogger("cloudstead.engine.network")

CONNECT_SECONDS = 10.0
DNS_PORT = 53


class Routers:
    def __init__(self, records: Records, clock: Clock, host: HostClient, forwarder: Forwarder) -> None:
        self._records = records
        self._clock = clock
        self._host = host
        self._made: set[str] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._listening: defaultdict[str, dict[Listening, None]] = defaultdict(dict)
        self.names = NameServer(records, clock, self._dialer, forwarder)
        self.in_use: tuple[str, ...] = ()  # of the host's addresses, as it told last

    def is_made(self, network: str) -> bool:
        return network in self._made

    async def restore(self) -> None:
        """Tell the host everything; networks that it has already get their name servers."""
        setups = tuple(self._records.setup(row.id, self._listening[row.id]) for row in self._records.networks())
        restored = await self._host.call(commands.RestoreNetworks(networks=setups))
        for sentence in restored.said:
            log.warning("%s", sentence)
        self.in_use = restored.in_use
        self._made = {row.id for row in self._records.networks() if row.slot in restored.made}
        for network in sorted(self._made):
            try:
                await self._open_name_server(network)
            except EngineError as error:
                log.error("network %s has no name server: %s", network, error)

    async def refresh(self) -> None:
        self.in_use = await self._host.call(commands.HostCidrs())

    async def close(self) -> None:
        await self.names.close()
        self._made.clear()
        self._listening.clear()

    async def ensure(self, network: str) -> int:
        """Make it if it is not there; its slot."""
        if network not in self._made:
            async with self._locks[network]:
                if network not in self._made:
                    await self._configure(network)
                    self._made.add(network)
                    await self._open_name_server(network)
        return self._records.network(network).slot

    async def configure(self, network: str) -> None:
        """It has changed."""
        async with self._locks[network]:
            if network in self._made:
                wanted = set(specs.name_server_addresses(self._records.network(network).spec))
                for one in [one for one in self._listening[network] if one.port == DNS_PORT and one.ip not in wanted]:
                    self.names.stop(network, one.ip)
                    del self._listening[network][one]
                await self._configure(network)
                await self._open_name_server(network)

    async def _configure(self, network: str) -> None:
        setup = self._records.setup(network, self._listening[network])
        for sentence in await self._host.call(commands.ConfigureNetwork(network=setup)):
            log.warning("%s", sentence)

    async def filter(self, network: str) -> None:
        if network in self._made:
            await self._host.call(commands.FilterNetwork(network=self._records.setup(network, self._listening[network])))

    async def remove(self, network: str, slot: int) -> None:
        async with self._locks[network]:
            self.names.stop(network)
            self._listening.pop(network, None)
            if network in self._made:
                self._made.discard(network)
                await self._host.call(commands.RemoveNetwork(slot=slot))
        self._locks.pop(network, None)

    # ------------------------------------------------------------------------------------------------------------ sockets

    async def listen(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"]) -> int:
        specs.check_listening(self._records.network(network).spec, address, port)
        await self.ensure(network)
        (descriptor,) = await self._listen(network, [Listening(ip=address, port=port, protocol=kind)])
        return descriptor

    async def stop_listening(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"]) -> None:
        one = Listening(ip=address, port=port, protocol=kind)
        if one in self._listening[network]:
            del self._listening[network][one]
            with contextlib.suppress(NotFound):
                await self._host.call(commands.StopListening(slot=self._records.network(network).slot, socket=one))

    async def _listen(self, network: str, wanted: list[Listening]) -> list[int]:
        slot = self._records.network(network).slot
        _, descriptors = await self._host.call_with_descriptors(commands.Listen(slot=slot, sockets=tuple(wanted)))
        if len(descriptors) != len(wanted):
            close_all(descriptors)
            raise Failed("the engine host gave the wrong number of sockets")
        self._listening[network].update(dict.fromkeys(wanted))
        return descriptors

    async def _open_name_server(self, network: str) -> None:
        addresses = specs.name_server_addresses(self._records.network(network).spec)
        wanted = [Listening(ip=ip, port=DNS_PORT, protocol=kind) for ip in addresses for kind in ("udp", "tcp")]
        lacking = [one for one in wanted if one not in self._listening[network]]
        if lacking:
            for at in range(0, len(lacking), 32):
                some = lacking[at : at + 32]
                descriptors = await self._listen(network, some)
                await self.names.serve(network, [(one.ip, socket.socket(fileno=fd)) for one, fd in zip(some, descriptors, strict=True)])

    async def dial(self, network: str, address: str, port: int) -> int:
        """Connected, or refused with the reason."""
        if not 1 <= port <= 65535:
            raise InvalidArgument(f"{port} is no port")
        ip = str(address_of(address))
        slot = await self.ensure(network)
        _, descriptors = await self._host.call_with_descriptors(commands.Dial(slot=slot, ip=ip, port=port))
        return await self.connected(descriptors[0], f"{ip}:{port}")

    async def connected(self, descriptor: int, where: str) -> int:
        """A socket that is being connected, when it is; it is closed when it cannot be."""
        with socket.socket(fileno=descriptor) as sock:
            await self._wait(sock, where)
            return sock.detach()

    async def _wait(self, sock: socket.socket, where: str) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def ready() -> None:
            if not waiter.done():
                waiter.set_result(None)

        loop.add_writer(sock.fileno(), ready)
        try:
            async with self._clock.timeout(CONNECT_SECONDS):
                await waiter
        except TimeoutError:
            raise Failed(f"dial tcp {where}: no answer within {CONNECT_SECONDS:g} seconds") from None
        finally:
            loop.remove_writer(sock.fileno())
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise Failed(f"dial tcp {where}: {os.strerror(number).lower()}")

    def _dialer(self, network: str) -> Dialer:
        """Name servers that a pod was given are asked from its network's router, which reaches what the pod reaches."""

        async def dial(server: str) -> socket.socket:
            slot = self._records.network(network).slot
            command = commands.Dial(slot=slot, ip=server, port=DNS_PORT, protocol="udp")
            _, descriptors = await self._host.call_with_descriptors(command)
            return socket.socket(fileno=descriptors[0])

        return dial
