"""AssumeRole: a role's session for a caller that the role trusts."""

from __future__ import annotations

from collections.abc import Mapping

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere, ValidationFailed
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.operations import ConditionValue, operation
from cloudstead.services.sts import api, arns, lookups, second_factor, sessions
from cloudstead.services.sts.lookups import Role

ROLE_CHAINING_SECONDS = 3600


@operation(resource=lambda ctx, request: request.role_arn, public=True)
async def assume_role(ctx: Context, request: api.AssumeRoleRequest) -> api.AssumeRoleResponse:
    """Credentials of the role. Whether the caller may is decided here, with the trust policy (so the operation is public to the edge)."""
    if request.provided_contexts:
        raise NotImplementedHere("ProvidedContexts of AssumeRole are not available in Cloudstead yet.")
    sessions.refuse_padding(request.minimum_session_token_size)
    role = await lookups.role(ctx, request.role_arn)
    caller = ctx.identity
    tags = sessions.own_tags(request.tags, request.transitive_tag_keys, caller)
    source_identity = _source_identity(request, caller)
    mfa = await second_factor.shown(ctx, request.serial_number, request.token_code)
    _admit(ctx, request, role, tags, mfa)
    seconds = _duration(request, role, caller)
    policies = await sessions.policies(ctx, role.account, request.policy, request.policy_arns)
    packed = sessions.packed_size(policies, tags.values)
    identity = role_session(ctx, role, request.role_session_name, policies, tags, source_identity)
    return api.AssumeRoleResponse(
        credentials=sessions.credentials(ctx, identity, seconds),
        assumed_role_user=api.AssumedRoleUser(assumed_role_id=identity.user_id, arn=identity.arn),
        packed_policy_size=packed,
        source_identity=source_identity or None,
    )


def role_session(
    ctx: Context, role: Role, name: str, policies: tuple[str, ...], tags: sessions.Tags, source_identity: str, **context: str
) -> Identity:
    """The caller that has assumed a role."""
    return Identity(
        account=role.account,
        arn=arns.session(ctx, role.account, role.name, name),
        user_id=f"{role.role_id}:{name}",
        kind="assumed-role",
        principal_arn=role.arn,
        session_policies=policies,
        session_tags=tuple(tags.values.items()),
        transitive_tags=tags.transitive,
        issued_at=ctx.now(),
        source_identity=source_identity,
        session_context=tuple(context.items()),
    )


def role_conditions(role: Role, name: str, tags: sessions.Tags, source_identity: str) -> dict[str, ConditionValue]:
    """The condition keys that all ways to assume a role have."""
    return {
        "sts:RoleSessionName": name,
        **({"sts:SourceIdentity": source_identity} if source_identity else {}),
        **({"aws:TagKeys": list(tags.values)} if tags.values else {}),
        **({"sts:TransitiveTagKeys": list(tags.transitive)} if tags.transitive else {}),
        **{f"aws:RequestTag/{key}": value for key, value in tags.values.items()},
        **{f"{prefix}:ResourceTag/{key}": value for key, value in role.tags.items() for prefix in ("aws", "iam")},
    }


def admit(
    ctx: Context,
    action: str,
    role: Role,
    conditions: Mapping[str, ConditionValue],
    tags: sessions.Tags,
    source_identity: str,
    provider: str = "",
) -> None:
    """Refuse a caller whom the trust policy (and in its own account its policies) do not let in. Tags and a source identity are permissions of
    their own.

    Raises:
        AccessDenied
    """
    further = ["sts:TagSession"] * bool(tags.values) + ["sts:SetSourceIdentity"] * bool(source_identity)
    for needed in (action, *further):
        ctx.admit(needed, role.arn, role.trust_policy, conditions, provider=provider)


def _admit(ctx: Context, request: api.AssumeRoleRequest, role: Role, tags: sessions.Tags, mfa: bool) -> None:
    source_identity = _source_identity(request, ctx.identity)
    conditions = role_conditions(role, request.role_session_name, tags, source_identity)
    if request.external_id is not None:
        conditions["sts:ExternalId"] = request.external_id
    if mfa:  # the session that is given does not carry it on: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_configure-api-require.html
        conditions |= {"aws:MultiFactorAuthPresent": "true", "aws:MultiFactorAuthAge": "0"}
    admit(ctx, "sts:AssumeRole", role, conditions, tags, source_identity)


def _source_identity(request: api.AssumeRoleRequest, caller: Identity) -> str:
    """Once set it stays through a chain of roles."""
    if caller.source_identity and request.source_identity not in (None, caller.source_identity):
        raise ValidationFailed("The source identity of the calling session cannot be changed.")
    return caller.source_identity or request.source_identity or ""


def _duration(request: api.AssumeRoleRequest, role: Role, caller: Identity) -> int:
    seconds = 3600 if request.duration_seconds is None else request.duration_seconds
    if seconds > role.max_session_duration:
        raise ValidationFailed("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if caller.kind == "assumed-role" and seconds > ROLE_CHAINING_SECONDS:
        raise ValidationFailed("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
    return seconds
