"""What a handler is given: who calls, for which account and region, and the parts of the cloud it may use.

A `Cloud` is one running Cloudstead: made once by the daemon (or a test). A `Context` is one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cloudstead.kernel import identity as identities
from cloudstead.kernel.errors import NotImplementedHere
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.ids import request_id
from cloudstead.kernel.operations import ConditionValue, Operation, Registry, Service
from cloudstead.kernel.shapes import Request

if TYPE_CHECKING:
    from cloudstead.kernel.clock import Clock
    from cloudstead.kernel.events import Bus
    from cloudstead.kernel.store import Row, Store, Table, TableView, Transaction


class Authorizer(Protocol):
    """Decides whether a caller may do a thing. The edge implements it over kernel.policy; the daemon wires the two."""

    @property
    def idle(self) -> bool:
        """Whether `check` and `require` let everything pass: IAM is off."""
        ...

    def check(self, ctx: Context, operation: Operation, request: Request) -> None:
        """Raises AccessDenied when policies refuse the call."""

    def require(self, ctx: Context, action: str, resource: str, conditions: Mapping[str, ConditionValue]) -> None:
        """Raises AccessDenied when policies refuse a further action that a call implies, such as iam:PassRole.

        Args:
            resource: an ARN or "*"; empty when it is not known, and then any that the policies name is taken for it.
        """

    def admit(
        self, ctx: Context, action: str, resource: str, policy: str | None, conditions: Mapping[str, ConditionValue], *, provider: str = ""
    ) -> None:
        """Raises AccessDenied unless a policy of the resource lets the caller in: the trust policy of a role.

        Args:
            policy: its document; None when there is no such resource.
            provider: the identity provider that vouches for a caller who has no other identity.
        """

    def admit_outsider(self, ctx: Context, action: str, resource: str, policy: str | None) -> None:
        """Raises AccessDenied unless the policy of a resource lets in a caller of another account. Asked in every mode: where IAM is off,
        accounts are apart all the same.

        Args:
            resource: its ARN, with the account that it belongs to.
        """


class Companion(Protocol):
    """The services that are not written here. `call` is one operation over botocore's JSON names, as a client would get it."""

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]: ...


class Cloud:
    """One running Cloudstead."""

    def __init__(
        self,
        *,
        data: Path,
        store: Store,
        clock: Clock,
        bus: Bus,
        registry: Registry,
        endpoint: str = "http://localhost:4566",
        host: str = "127.0.0.1",
    ) -> None:
        self.data = data  # the data directory; a service keeps files of its own only below data / its name
        self.store = store
        self.clock = clock
        self.bus = bus
        self.registry = registry
        self.endpoint = endpoint  # where clients reach the edge; for URLs in answers
        self.host = host  # the address at which this cloud listens; what else it opens for clients belongs there too
        self.stopping = False  # the daemon is about to stop: answers without an end of their own are to end now
        self.authorizer: Authorizer | None = None
        self.companion: Companion | None = None
        self.parts: dict[
            str, Any
        ] = {}  # what a service keeps in memory, by a name that begins with the service's; `start`'s result is parts["logs"]
        self._running: dict[str, Any] = {}  # the loaded services' parts, in the order of their starts
        self._starting: dict[str, asyncio.Future[None]] = {}

    async def ready(self, service: str) -> None:
        """Load a service if it is not: its tables, then its `start`. Callers at the same time share one start; a failed one is tried again.

        Raises:
            LookupError: there is no such service.
        """
        if service in self._running:
            return
        starting = self._starting.get(service)
        if starting is None:
            starting = self._starting[service] = asyncio.ensure_future(self._load(self.registry.services[service]))
            starting.add_done_callback(lambda _: self._starting.pop(service, None))
        await asyncio.shield(starting)

    async def _load(self, service: Service) -> None:
        if service.tables:
            self.store.attach(service.attribute(service.tables))
        part = await service.attribute(service.start)(self) if service.start else None
        if part is not None:
            self.parts[service.name] = part
        self._running[service.name] = part

    async def close(self) -> None:
        """Stop what the services keep running, the latest first."""
        while self._running:
            _, part = self._running.popitem()
            if part is not None:
                await part.stop()

    def context(self, *, identity: Identity, region: str, account: str = "", **about: Any) -> Context:
        return Context(self, identity=identity, account=account or identity.account, region=region, **about)

    def service_context(self, principal: str, account: str, region: str) -> Context:
        """A context in which a controller acts on the service's own behalf, e.g. as `events.amazonaws.com`."""
        return self.context(identity=identities.service(principal, account), account=account, region=region)


class Context:
    """One call. `account` and `region` are where it takes place; `identity` says who calls."""

    __slots__ = ("account", "cloud", "identity", "partition", "region", "request_id", "secure", "source_ip", "user_agent", "via")

    def __init__(
        self,
        cloud: Cloud,
        *,
        identity: Identity,
        account: str,
        region: str,
        request_id_: str = "",
        source_ip: str = "127.0.0.1",
        user_agent: str = "",
        secure: bool = False,
        via: tuple[str, ...] = (),
    ) -> None:
        self.cloud = cloud
        self.identity = identity
        self.account = account
        self.region = region
        self.partition = identities.PARTITION
        self.request_id = request_id_ or request_id()
        self.source_ip = source_ip
        self.user_agent = user_agent
        self.secure = secure
        self.via = via  # the service principals through which an internal call came, outermost first: aws:CalledVia

    @property
    def store(self) -> Store:
        return self.cloud.store

    def now(self) -> float:
        """Seconds since the epoch, of the cloud's clock (virtual in simulations)."""
        return self.cloud.clock.time()

    def table(self, table: Table[Any]) -> TableView[Any]:
        return self.cloud.store.table(table)

    def transaction(self) -> Transaction:
        """A `with` block whose writes all happen or none; no `await` inside it."""
        return self.cloud.store.transaction()

    async def call(self, request: Request, *, via: str = "") -> Any:
        """Call any operation of any service as the same caller, minus the HTTP; policies are checked as for a client.

        Args:
            via: the service principal on whose way this call lies ("cloudformation.amazonaws.com").

        Raises:
            ServiceError: what the operation answers.
        """
        try:
            operation = self.cloud.registry.find(request)
            await self.cloud.ready(operation.service)
        except LookupError:
            raise NotImplementedHere(f"{request.operation} is not available in Cloudstead yet.") from None
        ctx = self
        if via:
            ctx = self.replace(via=(*self.via, via))
        if self.cloud.authorizer is not None:
            self.cloud.authorizer.check(ctx, operation, request)
        return await operation.handler(ctx, request)

    def require(self, action: str, resource: str, conditions: Mapping[str, ConditionValue] | None = None) -> None:
        """Refuse the call unless its caller may also do this: iam:PassRole, kms:Decrypt, …

        Raises:
            AccessDenied
        """
        if self.cloud.authorizer is not None:
            self.cloud.authorizer.require(self, action, resource, conditions or {})

    def admit(
        self,
        action: str,
        resource: str,
        policy: str | None,
        conditions: Mapping[str, ConditionValue] | None = None,
        *,
        provider: str = "",
    ) -> None:
        """Refuse the call unless the resource's own policy lets its caller in, as `Authorizer.admit`.

        Raises:
            AccessDenied
        """
        if self.cloud.authorizer is not None:
            self.cloud.authorizer.admit(self, action, resource, policy, conditions or {}, provider=provider)

    def admit_outsider(self, action: str, resource: str, policy: str | None) -> None:
        """Refuse a caller of another account whom the resource's own policy does not let in, as `Authorizer.admit_outsider`.

        Raises:
            AccessDenied
        """
        if self.cloud.authorizer is not None:
            self.cloud.authorizer.admit_outsider(self, action, resource, policy)

    def replace(
        self, *, identity: Identity | None = None, account: str = "", region: str = "", via: tuple[str, ...] | None = None
    ) -> Context:
        """The same call as another caller or in another place."""
        return Context(
            self.cloud,
            identity=identity or self.identity,
            account=account or (identity.account if identity else self.account),
            region=region or self.region,
            request_id_=self.request_id,
            source_ip=self.source_ip,
            user_agent=self.user_agent,
            secure=self.secure,
            via=self.via if via is None else via,
        )


__all__ = ["Authorizer", "Cloud", "Companion", "Context", "Row"]
