"""What concerns the account as a whole: its alias, its password policy, how much there is of everything."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table
from cloudstead.services.iam import api, inline_policies, policy_versions, rules
from cloudstead.services.iam.model import (
    ACCESS_KEYS,
    GROUPS,
    INSTANCE_PROFILES,
    MFA_DEVICES,
    OIDC_PROVIDERS,
    POLICIES,
    ROLES,
    SAML_PROVIDERS,
    SERVER_CERTIFICATES,
    SETTINGS,
    USERS,
    AccountSettings,
    PasswordPolicy,
)


def settings(ctx: Context) -> AccountSettings:
    row: AccountSettings | None = ctx.table(SETTINGS).get((ctx.account,))
    return row or AccountSettings(account=ctx.account)


def _change(ctx: Context, **changes: Any) -> None:
    with ctx.transaction() as tx:
        tx.put(SETTINGS, replace(settings(ctx), **changes))


# ---- the alias


@operation(resource="*")
async def create_account_alias(ctx: Context, request: api.CreateAccountAliasRequest) -> api.CreateAccountAliasResponse:
    """Give the account an alias in place of the one that it has; no two accounts share one."""
    taken = ctx.table(SETTINGS).find("by_alias", (request.account_alias,))
    if taken is not None and taken.account != ctx.account:
        raise api.EntityAlreadyExistsException(f"The account alias {request.account_alias} already exists.")
    _change(ctx, alias=request.account_alias)
    return api.CreateAccountAliasResponse()


@operation(resource="*")
async def list_account_aliases(ctx: Context, request: api.ListAccountAliasesRequest) -> api.ListAccountAliasesResponse:
    """The one alias, or none."""
    alias = settings(ctx).alias
    found, marker = rules.page_of(ctx, request, [alias] if alias else [], key=str)
    return api.ListAccountAliasesResponse(account_aliases=found, is_truncated=marker is not None, marker=marker)


@operation(resource="*")
async def delete_account_alias(ctx: Context, request: api.DeleteAccountAliasRequest) -> api.DeleteAccountAliasResponse:
    if settings(ctx).alias != request.account_alias:
        raise api.NoSuchEntityException(f"The account alias with name {request.account_alias} cannot be found.")
    _change(ctx, alias="")
    return api.DeleteAccountAliasResponse()


# ---- the password policy


def _describe(policy: PasswordPolicy) -> api.PasswordPolicy:
    return api.PasswordPolicy(
        minimum_password_length=policy.minimum_password_length,
        require_symbols=policy.require_symbols,
        require_numbers=policy.require_numbers,
        require_uppercase_characters=policy.require_uppercase_characters,
        require_lowercase_characters=policy.require_lowercase_characters,
        allow_users_to_change_password=policy.allow_users_to_change_password,
        expire_passwords=policy.max_password_age > 0,
        max_password_age=policy.max_password_age or None,
        password_reuse_prevention=policy.password_reuse_prevention or None,
        hard_expiry=policy.hard_expiry or None,
    )


@operation(resource="*")
async def update_account_password_policy(
    ctx: Context, request: api.UpdateAccountPasswordPolicyRequest
) -> api.UpdateAccountPasswordPolicyResponse:
    """Replace the policy: what the request does not say gets its default again."""
    wanted = {name: value for name in request.__struct_fields__ if (value := getattr(request, name)) is not None}
    _change(ctx, password_policy=PasswordPolicy(**wanted))
    return api.UpdateAccountPasswordPolicyResponse()


@operation(resource="*")
async def get_account_password_policy(ctx: Context, request: api.GetAccountPasswordPolicyRequest) -> api.GetAccountPasswordPolicyResponse:
    policy = settings(ctx).password_policy
    if policy is None:
        raise api.NoSuchEntityException(f"The Password Policy with domain name {ctx.account} cannot be found.")
    return api.GetAccountPasswordPolicyResponse(password_policy=_describe(policy))


@operation(resource="*")
async def delete_account_password_policy(
    ctx: Context, request: api.DeleteAccountPasswordPolicyRequest
) -> api.DeleteAccountPasswordPolicyResponse:
    if settings(ctx).password_policy is None:
        raise api.NoSuchEntityException("The account policy with name PasswordPolicy cannot be found.")
    _change(ctx, password_policy=None)
    return api.DeleteAccountPasswordPolicyResponse()


# ---- numbers

_COUNTED: Final[dict[str, Table[Any]]] = {
    "Users": USERS,
    "Groups": GROUPS,
    "Roles": ROLES,
    "Policies": POLICIES,
    "InstanceProfiles": INSTANCE_PROFILES,
    "ServerCertificates": SERVER_CERTIFICATES,
    "MFADevices": MFA_DEVICES,
}
_QUOTAS: Final = {
    "UsersQuota": "users",
    "GroupsQuota": "groups",
    "RolesQuota": "roles",
    "PoliciesQuota": "policies",
    "InstanceProfilesQuota": "instance_profiles",
    "ServerCertificatesQuota": "server_certificates",
    "GroupsPerUserQuota": "groups_per_user",
    "AccessKeysPerUserQuota": "access_keys_per_user",
    "SigningCertificatesPerUserQuota": "signing_certificates_per_user",
    "AttachedPoliciesPerUserQuota": "policies_per_user",
    "AttachedPoliciesPerGroupQuota": "policies_per_group",
    "AttachedPoliciesPerRoleQuota": "policies_per_role",
    "PolicySizeQuota": "policy_size",
    "AssumeRolePolicySizeQuota": "trust_policy_size",
}


@operation(resource="*")
async def get_account_summary(ctx: Context, request: api.GetAccountSummaryRequest) -> api.GetAccountSummaryResponse:
    """How much there is of everything, and how much there may be. The root user has neither password nor MFA device here."""
    own = (ctx.account,)
    summary: dict[Any, int] = {name: ctx.table(table).count(own) for name, table in _COUNTED.items()}
    summary |= {name: rules.quota(ctx, code) for name, code in _QUOTAS.items()}
    summary |= {
        "MFADevicesInUse": ctx.table(MFA_DEVICES).count(own, index="by_user"),
        "Providers": ctx.table(OIDC_PROVIDERS).count(own) + ctx.table(SAML_PROVIDERS).count(own),
        "PolicyVersionsInUse": sum(len(policy.versions) for policy in ctx.table(POLICIES).scan(own)),
        "PolicyVersionsInUseQuota": 10000,
        "VersionsPerPolicyQuota": policy_versions.MOST,
        "UserPolicySizeQuota": inline_policies.LONGEST["user"],
        "GroupPolicySizeQuota": inline_policies.LONGEST["group"],
        "RolePolicySizeQuota": inline_policies.LONGEST["role"],
        "AccountAccessKeysPresent": int(ctx.table(ACCESS_KEYS).count((ctx.account, ""), index="by_user") > 0),
        "AccountMFAEnabled": 0,
        "AccountPasswordPresent": 0,
        "AccountSigningCertificatesPresent": 0,
        "GlobalEndpointTokenVersion": settings(ctx).token_version,
    }
    return api.GetAccountSummaryResponse(summary_map=summary)


@operation(resource="*")
async def set_security_token_service_preferences(
    ctx: Context, request: api.SetSecurityTokenServicePreferencesRequest
) -> api.SetSecurityTokenServicePreferencesResponse:
    """Which tokens the global endpoint of STS gives. Both kinds are good in every region here, so that only the summary shows the choice."""
    _change(ctx, token_version=2 if request.global_endpoint_token_version == "v2Token" else 1)
    return api.SetSecurityTokenServicePreferencesResponse()
