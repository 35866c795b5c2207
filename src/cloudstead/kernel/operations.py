"""How a service says what it can do: the `@operation` decorator and the registry that both HTTP calls and `ctx.call` go through.

Every operation declares the resources that an IAM policy can name for it. An operation that works on no single resource says `resource="*"`,
as AWS's service authorization reference does. A test knows by name the operations that need no permission or no identity.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from cloudstead.kernel.service_names import action_prefix, package_of
from cloudstead.kernel.shapes import Request, Response

if TYPE_CHECKING:
    from cloudstead.kernel.context import Context

Handler: TypeAlias = Callable[["Context", Any], Awaitable[Any]]
Resources: TypeAlias = str | Iterable[str]
ResourceOf: TypeAlias = Callable[["Context", Any], Resources]
ConditionValue: TypeAlias = str | list[str]
ConditionsOf: TypeAlias = Callable[["Context", Any], Mapping[str, ConditionValue]]
PolicyOf: TypeAlias = Callable[["Context", Any], str | None]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that is there, with all that deciding on a call to it needs."""

    service: str
    name: str
    action: str  # what policies call it: "iam:CreateUser", "lambda:InvokeFunction"
    request: type[Request]
    response: type[Response]
    handler: Handler
    resource: str | ResourceOf
    conditions: ConditionsOf | None = None  # condition keys of the service that this call has values for
    resource_tags: ConditionsOf | None = None  # the tags of the resource: {"team": "x"}; become aws:ResourceTag/…
    resource_policy: PolicyOf | None = None  # the resource's own policy document (JSON), when it has one
    public: bool = False  # needs no permission, only a valid identity: sts:GetCallerIdentity
    anonymous: bool = False  # needs no identity at all: sts:AssumeRoleWithWebIdentity

    def resources(self, ctx: Context, request: Request) -> tuple[str, ...]:
        """The ARNs that this call concerns, `("*",)` when it concerns none in particular."""
        if isinstance(self.resource, str):
            return (self.resource,)
        found = self.resource(ctx, request)
        return (found,) if isinstance(found, str) else tuple(found) or ("*",)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One AWS service: what `services/<name>/__init__.py` exports as SERVICE. Building it imports nothing heavy; `Registry.load` does."""

    name: str  # botocore's: "ecr-public", "lambda"; the package is called as `service_names` says
    modules: tuple[str, ...]  # the modules that hold operations, relative to the package
    tables: str = ""  # "model:TABLES": where the tuple of its tables stands
    start: str = (
        ""  # "controller:start": `async def start(cloud) -> Part | None`, run when the service is loaded; Part has `async def stop()`
    )
    eager: bool = False  # loaded when the daemon starts, because it has work to do without being called

    @property
    def package(self) -> str:
        return f"cloudstead.services.{package_of(self.name)}"

    def attribute(self, reference: str) -> Any:
        module, _, name = reference.partition(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), name)


_declared: dict[type[Request], Operation] = {}


def operation(
    *,
    resource: str | ResourceOf,
    action: str = "",
    conditions: ConditionsOf | None = None,
    resource_tags: ConditionsOf | None = None,
    resource_policy: PolicyOf | None = None,
    public: bool = False,
    anonymous: bool = False,
) -> Callable[[F], F]:
    """Declare an `async def name(ctx, request: api.XRequest) -> api.XResponse` to be what answers X."""

    def declare(function: F) -> F:
        hints = typing.get_type_hints(function)
        request, response = hints["request"], hints["return"]
        service, _, name = request.operation.partition(":")
        _declared[request] = Operation(
            service=service,
            name=name,
            action=action or f"{action_prefix(service)}:{name}",
            request=request,
            response=response,
            handler=function,
            resource=resource,
            conditions=conditions,
            resource_tags=resource_tags,
            resource_policy=resource_policy,
            public=public,
            anonymous=anonymous,
        )
        return function

    return declare


class Registry:
    """The services that there are, each loaded when it is first needed."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.services = {service.name: service for service in services}
        self._operations: dict[str, dict[str, Operation]] = {}

    def operations(self, service: str) -> dict[str, Operation]:
        """The operations of a service by AWS's name; imports its modules the first time."""
        known = self._operations.get(service)
        if known is None:
            package = self.services[service]
            for module in package.modules:
                importlib.import_module(f"{package.package}.{module}")
            known = self._operations[service] = {op.name: op for op in _declared.values() if op.service == service}
        return known

    def find(self, request: Request) -> Operation:
        """The operation that answers this request.

        Raises:
            LookupError: no service here answers it.
        """
        service, _, name = request.operation.partition(":")
        return self.operations(service)[name]
