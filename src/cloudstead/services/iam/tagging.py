"""Tags of everything that can have them. They stand in the rows; here are the operations that set, take away and list them."""

from __future__ import annotations

from typing import Any, TypeVar

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table
from cloudstead.kernel.tags import from_list, merge, to_list, without
from cloudstead.services.iam import (
    api,
    arns,
    instance_profiles,
    managed_policies,
    mfa_devices,
    oidc_providers,
    roles,
    rules,
    saml_providers,
    server_certificates,
    users,
)
from cloudstead.services.iam.model import (
    INSTANCE_PROFILES,
    MFA_DEVICES,
    OIDC_PROVIDERS,
    POLICIES,
    ROLES,
    SAML_PROVIDERS,
    SERVER_CERTIFICATES,
    USERS,
)

T = TypeVar("T", bound=Any)


def _tag(ctx: Context, table: Table[T], row: T, tags: list[api.Tag]) -> None:
    allowed = rules.tag_rules(table)
    with ctx.transaction() as tx:
        tx.update(table, row, tags=merge(row.tags, from_list(tags, allowed), allowed))


def _untag(ctx: Context, table: Table[T], row: T, keys: list[str]) -> None:
    with ctx.transaction() as tx:
        tx.update(table, row, tags=without(row.tags, keys, rules.tag_rules(table)))


def _page(ctx: Context, request: Any, tags: dict[str, str]) -> dict[str, Any]:
    found, marker = rules.page_of(ctx, request, to_list(tags, api.Tag), key=lambda tag: tag.key)
    return {"tags": found, "is_truncated": marker is not None, "marker": marker}


# ---- user


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def tag_user(ctx: Context, request: api.TagUserRequest) -> api.TagUserResponse:
    _tag(ctx, USERS, users.require(ctx, request.user_name), request.tags)
    return api.TagUserResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def untag_user(ctx: Context, request: api.UntagUserRequest) -> api.UntagUserResponse:
    _untag(ctx, USERS, users.require(ctx, request.user_name), request.tag_keys)
    return api.UntagUserResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_user_tags(ctx: Context, request: api.ListUserTagsRequest) -> api.ListUserTagsResponse:
    return api.ListUserTagsResponse(**_page(ctx, request, users.require(ctx, request.user_name).tags))


# ---- role


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def tag_role(ctx: Context, request: api.TagRoleRequest) -> api.TagRoleResponse:
    _tag(ctx, ROLES, roles.require(ctx, request.role_name), request.tags)
    return api.TagRoleResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def untag_role(ctx: Context, request: api.UntagRoleRequest) -> api.UntagRoleResponse:
    _untag(ctx, ROLES, roles.require(ctx, request.role_name), request.tag_keys)
    return api.UntagRoleResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def list_role_tags(ctx: Context, request: api.ListRoleTagsRequest) -> api.ListRoleTagsResponse:
    return api.ListRoleTagsResponse(**_page(ctx, request, roles.require(ctx, request.role_name).tags))


# ---- policy


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def tag_policy(ctx: Context, request: api.TagPolicyRequest) -> api.TagPolicyResponse:
    _tag(ctx, POLICIES, managed_policies.require_own(ctx, request.policy_arn), request.tags)
    return api.TagPolicyResponse()


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def untag_policy(ctx: Context, request: api.UntagPolicyRequest) -> api.UntagPolicyResponse:
    _untag(ctx, POLICIES, managed_policies.require_own(ctx, request.policy_arn), request.tag_keys)
    return api.UntagPolicyResponse()


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def list_policy_tags(ctx: Context, request: api.ListPolicyTagsRequest) -> api.ListPolicyTagsResponse:
    return api.ListPolicyTagsResponse(**_page(ctx, request, managed_policies.require(ctx, request.policy_arn).tags))


# ---- instance profile


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def tag_instance_profile(ctx: Context, request: api.TagInstanceProfileRequest) -> api.TagInstanceProfileResponse:
    _tag(ctx, INSTANCE_PROFILES, instance_profiles.require(ctx, request.instance_profile_name), request.tags)
    return api.TagInstanceProfileResponse()


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def untag_instance_profile(ctx: Context, request: api.UntagInstanceProfileRequest) -> api.UntagInstanceProfileResponse:
    _untag(ctx, INSTANCE_PROFILES, instance_profiles.require(ctx, request.instance_profile_name), request.tag_keys)
    return api.UntagInstanceProfileResponse()


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def list_instance_profile_tags(ctx: Context, request: api.ListInstanceProfileTagsRequest) -> api.ListInstanceProfileTagsResponse:
    return api.ListInstanceProfileTagsResponse(**_page(ctx, request, instance_profiles.require(ctx, request.instance_profile_name).tags))


# ---- server certificate


@operation(resource=arns.server_certificate, resource_tags=arns.server_certificate_tags)
async def tag_server_certificate(ctx: Context, request: api.TagServerCertificateRequest) -> api.TagServerCertificateResponse:
    _tag(ctx, SERVER_CERTIFICATES, server_certificates.require(ctx, request.server_certificate_name), request.tags)
    return api.TagServerCertificateResponse()


@operation(resource=arns.server_certificate, resource_tags=arns.server_certificate_tags)
async def untag_server_certificate(ctx: Context, request: api.UntagServerCertificateRequest) -> api.UntagServerCertificateResponse:
    _untag(ctx, SERVER_CERTIFICATES, server_certificates.require(ctx, request.server_certificate_name), request.tag_keys)
    return api.UntagServerCertificateResponse()


@operation(resource=arns.server_certificate, resource_tags=arns.server_certificate_tags)
async def list_server_certificate_tags(
    ctx: Context, request: api.ListServerCertificateTagsRequest
) -> api.ListServerCertificateTagsResponse:
    return api.ListServerCertificateTagsResponse(
        **_page(ctx, request, server_certificates.require(ctx, request.server_certificate_name).tags)
    )


# ---- MFA device


@operation(resource=arns.mfa_device, resource_tags=arns.mfa_device_tags)
async def tag_mfa_device(ctx: Context, request: api.TagMFADeviceRequest) -> api.TagMFADeviceResponse:
    _tag(ctx, MFA_DEVICES, mfa_devices.require(ctx, request.serial_number), request.tags)
    return api.TagMFADeviceResponse()


@operation(resource=arns.mfa_device, resource_tags=arns.mfa_device_tags)
async def untag_mfa_device(ctx: Context, request: api.UntagMFADeviceRequest) -> api.UntagMFADeviceResponse:
    _untag(ctx, MFA_DEVICES, mfa_devices.require(ctx, request.serial_number), request.tag_keys)
    return api.UntagMFADeviceResponse()


@operation(resource=arns.mfa_device, resource_tags=arns.mfa_device_tags)
async def list_mfa_device_tags(ctx: Context, request: api.ListMFADeviceTagsRequest) -> api.ListMFADeviceTagsResponse:
    return api.ListMFADeviceTagsResponse(**_page(ctx, request, mfa_devices.require(ctx, request.serial_number).tags))


# ---- OpenID Connect provider


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def tag_open_id_connect_provider(ctx: Context, request: api.TagOpenIDConnectProviderRequest) -> api.TagOpenIDConnectProviderResponse:
    _tag(ctx, OIDC_PROVIDERS, oidc_providers.require(ctx, request.open_id_connect_provider_arn), request.tags)
    return api.TagOpenIDConnectProviderResponse()


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def untag_open_id_connect_provider(
    ctx: Context, request: api.UntagOpenIDConnectProviderRequest
) -> api.UntagOpenIDConnectProviderResponse:
    _untag(ctx, OIDC_PROVIDERS, oidc_providers.require(ctx, request.open_id_connect_provider_arn), request.tag_keys)
    return api.UntagOpenIDConnectProviderResponse()


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def list_open_id_connect_provider_tags(
    ctx: Context, request: api.ListOpenIDConnectProviderTagsRequest
) -> api.ListOpenIDConnectProviderTagsResponse:
    return api.ListOpenIDConnectProviderTagsResponse(
        **_page(ctx, request, oidc_providers.require(ctx, request.open_id_connect_provider_arn).tags)
    )


# ---- SAML provider


@operation(resource=arns.saml_provider, resource_tags=arns.saml_provider_tags)
async def tag_saml_provider(ctx: Context, request: api.TagSAMLProviderRequest) -> api.TagSAMLProviderResponse:
    _tag(ctx, SAML_PROVIDERS, saml_providers.require(ctx, request.saml_provider_arn), request.tags)
    return api.TagSAMLProviderResponse()


@operation(resource=arns.saml_provider, resource_tags=arns.saml_provider_tags)
async def untag_saml_provider(ctx: Context, request: api.UntagSAMLProviderRequest) -> api.UntagSAMLProviderResponse:
    _untag(ctx, SAML_PROVIDERS, saml_providers.require(ctx, request.saml_provider_arn), request.tag_keys)
    return api.UntagSAMLProviderResponse()


@operation(resource=arns.saml_provider, resource_tags=arns.saml_provider_tags)
async def list_saml_provider_tags(ctx: Context, request: api.ListSAMLProviderTagsRequest) -> api.ListSAMLProviderTagsResponse:
    return api.ListSAMLProviderTagsResponse(**_page(ctx, request, saml_providers.require(ctx, request.saml_provider_arn).tags))
