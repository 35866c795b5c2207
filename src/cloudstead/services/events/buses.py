"""Event buses. `default` is there in every account and region; it gets a row when something about it is changed."""

from __future__ import annotations

import json
from typing import NoReturn

from cloudstead.kernel import identity as identities
from cloudstead.kernel import quotas, tags
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.events import api, arns
from cloudstead.services.events.arns import BusKey
from cloudstead.services.events.model import BUSES, DEFAULT_BUS, RULES, EventBus

TAG_RULES = tags.Rules(invalid=ValidationFailed, too_many=api.LimitExceededException)
PAGE = 100


def invalid_token() -> Exception:
    return ValidationFailed("Provided NextToken is invalid.")


def refuse(what: str) -> NoReturn:
    """A parameter that Cloudstead would not act on."""
    raise ValidationFailed(f"{what} is not supported by Cloudstead.")


def limit_exceeded(limit: int) -> Exception:
    return api.LimitExceededException("The requested resource exceeds the maximum number allowed.")


def pass_role(ctx: Context, role: str | None) -> None:
    """Refuse a role that is none, or that the caller may not hand to EventBridge."""
    if role is None:
        return
    try:
        arn = Arn.parse(role)
    except ValueError:
        arn = None
    if arn is None or arn.service != "iam" or arn.kind != "role":
        raise ValidationFailed(f"Parameter {role} is not valid. Reason: Provided Arn is not in correct format.")
    ctx.require("iam:PassRole", role, {"iam:PassedToService": "events.amazonaws.com"})


def find(ctx: Context, key: BusKey) -> EventBus | None:
    row: EventBus | None = ctx.table(BUSES).get(key)
    if row is None and key[2] == DEFAULT_BUS:
        return EventBus(account=key[0], region=key[1], name=DEFAULT_BUS, created=0.0, modified=0.0)
    return row


def require(ctx: Context, key: BusKey) -> EventBus:
    """
    Raises:
        ResourceNotFoundException
    """
    row = find(ctx, key)
    if row is None:
        raise api.ResourceNotFoundException(f"Event bus {key[2]} does not exist.")
    return row


def named(ctx: Context, name_or_arn: str | None) -> EventBus:
    """The bus that a request names; by default the default bus.

    Raises:
        ResourceNotFoundException
    """
    return require(ctx, arns.bus_key(ctx, name_or_arn))


def check_dead_letter(config: api.DeadLetterConfig | None) -> str | None:
    """The ARN of a dead-letter queue.

    Raises:
        ValidationFailed
    """
    if config is None or config.arn is None:
        return None
    try:
        arn = Arn.parse(config.arn)
    except ValueError:
        arn = None
    if arn is None or arn.service != "sqs":
        raise ValidationFailed(f"Parameter {config.arn} is not valid. Reason: Provided Arn is not in correct format.")
    if arn.resource.endswith(".fifo"):
        raise ValidationFailed("Parameter DeadLetterConfig.Arn is not valid. Reason: Dead-letter queues must be standard queues.")
    return config.arn


def _check_config(request: api.CreateEventBusRequest | api.UpdateEventBusRequest) -> None:
    if request.kms_key_identifier:
        refuse("Encryption with a KMS key")
    if request.log_config is not None and request.log_config.level not in (None, "OFF"):
        refuse("Logging of event buses")


@operation(resource=arns.bus)
async def create_event_bus(ctx: Context, request: api.CreateEventBusRequest) -> api.CreateEventBusResponse:
    if request.event_source_name is not None:
        raise api.ResourceNotFoundException(f"Event source {request.event_source_name} does not exist.")
    if "/" in request.name:
        raise ValidationFailed("Event bus name must not contain '/'.")
    _check_config(request)
    key = (ctx.account, ctx.region, request.name)
    if find(ctx, key) is not None:
        raise api.ResourceAlreadyExistsException(f"Event bus {request.name} already exists.")
    quotas.require(ctx, "events", "buses", ctx.table(BUSES).count(key[:2]), limit_exceeded)
    now = ctx.now()
    row = EventBus(
        account=ctx.account,
        region=ctx.region,
        name=request.name,
        created=now,
        modified=now,
        description=request.description or None,
        dead_letter=check_dead_letter(request.dead_letter_config),
        log=_log_given(request.log_config),
        tags=tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES),
    )
    with ctx.transaction() as tx:
        tx.insert(BUSES, row)
    return api.CreateEventBusResponse(
        event_bus_arn=row.arn(), description=row.description, dead_letter_config=_dead_letter(row), log_config=_log_config(row)
    )


def _dead_letter(row: EventBus) -> api.DeadLetterConfig | None:
    return None if row.dead_letter is None else api.DeadLetterConfig(arn=row.dead_letter)


def _log_given(config: api.LogConfig | None) -> tuple[str | None, str | None] | None:
    return None if config is None else (config.level, config.include_detail)


def _log_config(row: EventBus) -> api.LogConfig | None:
    if row.log is None:
        return None
    level, detail = row.log
    return api.LogConfig(level=level, include_detail=detail)  # type: ignore[arg-type]  # as they were given


@operation(resource=arns.bus, resource_tags=arns.bus_tags)
async def update_event_bus(ctx: Context, request: api.UpdateEventBusRequest) -> api.UpdateEventBusResponse:
    """Change description, dead-letter queue and logging; what is not given stays."""
    _check_config(request)
    row = named(ctx, request.name)
    dead_letter = check_dead_letter(request.dead_letter_config) if request.dead_letter_config is not None else row.dead_letter
    description = row.description if request.description is None else request.description or None
    row = change(ctx, row, description=description, dead_letter=dead_letter, log=_log_given(request.log_config) or row.log)
    return api.UpdateEventBusResponse(
        arn=row.arn(),
        name=row.name,
        description=row.description,
        dead_letter_config=_dead_letter(row),
        log_config=_log_config(row),
    )


def change(ctx: Context, row: EventBus, **changes: object) -> EventBus:
    """Write a changed bus; the default bus may have its first row by that."""
    now = ctx.now()
    with ctx.transaction() as tx:
        if not row.version:
            row = tx.insert(BUSES, row)
        return tx.update(BUSES, row, modified=now, created=row.created or now, **changes)


@operation(resource=arns.bus, resource_tags=arns.bus_tags)
async def delete_event_bus(ctx: Context, request: api.DeleteEventBusRequest) -> api.DeleteEventBusResponse:
    """Delete a bus that has no rules; one that is not there is no error."""
    if request.name == DEFAULT_BUS:
        raise ValidationFailed("Cannot delete event bus default.")
    key = (ctx.account, ctx.region, request.name)
    if ctx.table(RULES).count(key):
        raise ValidationFailed(f"Event bus {request.name} can't be deleted since it has rules.")
    with ctx.transaction() as tx:
        tx.delete(BUSES, key)
    return api.DeleteEventBusResponse()


@operation(resource=arns.bus, resource_tags=arns.bus_tags, resource_policy=arns.bus_policy)
async def describe_event_bus(ctx: Context, request: api.DescribeEventBusRequest) -> api.DescribeEventBusResponse:
    row = named(ctx, request.name)
    return api.DescribeEventBusResponse(
        name=row.name,
        arn=row.arn(),
        description=row.description,
        policy=row.policy,
        dead_letter_config=_dead_letter(row),
        log_config=_log_config(row),
        creation_time=row.created or None,
        last_modified_time=row.modified or None,
    )


@operation(resource="*")
async def list_event_buses(ctx: Context, request: api.ListEventBusesRequest) -> api.ListEventBusesResponse:
    prefix = request.name_prefix or ""
    rows = {row.name: row for row in ctx.table(BUSES).scan((ctx.account, ctx.region), starts=prefix)}
    if DEFAULT_BUS.startswith(prefix):
        rows[DEFAULT_BUS] = named(ctx, None)
    found, token = page_of(
        ctx,
        rows.values(),
        key=lambda row: row.name,
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=invalid_token,
    )
    buses = [
        api.EventBus(
            name=row.name,
            arn=row.arn(),
            description=row.description,
            policy=row.policy,
            creation_time=row.created or None,
            last_modified_time=row.modified or None,
        )
        for row in found
    ]
    return api.ListEventBusesResponse(event_buses=buses, next_token=token)


def account_root(account: str) -> str:
    return identities.root(account).arn


def to_text(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))
