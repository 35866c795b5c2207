"""Account settings: what there are, and which value counts for whom.

A principal's own value counts before the account's default, and that before AWS's. What they do here:

    containerInsights                       what a new cluster has
    tagResourceAuthorization                whether who tags what he makes needs the permission to tag
    defaultLogDriverMode                    of awslogs, where a container does not say (read by what runs containers)
    serviceLongArnFormat, taskLong…, …      always enabled: AWS gives short ARNs to nobody any more
    the others                              kept and told

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
"""

from __future__ import annotations

from typing import NamedTuple

from cloudstead.kernel.context import Context
from cloudstead.services.ecs.model import ACCOUNT_SETTINGS

ROOT = "root"


class Setting(NamedTuple):
    default: str
    values: tuple[str, ...]
    account_only: bool = False  # holds for the account: no principal has a value of his own
    fixed: bool = False  # nobody can change it


_ENABLED = ("enabled", "disabled")

SETTINGS: dict[str, Setting] = {
    "serviceLongArnFormat": Setting("enabled", _ENABLED),
    "taskLongArnFormat": Setting("enabled", _ENABLED),
    "containerInstanceLongArnFormat": Setting("enabled", _ENABLED),
    "awsvpcTrunking": Setting("disabled", _ENABLED),
    "containerInsights": Setting("disabled", ("enabled", "disabled", "enhanced")),
    "fargateFIPSMode": Setting("disabled", _ENABLED, account_only=True),
    "tagResourceAuthorization": Setting("on", ("on", "off"), account_only=True),
    "fargateTaskRetirementWaitPeriod": Setting("7", ("0", "7", "14"), account_only=True),
    "guardDutyActivate": Setting("off", ("on", "off"), account_only=True, fixed=True),
    "defaultLogDriverMode": Setting("non-blocking", ("blocking", "non-blocking")),
    "fargateEventWindows": Setting("disabled", _ENABLED, account_only=True),
}


def principal_of(ctx: Context) -> str:
    """Whose settings count for the caller: the user's or the role's ARN; the account's defaults are those of root too."""
    arn = ctx.identity.principal_arn or ctx.identity.arn
    return "" if arn.endswith(":root") or ctx.identity.is_service else arn


def value(ctx: Context, name: str, principal: str | None = None) -> str:
    """The value that counts for a principal (None: for the caller)."""
    who = principal_of(ctx) if principal is None else principal
    table = ctx.table(ACCOUNT_SETTINGS)
    for each in dict.fromkeys((who, "")):
        row = table.get((ctx.account, ctx.region, each, name))
        if row is not None:
            return str(row.value)
    return SETTINGS[name].default
