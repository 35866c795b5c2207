"""AssumeRoleWithWebIdentity: a role's session for the holder of a token of an identity provider that the role trusts."""

from __future__ import annotations

from typing import Any, Final

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import ConditionValue, operation
from cloudstead.services.sts import api, jwt, keys, lookups, roles, sessions
from cloudstead.services.sts.lookups import Role

BUILT_IN: Final = {"https://accounts.google.com": "accounts.google.com", "accounts.google.com": "accounts.google.com"}
"""Issuers that need not be registered, and what trust policies call them."""
_TAGS: Final = "https://aws.amazon.com/tags"
_SOURCE_IDENTITY: Final = "https://aws.amazon.com/source_identity"
_LEEWAY: Final = 300.0  # seconds by which a provider's clock may be ahead


@operation(resource=lambda ctx, request: request.role_arn, public=True, anonymous=True)
async def assume_role_with_web_identity(
    ctx: Context, request: api.AssumeRoleWithWebIdentityRequest
) -> api.AssumeRoleWithWebIdentityResponse:
    """Credentials of the role. The token says who asks; the trust policy decides."""
    if request.provider_id is not None:
        raise ValidationFailed(
            "ProviderId is only for OAuth 2.0 access tokens, which Cloudstead does not take; use an OpenID Connect ID token."
        )
    sessions.refuse_padding(request.minimum_session_token_size)
    role = await lookups.role(ctx, request.role_arn)
    token = read(request.web_identity_token)
    provider, name, audience = await _vouched_for(ctx, role, token)
    claims = token.claims
    subject = text(claims, "sub")
    tags = _tags(claims)
    source_identity = str(claims.get(_SOURCE_IDENTITY) or "")
    context = {f"{name}:aud": audience, f"{name}:sub": subject, "aws:FederatedProvider": provider}
    conditions: dict[str, ConditionValue] = {**roles.role_conditions(role, request.role_session_name, tags, source_identity), **context}
    if "azp" in claims:
        conditions[f"{name}:oaud"] = _audiences(claims)
    if isinstance(claims.get("amr"), list):
        conditions[f"{name}:amr"] = [str(one) for one in claims["amr"]]
    roles.admit(ctx, "sts:AssumeRoleWithWebIdentity", role, conditions, tags, source_identity, provider)
    seconds = _duration(request, role)
    policies = await sessions.policies(ctx, role.account, request.policy, request.policy_arns)
    packed = sessions.packed_size(policies, tags.values)
    identity = roles.role_session(ctx, role, request.role_session_name, policies, tags, source_identity, **context)
    return api.AssumeRoleWithWebIdentityResponse(
        credentials=sessions.credentials(ctx, identity, seconds),
        subject_from_web_identity_token=subject,
        assumed_role_user=api.AssumedRoleUser(assumed_role_id=identity.user_id, arn=identity.arn),
        packed_policy_size=packed,
        provider=provider,
        audience=audience,
        source_identity=source_identity or None,
    )


def read(text_: str) -> jwt.Token:
    """
    Raises:
        InvalidIdentityTokenException: this is no token.
    """
    try:
        return jwt.read(text_)
    except jwt.Invalid:
        raise api.InvalidIdentityTokenException(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        ) from None


async def _vouched_for(ctx: Context, role: Role, token: jwt.Token) -> tuple[str, str, str]:
    """Check the token: (what trust policies call the provider, the prefix of its condition keys, the audience).

    Raises:
        InvalidIdentityTokenException, ExpiredTokenException, IDPCommunicationErrorException
    """
    issuer = text(token.claims, "iss")
    audiences = _audiences(token.claims)
    audience = token.claims.get("azp") if isinstance(token.claims.get("azp"), str) else next(iter(audiences), "")
    name = BUILT_IN.get(issuer, "")
    provider = name
    if not name:
        name = issuer.removeprefix("https://").rstrip("/")
        registered = await lookups.oidc_provider(ctx, role.account, name)
        provider = lookups.provider_arn(ctx, role.account, name)
        if not {audience, *audiences} & set(registered.client_id_list or ()):
            raise api.InvalidIdentityTokenException("Incorrect token audience")
    _check_times(ctx, token.claims)
    if not await keys.Keys.of(ctx.cloud).verify(issuer, token):
        raise api.InvalidIdentityTokenException("Provided Token's signature is invalid")
    return provider, name, str(audience)


def _check_times(ctx: Context, claims: dict[str, Any]) -> None:
    now = ctx.now()
    expires, begins = claims.get("exp"), claims.get("nbf", claims.get("iat"))
    if not isinstance(expires, int | float):
        raise api.InvalidIdentityTokenException("Missing a required claim: exp")
    if now >= expires:
        raise api.ExpiredTokenException(
            f"Token expired: current date/time {int(now)} must be before the expiration date/time {int(expires)}"
        )
    if isinstance(begins, int | float) and begins > now + _LEEWAY:
        raise api.InvalidIdentityTokenException("Token is not yet valid")


def text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise api.InvalidIdentityTokenException(f"Missing a required claim: {name}")
    return value


def _audiences(claims: dict[str, Any]) -> list[str]:
    value = claims.get("aud")
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _tags(claims: dict[str, Any]) -> sessions.Tags:
    """Session tags that the provider puts into the token.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp
    """
    given = claims.get(_TAGS)
    if not isinstance(given, dict):
        return sessions.Tags({}, ())
    principal = given.get("principal_tags")
    tags = {
        key: str(value[0] if isinstance(value, list) and value else value)
        for key, value in (principal.items() if isinstance(principal, dict) else ())
    }
    transitive = given.get("transitive_tag_keys")
    return sessions.Tags(tags, tuple(key for key in (transitive if isinstance(transitive, list) else ()) if key in tags))


def _duration(request: api.AssumeRoleWithWebIdentityRequest, role: Role) -> int:
    seconds = 3600 if request.duration_seconds is None else request.duration_seconds
    if seconds > role.max_session_duration:
        raise ValidationFailed("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return seconds
