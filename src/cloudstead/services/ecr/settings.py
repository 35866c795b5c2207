"""Settings of a registry, by name."""

from __future__ import annotations

from typing import Final

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, repositories
from cloudstead.services.ecr.model import SETTINGS, AccountSetting

# What each may be; the first is what a new registry has. AWS's default for BLOB_MOUNTING is DISABLED: clients then push again what is there already.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry-settings.html
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "BASIC_SCAN_TYPE_VERSION": ("AWS_NATIVE",),
    "BLOB_MOUNTING": ("ENABLED", "DISABLED"),
    "REGISTRY_POLICY_SCOPE": ("V2", "V1"),
}


def value_of(ctx: Context, account: str, name: str) -> str:
    row = ctx.table(SETTINGS).get((account, ctx.region, name))
    return _VALUES[name][0] if row is None else row.value


@operation(resource="*")
async def get_account_setting(ctx: Context, request: api.GetAccountSettingRequest) -> api.GetAccountSettingResponse:
    """What a setting is, set or not."""
    _require_known(request.name)
    return api.GetAccountSettingResponse(name=request.name, value=value_of(ctx, ctx.account, request.name))


@operation(resource="*")
async def put_account_setting(ctx: Context, request: api.PutAccountSettingRequest) -> api.PutAccountSettingResponse:
    """Change a setting."""
    values = _require_known(request.name)
    if request.value not in values:
        repositories.invalid("value", f"Member must satisfy enum value set: [{', '.join(sorted(values))}]")
    with ctx.transaction() as tx:
        tx.put(SETTINGS, AccountSetting(account=ctx.account, region=ctx.region, name=request.name, value=request.value))
    return api.PutAccountSettingResponse(name=request.name, value=request.value)


def _require_known(name: str) -> tuple[str, ...]:
    values = _VALUES.get(name)
    if values is None:
        repositories.invalid("name", f"Member must satisfy enum value set: [{', '.join(_VALUES)}]")
    return values
