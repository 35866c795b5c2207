"""Acting in the name of a role, as targets ask for it."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.identity import Identity

PRINCIPAL = "events.amazonaws.com"


async def as_role(ctx: Context, role: str, session: str) -> Context:
    """The context in which a role acts that EventBridge may take on.

    The role must exist and trust events.amazonaws.com; where policies are not enforced, neither is asked.

    Raises:
        AccessDenied
    """
    from cloudstead.services.iam import api as iam  # the daemon starts without it

    account, name = role.split(":")[4], role.rpartition("/")[2]
    here = ctx.cloud.service_context(PRINCIPAL, account, ctx.region)
    trust: str | None = None
    unique = "AROA00000000000000000"
    try:
        found = (await here.call(iam.GetRoleRequest(role_name=name))).role
        trust, unique = found.assume_role_policy_document, found.role_id
    except iam.NoSuchEntityException:
        pass
    here.admit("sts:AssumeRole", role, _plain(trust))
    identity = Identity(
        account=account,
        arn=f"arn:{ctx.partition}:sts::{account}:assumed-role/{name}/{session}",
        user_id=f"{unique}:{session}",
        kind="assumed-role",
        principal_arn=role,
        issued_at=ctx.now(),
    )
    return ctx.cloud.context(identity=identity, account=ctx.account, region=ctx.region)


def _plain(document: str | None) -> str | None:
    """IAM answers policies URL-encoded."""
    from urllib.parse import unquote

    return None if document is None else unquote(document)
