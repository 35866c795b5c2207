"""GetSessionToken and GetFederationToken: temporary credentials for the caller itself, or for somebody the caller vouches for."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import AccessDenied, ValidationFailed
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.operations import operation
from cloudstead.services.sts import api, arns, second_factor, sessions

DEFAULT_SECONDS = 43_200


@operation(resource="*", public=True)
async def get_session_token(ctx: Context, request: api.GetSessionTokenRequest) -> api.GetSessionTokenResponse:
    """The caller's own rights for a while. Needs no permission, only long-term credentials."""
    _require_long_term(ctx.identity, "GetSessionToken")
    sessions.refuse_padding(request.minimum_session_token_size)
    seconds = _duration(request.duration_seconds, ctx.identity)
    mfa = await second_factor.shown(ctx, request.serial_number, request.token_code)
    identity = replace(ctx.identity, issued_at=ctx.now(), mfa=mfa)
    return api.GetSessionTokenResponse(credentials=sessions.credentials(ctx, identity, seconds))


@operation(resource=arns.federated_user)
async def get_federation_token(ctx: Context, request: api.GetFederationTokenRequest) -> api.GetFederationTokenResponse:
    """Credentials for a federated user, who has those rights of the caller that the session policies allow: none without such policies."""
    caller = ctx.identity
    _require_long_term(caller, "GetFederationToken")
    sessions.refuse_padding(request.minimum_session_token_size)
    seconds = _duration(request.duration_seconds, caller)
    tags = sessions.own_tags(request.tags, None, caller)
    policies = await sessions.policies(ctx, caller.account, request.policy, request.policy_arns)
    packed = sessions.packed_size(policies, tags.values)
    identity = Identity(
        account=caller.account,
        arn=arns.federated_user(ctx, request),
        user_id=f"{caller.account}:{request.name}",
        kind="federated-user",
        principal_arn=caller.principal_arn,
        principal_id=caller.user_id,
        session_policies=policies,
        session_tags=tuple(tags.values.items()),
        issued_at=ctx.now(),
    )
    return api.GetFederationTokenResponse(
        credentials=sessions.credentials(ctx, identity, seconds),
        federated_user=api.FederatedUser(federated_user_id=identity.user_id, arn=identity.arn),
        packed_policy_size=packed,
    )


def _require_long_term(caller: Identity, operation_name: str) -> None:
    if caller.kind not in ("root", "user") or caller.issued_at:
        raise AccessDenied(f"Cannot call {operation_name} with session credentials")


def _duration(requested: int | None, caller: Identity) -> int:
    longest = sessions.LONGEST_OF_ROOT if caller.kind == "root" else 129_600
    seconds = min(DEFAULT_SECONDS, longest) if requested is None else requested
    if not sessions.SHORTEST <= seconds <= 129_600:
        raise ValidationFailed("DurationSeconds must be between 900 and 129600 seconds.")
    return min(seconds, longest)  # AWS shortens root's instead of refusing
