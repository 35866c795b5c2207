"""What carries out one operation over one protocol, put together at its first call and kept.

A call looks up one of these instead of asking the registry, the model and the protocol about a dozen things that never change.
"""

from __future__ import annotations

import msgspec

from cloudstead.edge.identify import Target
from cloudstead.edge.protocols import protocol
from cloudstead.edge.protocols.model import Parser, Serializer, ServiceModel
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.errors import NotImplementedHere, UnknownOperation
from cloudstead.kernel.operations import Operation


class Procedure(msgspec.Struct, frozen=True, kw_only=True):
    """Its service is loaded."""

    operation: Operation
    parse: Parser
    serialize: Serializer
    streams_input: bool  # the body is too long to hold, or an event stream


class Procedures:
    """Those of all services that are written here."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._models: dict[str, ServiceModel] = {}
        self._known: dict[tuple[str, str, str], Procedure] = {}  # (service, protocol, operation)

    def model(self, service: str) -> ServiceModel:
        known = self._models.get(service)
        if known is None:
            known = self._models[service] = ServiceModel.load(service)
        return known

    def known(self, target: Target) -> Procedure | None:
        """What answers this, if it has been called before."""
        return self._known.get((target.service, target.protocol, target.operation))

    async def find(self, target: Target) -> Procedure:
        """What answers this; loads its service if need be.

        Raises:
            NotImplementedHere, UnknownOperation
        """
        model, name = self.model(target.service), target.operation
        if target.protocol in ("query", "ec2") and not model.takes_forms:
            raise UnknownOperation("The requested operation is not recognized.")
        operation = None if name in model.absent else self._cloud.registry.operations(target.service).get(name)
        if operation is None:
            if name in model.absent or name in model.operations:
                raise NotImplementedHere(f"{name} of {target.service} is not available in Cloudstead yet.")
            raise UnknownOperation(target.unknown(model))
        await self._cloud.ready(target.service)
        wire = protocol(target.protocol)
        procedure = self._known[target.service, target.protocol, name] = Procedure(
            operation=operation,
            parse=wire.parser(model, name),
            serialize=wire.serializer(model, name),
            streams_input=model.streams_input(name),
        )
        return procedure
