"""Connections: how to sign in at the endpoints of API destinations. Secrets go in and never come out again.

AWS keeps the secrets in Secrets Manager; here they stand in the connection's row, and the ARN of the secret names nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.ids import hex_digits, uuid4
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.events import api, arns, buses
from cloudstead.services.events.buses import PAGE
from cloudstead.services.events.controller import part
from cloudstead.services.events.model import CONNECTIONS, Connection

Request = api.CreateConnectionRequest | api.UpdateConnectionRequest

_MEMBER = {"BASIC": "BasicAuthParameters", "OAUTH_CLIENT_CREDENTIALS": "OAuthParameters", "API_KEY": "ApiKeyAuthParameters"}


def find(ctx: Context, arn: str) -> Connection | None:
    """The connection of an ARN in the caller's account and region."""
    row: Connection | None = ctx.table(CONNECTIONS).get((ctx.account, ctx.region, arn.rpartition(":connection/")[2].partition("/")[0]))
    return row if row is not None and row.arn() == arn else None


def require(ctx: Context, name: str, doing: str) -> Connection:
    """
    Raises:
        ResourceNotFoundException
    """
    row: Connection | None = ctx.table(CONNECTIONS).get((ctx.account, ctx.region, name))
    if row is None:
        raise api.ResourceNotFoundException(f"Failed to {doing} the connection(s). Connection '{name}' does not exist.")
    return row


def _check(request: Request) -> None:
    if request.kms_key_identifier:
        buses.refuse("Encryption with a KMS key")
    auth = request.auth_parameters
    if request.invocation_connectivity_parameters is not None or (auth is not None and auth.connectivity_parameters is not None):
        buses.refuse("A private connection through VPC Lattice")


def _check_parameters(authorization: str, parameters: dict[str, Any]) -> None:
    """Those of the authorization type must be there, and no others."""
    wanted = _MEMBER[authorization]
    given = [name for name in _MEMBER.values() if name in parameters]
    if given != [wanted]:
        raise ValidationFailed(f"Authorization type {authorization} needs the parameters {wanted} and no others.")
    if "OAuthParameters" in parameters and "ClientParameters" not in parameters["OAuthParameters"]:
        raise ValidationFailed("ClientParameters must be specified.")


def _state(authorization: str) -> str:
    """Whether a token can be had must be seen; of the others nobody knows before the first call."""
    return "AUTHORIZING" if authorization == "OAUTH_CLIENT_CREDENTIALS" else "AUTHORIZED"


@operation(resource=arns.connection)
async def create_connection(ctx: Context, request: api.CreateConnectionRequest) -> api.CreateConnectionResponse:
    _check(request)
    if (ctx.account, ctx.region, request.name) in ctx.table(CONNECTIONS):
        raise api.ResourceAlreadyExistsException(f"Connection {request.name} already exists.")
    parameters = msgspec.to_builtins(request.auth_parameters)
    _check_parameters(request.authorization_type, parameters)
    quotas.require(ctx, "events", "connections", ctx.table(CONNECTIONS).count((ctx.account, ctx.region)), buses.limit_exceeded)
    now, state = ctx.now(), _state(request.authorization_type)
    row = Connection(
        account=ctx.account,
        region=ctx.region,
        name=request.name,
        uid=uuid4(),
        secret_uid=f"{uuid4()}-{hex_digits(6)}",
        authorization=request.authorization_type,
        parameters=parameters,
        state=state,
        created=now,
        modified=now,
        authorized=now if state == "AUTHORIZED" else None,
        description=request.description or None,
    )
    with ctx.transaction() as tx:
        tx.insert(CONNECTIONS, row)
    return api.CreateConnectionResponse(**_brief(row))


def _brief(row: Connection) -> dict[str, Any]:
    return {
        "connection_arn": row.arn(),
        "connection_state": row.state,
        "creation_time": row.created,
        "last_modified_time": row.modified,
    }


@operation(resource=arns.connection)
async def update_connection(ctx: Context, request: api.UpdateConnectionRequest) -> api.UpdateConnectionResponse:
    """Change a connection; what is not given stays, secrets too."""
    _check(request)
    row = require(ctx, request.name, "describe")
    authorization = request.authorization_type or row.authorization
    parameters = dict(row.parameters)
    if authorization != row.authorization:
        parameters.pop(_MEMBER[row.authorization], None)
    if request.auth_parameters is not None:
        parameters = _merged(parameters, msgspec.to_builtins(request.auth_parameters))
    _check_parameters(authorization, parameters)
    changed = parameters != row.parameters or authorization != row.authorization or row.state != "AUTHORIZED"
    now = ctx.now()
    state = _state(authorization) if changed else row.state
    part(ctx).http.forget(row)
    with ctx.transaction() as tx:
        row = tx.update(
            CONNECTIONS,
            row,
            description=row.description if request.description is None else request.description or None,
            authorization=authorization,
            parameters=parameters,
            state=state,
            reason=None if changed else row.reason,
            modified=now,
            authorized=now if changed and state == "AUTHORIZED" else row.authorized,
        )
    return api.UpdateConnectionResponse(**_brief(row), last_authorized_time=row.authorized)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {
        **old,
        **{
            name: _merged(old[name], given) if isinstance(given, dict) and isinstance(old.get(name), dict) else given
            for name, given in new.items()
        },
    }


@operation(resource=arns.connection)
async def delete_connection(ctx: Context, request: api.DeleteConnectionRequest) -> api.DeleteConnectionResponse:
    """Delete a connection; API destinations that use it become inactive."""
    row = require(ctx, request.name, "delete")
    part(ctx).http.forget(row)
    with ctx.transaction() as tx:
        tx.delete(CONNECTIONS, CONNECTIONS.key(row))
    return api.DeleteConnectionResponse(
        connection_arn=row.arn(),
        connection_state="DELETING",
        creation_time=row.created,
        last_modified_time=row.modified,
        last_authorized_time=row.authorized,
    )


@operation(resource=arns.connection)
async def deauthorize_connection(ctx: Context, request: api.DeauthorizeConnectionRequest) -> api.DeauthorizeConnectionResponse:
    """Forget how to sign in; UpdateConnection tells it again."""
    row = require(ctx, request.name, "deauthorize")
    part(ctx).http.forget(row)
    with ctx.transaction() as tx:
        parameters = {name: given for name, given in row.parameters.items() if name not in _MEMBER.values()}
        row = tx.update(
            CONNECTIONS, row, state="DEAUTHORIZED", parameters=parameters, modified=ctx.now(), reason="Deauthorized by the user."
        )
    return api.DeauthorizeConnectionResponse(
        connection_arn=row.arn(),
        connection_state="DEAUTHORIZED",
        creation_time=row.created,
        last_modified_time=row.modified,
        last_authorized_time=row.authorized,
    )


@operation(resource=arns.connection)
async def describe_connection(ctx: Context, request: api.DescribeConnectionRequest) -> api.DescribeConnectionResponse:
    row = require(ctx, request.name, "describe")
    return api.DescribeConnectionResponse(
        connection_arn=row.arn(),
        name=row.name,
        description=row.description,
        connection_state=row.state,  # type: ignore[arg-type]  # one of the model's states
        state_reason=row.reason,
        authorization_type=row.authorization,  # type: ignore[arg-type]
        secret_arn=row.secret_arn(),
        auth_parameters=without_secrets(row.parameters),
        creation_time=row.created,
        last_modified_time=row.modified,
        last_authorized_time=row.authorized,
    )


def without_secrets(parameters: dict[str, Any]) -> api.ConnectionAuthResponseParameters:
    """What may be shown: the structures of answers have no place for passwords, and secret values of HTTP parameters are left out."""
    shown = msgspec.convert(parameters, api.ConnectionAuthResponseParameters)
    oauth = shown.o_auth_parameters
    for http in (shown.invocation_http_parameters, None if oauth is None else oauth.o_auth_http_parameters):
        if http is not None:
            for one in (*(http.header_parameters or ()), *(http.query_string_parameters or ()), *(http.body_parameters or ())):
                if one.is_value_secret:
                    one.value = None
    return shown


@operation(resource="*")
async def list_connections(ctx: Context, request: api.ListConnectionsRequest) -> api.ListConnectionsResponse:
    rows, token = page(
        ctx,
        CONNECTIONS,
        (ctx.account, ctx.region),
        starts=request.name_prefix or "",
        where=lambda row: request.connection_state in (None, row.state),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    found = [
        api.Connection(
            **_brief(row),
            name=row.name,
            state_reason=row.reason,
            authorization_type=row.authorization,  # type: ignore[arg-type]
            last_authorized_time=row.authorized,
        )
        for row in rows
    ]
    return api.ListConnectionsResponse(connections=found, next_token=token)
