"""Service specific credentials: a name and a password for services that take no signatures."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, passwords, rules, users
from cloudstead.services.iam.model import SERVICE_CREDENTIALS, ServiceCredential, fold

SERVICES: Final = frozenset(("codecommit.amazonaws.com", "cassandra.amazonaws.com"))


def _require(ctx: Context, user: str | None, credential_id: str) -> ServiceCredential:
    """
    Raises:
        NoSuchEntityException, ValidationFailed
    """
    owner = users.user_or_caller(ctx, user)
    row: ServiceCredential | None = ctx.table(SERVICE_CREDENTIALS).get((ctx.account, fold(owner.name), credential_id))
    if row is None:
        raise api.NoSuchEntityException(f"No such credential {credential_id} exists")
    return row


def _check_service(service: str) -> None:
    if service not in SERVICES:
        raise api.NoSuchEntityException(f"No such service {service} is supported for Service Specific Credentials")


def _describe(row: ServiceCredential, password: str) -> api.ServiceSpecificCredential:
    """With its password, which is told this once."""
    return api.ServiceSpecificCredential(
        create_date=row.created,
        service_name=row.service,
        service_user_name=row.user_name,
        service_password=password,
        service_specific_credential_id=row.credential_id,
        user_name=row.user,
        status=row.status,
    )


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def create_service_specific_credential(
    ctx: Context, request: api.CreateServiceSpecificCredentialRequest
) -> api.CreateServiceSpecificCredentialResponse:
    user = users.require(ctx, request.user_name)
    _check_service(request.service_name)
    if request.credential_age_days is not None:
        raise ValidationFailed(f"CredentialAgeDays is not supported for {request.service_name}.")
    there = [row for row in ctx.table(SERVICE_CREDENTIALS).scan((ctx.account, fold(user.name))) if row.service == request.service_name]
    rules.within_quota(ctx, "service_credentials_per_user", len(there))
    password = ids.secret_access_key()
    number = f"+{len(there)}" if there else ""
    row = ServiceCredential(
        account=ctx.account,
        user=user.name,
        credential_id=ids.unique_id("ACCA"),
        service=request.service_name,
        user_name=f"{user.name}{number}-at-{ctx.account}",
        password_hash=passwords.digest(password),
        created=ctx.now(),
    )
    with ctx.transaction() as tx:
        tx.insert(SERVICE_CREDENTIALS, row)
    return api.CreateServiceSpecificCredentialResponse(service_specific_credential=_describe(row, password))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_service_specific_credentials(
    ctx: Context, request: api.ListServiceSpecificCredentialsRequest
) -> api.ListServiceSpecificCredentialsResponse:
    """Those of a user, or of all users, perhaps for one service."""
    if request.service_name is not None:
        _check_service(request.service_name)
    place = (ctx.account,) if request.all_users else (ctx.account, fold(users.user_or_caller(ctx, request.user_name).name))
    there = [row for row in ctx.table(SERVICE_CREDENTIALS).scan(place) if request.service_name in (None, row.service)]
    found, marker = rules.page_of(ctx, request, there, key=lambda row: (fold(row.user), row.credential_id))
    answers = [
        api.ServiceSpecificCredentialMetadata(
            user_name=row.user,
            status=row.status,
            service_user_name=row.user_name,
            create_date=row.created,
            service_specific_credential_id=row.credential_id,
            service_name=row.service,
        )
        for row in found
    ]
    return api.ListServiceSpecificCredentialsResponse(service_specific_credentials=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def update_service_specific_credential(
    ctx: Context, request: api.UpdateServiceSpecificCredentialRequest
) -> api.UpdateServiceSpecificCredentialResponse:
    row = _require(ctx, request.user_name, request.service_specific_credential_id)
    with ctx.transaction() as tx:
        tx.update(SERVICE_CREDENTIALS, row, status=rules.settable(request.status))
    return api.UpdateServiceSpecificCredentialResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def reset_service_specific_credential(
    ctx: Context, request: api.ResetServiceSpecificCredentialRequest
) -> api.ResetServiceSpecificCredentialResponse:
    """Make another password."""
    row = _require(ctx, request.user_name, request.service_specific_credential_id)
    password = ids.secret_access_key()
    with ctx.transaction() as tx:
        row = tx.update(SERVICE_CREDENTIALS, replace(row, password_hash=passwords.digest(password)))
    return api.ResetServiceSpecificCredentialResponse(service_specific_credential=_describe(row, password))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def delete_service_specific_credential(
    ctx: Context, request: api.DeleteServiceSpecificCredentialRequest
) -> api.DeleteServiceSpecificCredentialResponse:
    row = _require(ctx, request.user_name, request.service_specific_credential_id)
    with ctx.transaction() as tx:
        tx.delete(SERVICE_CREDENTIALS, SERVICE_CREDENTIALS.key(row))
    return api.DeleteServiceSpecificCredentialResponse()
