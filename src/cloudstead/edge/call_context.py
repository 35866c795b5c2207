"""The condition keys of a call, each worked out when a policy first asks for it.

Keys are lower case here, as conditions compare them without case. What a service declares for an operation (`conditions=`, `resource_tags=`)
and what STS put into a session come first; then the global keys.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from cloudstead.kernel.context import Context
from cloudstead.kernel.dates import iso8601
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.operations import ConditionValue, Operation
from cloudstead.kernel.shapes import Request

Values: TypeAlias = tuple[str, ...] | None

_PRINCIPAL_TYPES: Final = {
    "root": "Account",
    "user": "User",
    "assumed-role": "AssumedRole",
    "federated-user": "FederatedUser",
    "service": "Service",
    "anonymous": "Anonymous",
}
_GLOBAL_SERVICES: Final = frozenset(("iam", "route53", "cloudfront", "organizations", "sts"))  # answer from us-east-1


class TagSource(Protocol):
    def tags_of(self, identity: Identity) -> Mapping[str, str]: ...


class CallContext:
    """`get(key)` gives the values of a condition key, or None. One object serves all resources of a call."""

    __slots__ = ("_conditions", "_ctx", "_known", "_operation", "_request", "_resource", "_source")

    def __init__(
        self,
        ctx: Context,
        source: TagSource,
        *,
        operation: Operation | None = None,
        request: Request | None = None,
        resource: str = "*",
        conditions: Mapping[str, ConditionValue] | None = None,
    ) -> None:
        self._ctx = ctx
        self._source = source
        self._operation = operation
        self._request = request
        self._resource = resource
        self._conditions: dict[str, Values] | None = None if conditions is None else _lowered(conditions)
        self._known: dict[str, Values] = {}

    @property
    def resource(self) -> str:
        """The resource that the present question is about."""
        return self._resource

    @resource.setter
    def resource(self, arn: str) -> None:
        self._resource = arn
        self._known.pop("aws:resourceaccount", None)

    def get(self, key: str, /) -> Values:
        known = self._known
        if key in known:
            return known[key]
        found = known[key] = self._find(key)
        return found

    def _find(self, key: str) -> Values:
        declared = self._declared().get(key)
        if declared is not None:
            return declared
        prefix, _, name = key.partition("/")
        if name:
            return self._tag(prefix, name)
        finder = _GLOBAL.get(key)
        return None if finder is None else finder(self)

    def _declared(self) -> dict[str, Values]:
        """What the session, the operation and the caller of `require` have values for."""
        if self._conditions is None:
            declared: Mapping[str, ConditionValue] = {}
            if self._operation is not None and self._operation.conditions is not None:
                declared = self._operation.conditions(self._ctx, self._request)
            self._conditions = _lowered(declared)
        for key, value in self._ctx.identity.session_context:
            self._conditions.setdefault(key.lower(), (value,))
        return self._conditions

    # ---- tags

    def _tag(self, prefix: str, name: str) -> Values:
        if prefix == "aws:principaltag":
            return _tag_of(self._source.tags_of(self._ctx.identity), name)
        if prefix == "aws:requesttag":
            return _tag_of(dict(self._request_tags()), name)
        if prefix == "aws:resourcetag" or prefix == f"{self._service}:resourcetag":
            return _tag_of(self._resource_tags(), name)
        return None

    @property
    def _service(self) -> str:
        return "" if self._operation is None else self._operation.action.partition(":")[0]

    def _resource_tags(self) -> Mapping[str, ConditionValue]:
        if self._operation is None or self._operation.resource_tags is None:
            return {}
        return self._operation.resource_tags(self._ctx, self._request)

    def _request_tags(self) -> list[tuple[str, str]]:
        """The tags that the request wants to put on something, in whichever of the shapes AWS's models have for that."""
        given = [getattr(self._request, member, None) for member in ("tags", "tag_list")]
        specified = getattr(self._request, "tag_specifications", None)  # EC2's: a list for each kind of resource that is made
        given += [getattr(one, "tags", None) for one in specified or ()]
        return [pair for tags in given for pair in _pairs(tags)]

    def tag_keys(self) -> Values:
        keys = [key for key, _ in self._request_tags()]
        removed = getattr(self._request, "tag_keys", None)
        if isinstance(removed, list):
            keys += [key for key in removed if isinstance(key, str)]
        return tuple(dict.fromkeys(keys)) or None

    # ---- the global keys

    def principal_arn(self) -> Values:
        identity = self._ctx.identity
        if identity.kind in ("anonymous", "service"):
            return None
        return (identity.principal_arn,) if identity.kind == "assumed-role" else (identity.arn,)

    def principal_account(self) -> Values:
        identity = self._ctx.identity
        return None if identity.kind in ("anonymous", "service") else (identity.account,)

    def principal_type(self) -> Values:
        return (_PRINCIPAL_TYPES[self._ctx.identity.kind],)

    def user_id(self) -> Values:
        return (self._ctx.identity.user_id,)

    def user_name(self) -> Values:
        identity = self._ctx.identity
        return (identity.arn.rpartition("/")[2],) if identity.kind == "user" else None

    def source_ip(self) -> Values:
        hidden = self._ctx.identity.kind == "service" or self._ctx.via
        return None if hidden else (self._ctx.source_ip,)

    def secure_transport(self) -> Values:
        return _truth(self._ctx.secure)

    def current_time(self) -> Values:
        return (iso8601(self._ctx.now()),)

    def epoch_time(self) -> Values:
        return (str(int(self._ctx.now())),)

    def requested_region(self) -> Values:
        return ("us-east-1",) if self._service in _GLOBAL_SERVICES else (self._ctx.region,)

    def user_agent(self) -> Values:
        return (self._ctx.user_agent,) if self._ctx.user_agent else None

    def via_service(self) -> Values:
        return _truth(bool(self._ctx.via))

    def called_via(self) -> Values:
        return self._ctx.via or None

    def called_via_first(self) -> Values:
        return self._ctx.via[:1] or None

    def called_via_last(self) -> Values:
        return self._ctx.via[-1:] or None

    def _temporary(self) -> bool:
        return self._ctx.identity.issued_at > 0

    def mfa_present(self) -> Values:
        return _truth(self._ctx.identity.mfa) if self._temporary() else None

    def mfa_age(self) -> Values:
        identity = self._ctx.identity
        return (str(max(0, int(self._ctx.now() - identity.issued_at))),) if self._temporary() and identity.mfa else None

    def token_issue_time(self) -> Values:
        return (iso8601(self._ctx.identity.issued_at),) if self._temporary() else None

    def source_identity(self) -> Values:
        return (self._ctx.identity.source_identity,) if self._ctx.identity.source_identity else None

    def resource_account(self) -> Values:
        parts = self._resource.split(":", 5)
        account = parts[4] if len(parts) == 6 else ""
        return (account or self._ctx.account,)

    def source_account(self) -> Values:
        """For whom a service acts; a service that knows the ARN gives that in its session's context."""
        return (self._ctx.identity.account,) if self._ctx.identity.kind == "service" else None

    def is_service(self) -> Values:
        return _truth(self._ctx.identity.kind == "service")

    def service_name(self) -> Values:
        return (self._ctx.identity.arn,) if self._ctx.identity.kind == "service" else None


_GLOBAL: Final[dict[str, Callable[[CallContext], Values]]] = {
    "aws:principalarn": CallContext.principal_arn,
    "aws:principalaccount": CallContext.principal_account,
    "aws:principaltype": CallContext.principal_type,
    "aws:userid": CallContext.user_id,
    "aws:username": CallContext.user_name,
    "aws:sourceip": CallContext.source_ip,
    "aws:securetransport": CallContext.secure_transport,
    "aws:currenttime": CallContext.current_time,
    "aws:epochtime": CallContext.epoch_time,
    "aws:requestedregion": CallContext.requested_region,
    "aws:useragent": CallContext.user_agent,
    "aws:viaawsservice": CallContext.via_service,
    "aws:calledvia": CallContext.called_via,
    "aws:calledviafirst": CallContext.called_via_first,
    "aws:calledvialast": CallContext.called_via_last,
    "aws:multifactorauthpresent": CallContext.mfa_present,
    "aws:multifactorauthage": CallContext.mfa_age,
    "aws:tokenissuetime": CallContext.token_issue_time,
    "aws:sourceidentity": CallContext.source_identity,
    "aws:resourceaccount": CallContext.resource_account,
    "aws:sourceaccount": CallContext.source_account,
    "aws:principalisawsservice": CallContext.is_service,
    "aws:principalservicename": CallContext.service_name,
    "aws:principalservicenameslist": CallContext.service_name,
    "aws:tagkeys": CallContext.tag_keys,
}
"""aws:SourceArn, aws:FederatedProvider and the keys of identity providers stand in the session's context; aws:Referer is not known here."""


def _lowered(conditions: Mapping[str, ConditionValue]) -> dict[str, Values]:
    return {key.lower(): (value,) if isinstance(value, str) else tuple(value) for key, value in conditions.items()}


def _tag_of(tags: Mapping[str, ConditionValue], folded: str) -> Values:
    """The value of a tag whose key is this without regard to case."""
    for key, value in tags.items():
        if key.lower() == folded:
            return (value,) if isinstance(value, str) else tuple(value)
    return None


def _pairs(tags: Any) -> Iterable[tuple[str, str]]:
    if isinstance(tags, dict):
        yield from ((key, value) for key, value in tags.items() if isinstance(key, str) and isinstance(value, str))
    elif isinstance(tags, list):
        for tag in tags:
            key = getattr(tag, "key", None) or getattr(tag, "tag_key", None)
            if isinstance(key, str):
                value = getattr(tag, "value", None) or getattr(tag, "tag_value", None)
                yield key, value if isinstance(value, str) else ""


def _truth(value: bool) -> Values:
    return ("true",) if value else ("false",)
