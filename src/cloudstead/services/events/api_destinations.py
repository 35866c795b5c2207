"""API destinations: HTTP endpoints as targets. How they are called: http_targets.py."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.events import api, arns, buses, connections
from cloudstead.services.events.buses import PAGE
from cloudstead.services.events.controller import part
from cloudstead.services.events.model import API_DESTINATIONS, ApiDestination

DEFAULT_RATE = 300  # calls a second


def require(ctx: Context, name: str, doing: str) -> ApiDestination:
    """
    Raises:
        ResourceNotFoundException
    """
    row: ApiDestination | None = ctx.table(API_DESTINATIONS).get((ctx.account, ctx.region, name))
    if row is None:
        raise api.ResourceNotFoundException(f"Failed to {doing} the api-destination(s). An api-destination '{name}' does not exist.")
    return row


def _check_connection(ctx: Context, arn: str) -> None:
    if connections.find(ctx, arn) is None:
        raise api.ResourceNotFoundException(f"Connection '{arn.rpartition(':connection/')[2]}' does not exist.")


def _check_endpoint(text: str) -> None:
    """AWS takes https alone; http is taken here too, so that something on this machine can be called."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValidationFailed("Parameter InvocationEndpoint is not valid. Reason: Must be an HTTPS URL.")


def _state(ctx: Context, row: ApiDestination) -> Literal["ACTIVE", "INACTIVE"]:
    connection = connections.find(ctx, row.connection)
    return "ACTIVE" if connection is not None and connection.state == "AUTHORIZED" else "INACTIVE"


def _brief(ctx: Context, row: ApiDestination) -> dict[str, Any]:
    return {
        "api_destination_arn": row.arn(),
        "api_destination_state": _state(ctx, row),
        "creation_time": row.created,
        "last_modified_time": row.modified,
    }


@operation(resource=arns.api_destination)
async def create_api_destination(ctx: Context, request: api.CreateApiDestinationRequest) -> api.CreateApiDestinationResponse:
    if (ctx.account, ctx.region, request.name) in ctx.table(API_DESTINATIONS):
        raise api.ResourceAlreadyExistsException(f"An api-destination '{request.name}' already exists.")
    _check_connection(ctx, request.connection_arn)
    _check_endpoint(request.invocation_endpoint)
    count = ctx.table(API_DESTINATIONS).count((ctx.account, ctx.region))
    quotas.require(ctx, "events", "api_destinations", count, buses.limit_exceeded)
    now = ctx.now()
    row = ApiDestination(
        account=ctx.account,
        region=ctx.region,
        name=request.name,
        uid=uuid4(),
        connection=request.connection_arn,
        endpoint=request.invocation_endpoint,
        method=request.http_method,
        created=now,
        modified=now,
        description=request.description or None,
        rate_limit=request.invocation_rate_limit_per_second or DEFAULT_RATE,
    )
    with ctx.transaction() as tx:
        tx.insert(API_DESTINATIONS, row)
    return api.CreateApiDestinationResponse(**_brief(ctx, row))


@operation(resource=arns.api_destination)
async def update_api_destination(ctx: Context, request: api.UpdateApiDestinationRequest) -> api.UpdateApiDestinationResponse:
    """Change an API destination; what is not given stays."""
    row = require(ctx, request.name, "update")
    if request.connection_arn is not None:
        _check_connection(ctx, request.connection_arn)
    if request.invocation_endpoint is not None:
        _check_endpoint(request.invocation_endpoint)
    with ctx.transaction() as tx:
        row = tx.update(
            API_DESTINATIONS,
            row,
            description=row.description if request.description is None else request.description or None,
            connection=request.connection_arn or row.connection,
            endpoint=request.invocation_endpoint or row.endpoint,
            method=request.http_method or row.method,
            rate_limit=request.invocation_rate_limit_per_second or row.rate_limit,
            modified=ctx.now(),
        )
    return api.UpdateApiDestinationResponse(**_brief(ctx, row))


@operation(resource=arns.api_destination)
async def delete_api_destination(ctx: Context, request: api.DeleteApiDestinationRequest) -> api.DeleteApiDestinationResponse:
    row = require(ctx, request.name, "delete")
    with ctx.transaction() as tx:
        tx.delete(API_DESTINATIONS, API_DESTINATIONS.key(row))
    part(ctx).http.forget_destination(row)
    return api.DeleteApiDestinationResponse()


@operation(resource=arns.api_destination)
async def describe_api_destination(ctx: Context, request: api.DescribeApiDestinationRequest) -> api.DescribeApiDestinationResponse:
    row = require(ctx, request.name, "describe")
    return api.DescribeApiDestinationResponse(
        **_brief(ctx, row),
        name=row.name,
        description=row.description,
        connection_arn=row.connection,
        invocation_endpoint=row.endpoint,
        http_method=row.method,  # type: ignore[arg-type]  # one of the model's methods
        invocation_rate_limit_per_second=row.rate_limit,
    )


@operation(resource="*")
async def list_api_destinations(ctx: Context, request: api.ListApiDestinationsRequest) -> api.ListApiDestinationsResponse:
    rows, token = page(
        ctx,
        API_DESTINATIONS,
        (ctx.account, ctx.region),
        starts=request.name_prefix or "",
        where=lambda row: request.connection_arn in (None, row.connection),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    found = [
        api.ApiDestination(
            **_brief(ctx, row),
            name=row.name,
            connection_arn=row.connection,
            invocation_endpoint=row.endpoint,
            http_method=row.method,  # type: ignore[arg-type]
            invocation_rate_limit_per_second=row.rate_limit,
        )
        for row in rows
    ]
    return api.ListApiDestinationsResponse(api_destinations=found, next_token=token)
