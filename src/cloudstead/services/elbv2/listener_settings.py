"""What of a listener stands apart: its attributes, and certificates besides the default one."""

from __future__ import annotations

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.elbv2 import api, arns, attribute_changes, attributes, certificates, listeners
from cloudstead.services.elbv2.failures import bad_token, invalid
from cloudstead.services.elbv2.model import LISTENERS, Listener


def _told(row: Listener) -> list[api.ListenerAttribute]:
    found = attributes.told(attributes.of_listener(row.protocol), row.attributes)
    return [api.ListenerAttribute(key=key, value=value) for key, value in found]


@operation(resource="*")
async def describe_listener_attributes(
    ctx: Context, request: api.DescribeListenerAttributesRequest
) -> api.DescribeListenerAttributesResponse:
    """All attributes, also those that nobody has set."""
    return api.DescribeListenerAttributesResponse(attributes=_told(listeners.require(ctx, request.listener_arn)))


@operation(resource=arns.listener, resource_tags=arns.listener_tags)
async def modify_listener_attributes(ctx: Context, request: api.ModifyListenerAttributesRequest) -> api.ModifyListenerAttributesResponse:
    """Set some attributes; acts on the next connection or request."""
    row = listeners.require(ctx, request.listener_arn)
    kept = attribute_changes.changed(attributes.of_listener(row.protocol), row.attributes, request.attributes, "Listener")
    with ctx.transaction() as tx:
        row = tx.update(LISTENERS, row, attributes=kept)
    return api.ModifyListenerAttributesResponse(attributes=_told(row))


def _secure(ctx: Context, arn: str) -> Listener:
    row = listeners.require(ctx, arn)
    if row.protocol not in listeners.SECURE:
        invalid(f"Certificates cannot be specified for listeners with the protocol '{row.protocol}'")
    return row


@operation(resource=arns.listener, resource_tags=arns.listener_tags)
async def add_listener_certificates(ctx: Context, request: api.AddListenerCertificatesRequest) -> api.AddListenerCertificatesResponse:
    """Add certificates; the default one stays."""
    row = _secure(ctx, request.listener_arn)
    wanted = [each.certificate_arn or "" for each in request.certificates]
    await certificates.names(ctx, wanted)
    row = _secure(ctx, request.listener_arn)  # time has passed
    kept = tuple(dict.fromkeys((*row.certificates, *wanted)))
    quotas.require(
        ctx,
        "elbv2",
        "certificates",
        len(kept) - 2,  # the default one does not count
        lambda limit: api.TooManyCertificatesException(f"The maximum number of certificates ('{limit}') has been reached"),
    )
    names = await certificates.names(ctx, kept)
    row = _secure(ctx, request.listener_arn)
    with ctx.transaction() as tx:
        tx.update(LISTENERS, row, certificates=kept, names=names)
    found = [api.Certificate(certificate_arn=each, is_default=each == kept[0]) for each in dict.fromkeys(wanted)]
    return api.AddListenerCertificatesResponse(certificates=found)


@operation(resource=arns.listener, resource_tags=arns.listener_tags)
async def remove_listener_certificates(
    ctx: Context, request: api.RemoveListenerCertificatesRequest
) -> api.RemoveListenerCertificatesResponse:
    """Take certificates away; the default one cannot go."""
    row = _secure(ctx, request.listener_arn)
    gone = {each.certificate_arn for each in request.certificates}
    if row.certificates[0] in gone:
        raise api.OperationNotPermittedException(f"Default certificate '{row.certificates[0]}' cannot be removed")
    kept = tuple(each for each in row.certificates if each not in gone)
    names = await certificates.names(ctx, kept)
    row = _secure(ctx, request.listener_arn)  # time has passed
    with ctx.transaction() as tx:
        tx.update(LISTENERS, row, certificates=kept, names=names)
    return api.RemoveListenerCertificatesResponse()


@operation(resource="*")
async def describe_listener_certificates(
    ctx: Context, request: api.DescribeListenerCertificatesRequest
) -> api.DescribeListenerCertificatesResponse:
    """All certificates, the default one too."""
    row = listeners.require(ctx, request.listener_arn)
    found, marker = page_of(
        ctx,
        list(enumerate(row.certificates)),
        key=lambda item: item[0],
        request=request,
        token=request.marker,
        limit=request.page_size or 400,
        invalid=bad_token,
    )
    told = [api.Certificate(certificate_arn=arn, is_default=at == 0) for at, arn in found]
    return api.DescribeListenerCertificatesResponse(certificates=told, next_marker=marker)
