"""Permissions: the policy of a bus, statement by statement or as a whole."""

from __future__ import annotations

import json
from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy import RESOURCE, MalformedPolicy, parse
from cloudstead.services.events import api, arns, buses

LARGEST_POLICY = 10_240  # bytes


@operation(resource=arns.bus_of_request)
async def put_permission(ctx: Context, request: api.PutPermissionRequest) -> api.PutPermissionResponse:
    """Set the whole policy, or add (or replace) one statement, which lets an account or an organization put events."""
    bus = buses.named(ctx, request.event_bus_name)
    single = (request.action, request.principal, request.statement_id, request.condition)
    if request.policy is not None:
        if any(one is not None for one in single):
            raise ValidationFailed("Parameter Policy cannot be used together with Action, Principal, StatementId or Condition.")
        text = _checked(request.policy)
    else:
        statement = _statement(request, bus.arn())
        document = _document(bus.policy)
        others = [one for one in document["Statement"] if one.get("Sid") != statement["Sid"]]
        text = buses.to_text({**document, "Statement": [*others, statement]})
    if len(text.encode()) > LARGEST_POLICY:
        raise api.PolicyLengthExceededException("Total policy size is over the limit.")
    buses.change(ctx, bus, policy=text)
    return api.PutPermissionResponse()


def _checked(text: str) -> str:
    """A policy document of the caller's, without white space.

    Raises:
        ValidationFailed
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationFailed("This policy contains invalid Json") from None
    try:
        parse(text, RESOURCE)
    except MalformedPolicy as error:
        raise ValidationFailed(f"The policy is invalid: {error}") from None
    return buses.to_text(document)


def _statement(request: api.PutPermissionRequest, bus: str) -> dict[str, Any]:
    for name, given in (("Action", request.action), ("Principal", request.principal), ("StatementId", request.statement_id)):
        if given is None:
            raise ValidationFailed(f"Parameter {name} must be specified.")
    if request.action != "events:PutEvents":
        raise ValidationFailed("Provided value in parameter 'action' is not supported.")
    principal: Any = "*" if request.principal == "*" else {"AWS": buses.account_root(request.principal or "")}
    statement: dict[str, Any] = {
        "Sid": request.statement_id,
        "Effect": "Allow",
        "Principal": principal,
        "Action": request.action,
        "Resource": bus,
    }
    if request.condition is not None:
        condition = request.condition
        if request.principal != "*":
            raise ValidationFailed("Value of the parameter 'principal' must be '*' when the parameter 'condition' is set.")
        if condition.type != "StringEquals" or condition.key != "aws:PrincipalOrgID":
            raise ValidationFailed("Parameter Condition is not valid. Reason: Only StringEquals on aws:PrincipalOrgID is supported.")
        statement["Condition"] = {condition.type: {condition.key: condition.value}}
    return statement


def _document(policy: str | None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(policy) if policy else {"Version": "2012-10-17", "Statement": []}
    if not isinstance(document["Statement"], list):
        document["Statement"] = [document["Statement"]]
    return document


@operation(resource=arns.bus_of_request)
async def remove_permission(ctx: Context, request: api.RemovePermissionRequest) -> api.RemovePermissionResponse:
    bus = buses.named(ctx, request.event_bus_name)
    if request.remove_all_permissions:
        if bus.policy is not None:
            buses.change(ctx, bus, policy=None)
        return api.RemovePermissionResponse()
    if request.statement_id is None:
        raise ValidationFailed("Parameter StatementId must be specified.")
    if bus.policy is None:
        raise api.ResourceNotFoundException("EventBus does not have a policy.")
    document = _document(bus.policy)
    left = [one for one in document["Statement"] if one.get("Sid") != request.statement_id]
    if len(left) == len(document["Statement"]):
        raise api.ResourceNotFoundException("Statement with the provided id does not exist.")
    buses.change(ctx, bus, policy=buses.to_text({**document, "Statement": left}) if left else None)
    return api.RemovePermissionResponse()
