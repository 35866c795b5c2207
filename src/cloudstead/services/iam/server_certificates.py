"""Server certificates, as load balancers took them before there was ACM."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.tags import to_list
from cloudstead.services.iam import api, arns, certificates, rules
from cloudstead.services.iam.model import SERVER_CERTIFICATES, ServerCertificate, fold


def find(ctx: Context, name: str) -> ServerCertificate | None:
    row: ServerCertificate | None = ctx.table(SERVER_CERTIFICATES).get((ctx.account, fold(name)))
    return row


def require(ctx: Context, name: str) -> ServerCertificate:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, name)
    if row is None:
        raise api.NoSuchEntityException(f"The Server Certificate with name {name} cannot be found.")
    return row


def describe(one: ServerCertificate) -> api.ServerCertificateMetadata:
    return api.ServerCertificateMetadata(
        path=one.path,
        server_certificate_name=one.name,
        server_certificate_id=one.certificate_id,
        arn=one.arn,
        upload_date=one.uploaded,
        expiration=one.expires,
    )


@operation(resource=arns.new("server-certificate", "server_certificate_name"))
async def upload_server_certificate(ctx: Context, request: api.UploadServerCertificateRequest) -> api.UploadServerCertificateResponse:
    """Keep a certificate whose private key fits it."""
    name, path = request.server_certificate_name, request.path or "/"
    if find(ctx, name) is not None:
        raise api.EntityAlreadyExistsException(f"The Server Certificate with name {name} already exists.")
    rules.within_quota(ctx, "server_certificates", ctx.table(SERVER_CERTIFICATES).count((ctx.account,)))
    chain = (request.certificate_chain or "").strip()
    row = ServerCertificate(
        account=ctx.account,
        name=name,
        certificate_id=ids.unique_id("ASCA"),
        arn=arns.arn_of(ctx.account, "server-certificate", name, path),
        uploaded=ctx.now(),
        body=request.certificate_body.strip(),  # as AWS shows it
        private_key=request.private_key,
        expires=certificates.server_pair(request.certificate_body, request.private_key, chain),
        chain=chain,
        path=path,
        tags=rules.tags_from(request.tags, SERVER_CERTIFICATES),
    )
    with ctx.transaction() as tx:
        tx.insert(SERVER_CERTIFICATES, row)
    return api.UploadServerCertificateResponse(server_certificate_metadata=describe(row), tags=rules.tag_list(row.tags))


@operation(resource=arns.server_certificate, resource_tags=arns.server_certificate_tags)
async def get_server_certificate(ctx: Context, request: api.GetServerCertificateRequest) -> api.GetServerCertificateResponse:
    row = require(ctx, request.server_certificate_name)
    answer = api.ServerCertificate(
        server_certificate_metadata=describe(row),
        certificate_body=row.body,
        certificate_chain=row.chain or None,
        tags=to_list(row.tags, api.Tag),
    )
    return api.GetServerCertificateResponse(server_certificate=answer)


@operation(resource=arns.listed("server-certificate"))
async def list_server_certificates(ctx: Context, request: api.ListServerCertificatesRequest) -> api.ListServerCertificatesResponse:
    found, marker = rules.page(ctx, SERVER_CERTIFICATES, request, where=rules.below(request.path_prefix))
    answers = [describe(row) for row in found]
    return api.ListServerCertificatesResponse(server_certificate_metadata_list=answers, is_truncated=marker is not None, marker=marker)


def _updated(ctx: Context, request: Any) -> list[str]:
    """Renaming needs leave for the old and for the new name."""
    old = arns.server_certificate(ctx, request)
    row = find(ctx, request.server_certificate_name)
    path = request.new_path or (row.path if row else "/")
    name = request.new_server_certificate_name or request.server_certificate_name
    new = arns.arn_of(ctx.account, "server-certificate", name, path)
    return [old] if new == old else [old, new]


@operation(resource=_updated, resource_tags=arns.server_certificate_tags)
async def update_server_certificate(ctx: Context, request: api.UpdateServerCertificateRequest) -> api.UpdateServerCertificateResponse:
    """Give a certificate another name or path."""
    row = require(ctx, request.server_certificate_name)
    name, path = request.new_server_certificate_name or row.name, request.new_path or row.path
    taken = find(ctx, name)
    if taken is not None and taken.certificate_id != row.certificate_id:
        raise api.EntityAlreadyExistsException(f"The Server Certificate with name {name} already exists.")
    arn = arns.arn_of(ctx.account, "server-certificate", name, path)
    with ctx.transaction() as tx:
        tx.delete(SERVER_CERTIFICATES, SERVER_CERTIFICATES.key(row))
        tx.insert(SERVER_CERTIFICATES, replace(row, name=name, path=path, arn=arn))
    return api.UpdateServerCertificateResponse()


@operation(resource=arns.server_certificate, resource_tags=arns.server_certificate_tags)
async def delete_server_certificate(ctx: Context, request: api.DeleteServerCertificateRequest) -> api.DeleteServerCertificateResponse:
    row = require(ctx, request.server_certificate_name)
    with ctx.transaction() as tx:
        tx.delete(SERVER_CERTIFICATES, SERVER_CERTIFICATES.key(row))
    return api.DeleteServerCertificateResponse()
