"""Signing certificates of users, for services of old that take no access keys."""

from __future__ import annotations

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, certificates, rules, users
from cloudstead.services.iam.model import SIGNING_CERTIFICATES, SigningCertificate, fold


def certificates_of(ctx: Context, user: str) -> list[SigningCertificate]:
    return ctx.table(SIGNING_CERTIFICATES).scan((ctx.account, fold(user)))


def _require(ctx: Context, user: str | None, certificate_id: str) -> SigningCertificate:
    """
    Raises:
        NoSuchEntityException, ValidationFailed
    """
    owner = users.user_or_caller(ctx, user)
    row: SigningCertificate | None = ctx.table(SIGNING_CERTIFICATES).get((ctx.account, fold(owner.name), certificate_id))
    if row is None:
        raise api.NoSuchEntityException(f"The Certificate with id {certificate_id} cannot be found.")
    return row


def _describe(one: SigningCertificate) -> api.SigningCertificate:
    return api.SigningCertificate(
        user_name=one.user, certificate_id=one.certificate_id, certificate_body=one.body, status=one.status, upload_date=one.uploaded
    )


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def upload_signing_certificate(ctx: Context, request: api.UploadSigningCertificateRequest) -> api.UploadSigningCertificateResponse:
    user = users.user_or_caller(ctx, request.user_name)
    try:
        certificates.certificate(request.certificate_body)
    except ValueError:
        raise api.MalformedCertificateException(f"Certificate {request.certificate_body} is malformed.") from None
    there = certificates_of(ctx, user.name)
    if any(one.body == request.certificate_body for one in there):
        raise api.DuplicateCertificateException(f"The certificate is already associated with the user {user.name}.")
    rules.within_quota(ctx, "signing_certificates_per_user", len(there))
    row = SigningCertificate(
        account=ctx.account,
        user=user.name,
        certificate_id=(ids.unique_id("") + ids.unique_id(""))[:32],
        body=request.certificate_body,
        uploaded=ctx.now(),
    )
    with ctx.transaction() as tx:
        tx.insert(SIGNING_CERTIFICATES, row)
    return api.UploadSigningCertificateResponse(certificate=_describe(row))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_signing_certificates(ctx: Context, request: api.ListSigningCertificatesRequest) -> api.ListSigningCertificatesResponse:
    user = users.user_or_caller(ctx, request.user_name)
    found, marker = rules.page_of(ctx, request, certificates_of(ctx, user.name), key=lambda one: one.certificate_id)
    answers = [_describe(one) for one in found]
    return api.ListSigningCertificatesResponse(certificates=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def update_signing_certificate(ctx: Context, request: api.UpdateSigningCertificateRequest) -> api.UpdateSigningCertificateResponse:
    row = _require(ctx, request.user_name, request.certificate_id)
    with ctx.transaction() as tx:
        tx.update(SIGNING_CERTIFICATES, row, status=rules.settable(request.status))
    return api.UpdateSigningCertificateResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def delete_signing_certificate(ctx: Context, request: api.DeleteSigningCertificateRequest) -> api.DeleteSigningCertificateResponse:
    row = _require(ctx, request.user_name, request.certificate_id)
    with ctx.transaction() as tx:
        tx.delete(SIGNING_CERTIFICATES, SIGNING_CERTIFICATES.key(row))
    return api.DeleteSigningCertificateResponse()
