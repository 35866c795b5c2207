"""Account settings: put, taken back, listed. What they mean stands in `settings.py`."""

from __future__ import annotations

import re
from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.ecs import api, arns, checks, settings
from cloudstead.services.ecs.model import ACCOUNT_SETTINGS, AccountSetting
from cloudstead.services.ecs.settings import SETTINGS

_PRINCIPAL = re.compile(r"arn:[^:]+:iam::(\d{12}):(root|user/.+|role/.+)")


def _principal(ctx: Context, given: str | None) -> str:
    """Whose setting a request is about: the ARN of a user or role, empty for the account.

    Raises:
        InvalidParameterException
    """
    if given is None:
        return settings.principal_of(ctx)
    found = _PRINCIPAL.fullmatch(given)
    if found is None or found[1] != ctx.account:
        checks.invalid("The principal ARN is invalid. Specify the ARN of a user, a role, or the root user of the account and try again.")
    return "" if found[2] == settings.ROOT else given


def _owner(ctx: Context, principal: str) -> str:
    return principal or f"arn:{ctx.partition}:iam::{ctx.account}:root"


def _put(ctx: Context, name: str, value: str, principal: str) -> api.Setting:
    known = SETTINGS[name]
    if known.fixed:
        checks.invalid(f"The account setting {name} is managed by AWS and cannot be changed.")
    if value not in known.values:
        checks.invalid(f"Invalid value for {name}: {value}. Valid values are [{','.join(known.values)}].")
    if principal and known.account_only:
        checks.invalid(f"The account setting {name} can only be set for the account, by the root user or with PutAccountSettingDefault.")
    if name.endswith("LongArnFormat") and value == "disabled":
        checks.invalid("You can no longer disable Long Arn settings")
    with ctx.transaction() as tx:
        tx.put(ACCOUNT_SETTINGS, AccountSetting(account=ctx.account, region=ctx.region, principal=principal, name=name, value=value))
    return _describe(ctx, name, value, principal)


def _describe(ctx: Context, name: str, value: str, principal: str) -> api.Setting:
    kind: Any = name
    return api.Setting(name=kind, value=value, principal_arn=_owner(ctx, principal), type="aws_managed" if SETTINGS[name].fixed else "user")


@operation(resource="*", conditions=arns.account_setting_conditions)
async def put_account_setting(ctx: Context, request: api.PutAccountSettingRequest) -> api.PutAccountSettingResponse:
    """Set a value for one principal, the caller where none is given. Root's is the account's."""
    return api.PutAccountSettingResponse(setting=_put(ctx, request.name, request.value, _principal(ctx, request.principal_arn)))


@operation(resource="*", conditions=arns.account_setting_conditions)
async def put_account_setting_default(ctx: Context, request: api.PutAccountSettingDefaultRequest) -> api.PutAccountSettingDefaultResponse:
    """Set what holds for everyone of the account who has no value of his own."""
    return api.PutAccountSettingDefaultResponse(setting=_put(ctx, request.name, request.value, ""))


@operation(resource="*", conditions=arns.account_setting_conditions)
async def delete_account_setting(ctx: Context, request: api.DeleteAccountSettingRequest) -> api.DeleteAccountSettingResponse:
    """Take a principal's value back; answers with what was there."""
    principal = _principal(ctx, request.principal_arn)
    with ctx.transaction() as tx:
        row = tx.delete(ACCOUNT_SETTINGS, (ctx.account, ctx.region, principal, request.name))
    value = settings.value(ctx, request.name, principal) if row is None else row.value
    return api.DeleteAccountSettingResponse(setting=_describe(ctx, request.name, value, principal))


@operation(resource="*")
async def list_account_settings(ctx: Context, request: api.ListAccountSettingsRequest) -> api.ListAccountSettingsResponse:
    """The settings of a principal: those that were set, or with effectiveSettings all, with the values that count."""
    if request.value is not None and request.name is None:
        checks.invalid("You must specify an account setting name to filter by a value.")
    principal = _principal(ctx, request.principal_arn)
    found = _effective(ctx, principal) if request.effective_settings else _set(ctx, principal)
    chosen = [each for each in found if request.name in (None, each.name) and request.value in (None, each.value)]
    listed, token = page_of(
        ctx,
        chosen,
        key=lambda each: each.name,
        request=request,
        token=request.next_token,
        limit=min(10, checks.page_size(request.max_results)),
        invalid=checks.invalid_token,
    )
    return api.ListAccountSettingsResponse(settings=listed, next_token=token)


def _set(ctx: Context, principal: str) -> list[api.Setting]:
    rows = ctx.table(ACCOUNT_SETTINGS).scan((ctx.account, ctx.region, principal))
    return [_describe(ctx, row.name, row.value, row.principal) for row in rows]


def _effective(ctx: Context, principal: str) -> list[api.Setting]:
    return [_describe(ctx, name, settings.value(ctx, name, principal), principal) for name in SETTINGS]
