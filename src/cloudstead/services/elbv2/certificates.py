"""Certificates of listeners, by the ARNs of ACM and IAM.

Neither tells anybody the private key of a certificate; so TLS is ended with certificates of this installation's own authority (`<data>/tls/ca.pem`),
for the names that the wanted certificates are for. The ARNs are kept and told.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.places import PRINCIPAL
from cloudstead.services.iam import api as iam


async def names(ctx: Context, wanted: Sequence[str]) -> tuple[str, ...]:
    """The host names that certificates are for.

    Raises:
        CertificateNotFoundException
    """
    found: dict[str, None] = {}
    for each in wanted:
        found.update(dict.fromkeys(await _names(ctx, each)))
    return tuple(found)


async def _names(ctx: Context, text: str) -> list[str]:
    try:
        arn = Arn.parse(text)
    except ValueError:
        raise api.CertificateNotFoundException(f"Certificate ARN '{text}' is not valid") from None
    own = ctx.cloud.service_context(PRINCIPAL, ctx.account, ctx.region)
    try:
        if arn.account == ctx.account and arn.service == "iam" and arn.kind == "server-certificate":
            name = arn.name.rpartition("/")[2]
            answer = await own.call(iam.GetServerCertificateRequest(server_certificate_name=name))
            if answer.server_certificate.server_certificate_metadata.arn == text:
                return _of_pem(answer.server_certificate.certificate_body)
        elif arn.account == ctx.account and arn.service == "acm" and arn.region == ctx.region and ctx.cloud.companion is not None:
            described = await ctx.cloud.companion.call(own, "acm", "DescribeCertificate", {"CertificateArn": text})
            certificate = described["Certificate"]
            return [certificate["DomainName"], *certificate.get("SubjectAlternativeNames", ())]
    except ServiceError as error:
        if "NotFound" not in error.code and "NoSuchEntity" not in error.code:
            raise
    raise api.CertificateNotFoundException(f"Certificate '{text}' not found")


def _of_pem(pem: str) -> list[str]:
    from cryptography import x509  # slow to import

    certificate = x509.load_pem_x509_certificate(pem.encode())
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [name.lower() for name in found.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(each.value).lower() for each in common]
