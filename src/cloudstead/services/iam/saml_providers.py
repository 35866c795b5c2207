"""SAML providers: kept with their metadata."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.tags import to_list
from cloudstead.services.iam import api, arns, certificates, rules
from cloudstead.services.iam.model import SAML_PROVIDERS, SamlPrivateKey, SamlProvider, fold

_KIND: Final = "saml-provider/"
_METADATA: Final = "{urn:oasis:names:tc:SAML:2.0:metadata}"
_UNLIMITED: Final = 100 * 365 * 86_400.0  # seconds: how long AWS takes metadata to be valid that does not say it
_MOST_KEYS: Final = 2


def find(ctx: Context, arn: str) -> SamlProvider | None:
    row: SamlProvider | None = ctx.table(SAML_PROVIDERS).get((ctx.account, fold(arn.partition(_KIND)[2])))
    return row if row is not None and row.arn == arn else None


def require(ctx: Context, arn: str) -> SamlProvider:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, arn)
    if row is None:
        raise api.NoSuchEntityException(f"Manifest not found for arn {arn}")
    return row


def _valid_until(metadata: str, now: float) -> float:
    """When the metadata of a provider ends to be valid.

    Raises:
        InvalidInputException: it is not the metadata of an identity provider.
    """
    try:
        if "<!DOCTYPE" in metadata:  # no metadata needs one, and entities are a way to make much of little
            raise ValueError("a document type")
        root = ElementTree.fromstring(metadata)
        if root.tag != f"{_METADATA}EntityDescriptor" or not root.get("entityID") or root.find(f"{_METADATA}IDPSSODescriptor") is None:
            raise ValueError("no EntityDescriptor of an identity provider")
        limit = root.get("validUntil")
        if limit is None:
            return now + _UNLIMITED
        moment = datetime.fromisoformat(limit)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ElementTree.ParseError, ValueError, OverflowError):
        raise api.InvalidInputException("Could not parse metadata") from None


def _with_key(ctx: Context, keys: tuple[SamlPrivateKey, ...], pem: str | None) -> tuple[SamlPrivateKey, ...]:
    if pem is None:
        return keys
    if len(keys) >= _MOST_KEYS:
        raise api.LimitExceededException(f"Cannot exceed quota for PrivateKeysPerSAMLProvider: {_MOST_KEYS}")
    certificates.private_key(pem)
    return (*keys, SamlPrivateKey(key_id=ids.unique_id("SAMLK"), added=ctx.now(), pem=pem))


@operation(resource=arns.new("saml-provider", "name"))
async def create_saml_provider(ctx: Context, request: api.CreateSAMLProviderRequest) -> api.CreateSAMLProviderResponse:
    arn = arns.arn_of(ctx.account, "saml-provider", request.name)
    valid_until = _valid_until(request.saml_metadata_document, ctx.now())
    if ctx.table(SAML_PROVIDERS).get((ctx.account, fold(request.name))) is not None:
        raise api.EntityAlreadyExistsException(f"SAMLProvider with name {request.name} already exists.")
    rules.within_quota(ctx, "saml_providers", ctx.table(SAML_PROVIDERS).count((ctx.account,)))
    provider = SamlProvider(
        account=ctx.account,
        name=request.name,
        arn=arn,
        created=ctx.now(),
        metadata=request.saml_metadata_document,
        valid_until=valid_until,
        uuid=ids.unique_id("SAMLP"),
        encryption=request.assertion_encryption_mode or "Allowed",
        private_keys=_with_key(ctx, (), request.add_private_key),
        tags=rules.tags_from(request.tags, SAML_PROVIDERS),
    )
    with ctx.transaction() as tx:
        tx.insert(SAML_PROVIDERS, provider)
    return api.CreateSAMLProviderResponse(saml_provider_arn=arn, tags=rules.tag_list(provider.tags))


@operation(resource=arns.saml_provider, resource_tags=arns.saml_provider_tags)
async def get_saml_provider(ctx: Context, request: api.GetSAMLProviderRequest) -> api.GetSAMLProviderResponse:
    provider = require(ctx, request.saml_provider_arn)
    return api.GetSAMLProviderResponse(
        saml_provider_uuid=provider.uuid,
        saml_metadata_document=provider.metadata,
        create_date=provider.created,
        valid_until=provider.valid_until,
        tags=to_list(provider.tags, api.Tag),
        assertion_encryption_mode=provider.encryption,
        private_key_list=[api.SAMLPrivateKey(key_id=key.key_id, timestamp=key.added) for key in provider.private_keys],
    )


@operation(resource=arns.listed("saml-provider"))
async def list_saml_providers(ctx: Context, request: api.ListSAMLProvidersRequest) -> api.ListSAMLProvidersResponse:
    entries = [
        api.SAMLProviderListEntry(arn=provider.arn, valid_until=provider.valid_until, create_date=provider.created)
        for provider in ctx.table(SAML_PROVIDERS).scan((ctx.account,))
    ]
    return api.ListSAMLProvidersResponse(saml_provider_list=entries)


@operation(resource=arns.saml_provider, resource_tags=arns.saml_provider_tags)
async def update_saml_provider(ctx: Context, request: api.UpdateSAMLProviderRequest) -> api.UpdateSAMLProviderResponse:
    """Replace the metadata, or what concerns encrypted assertions."""
    provider = require(ctx, request.saml_provider_arn)
    metadata, valid_until = provider.metadata, provider.valid_until
    if request.saml_metadata_document is not None:
        metadata, valid_until = request.saml_metadata_document, _valid_until(request.saml_metadata_document, ctx.now())
    keys = tuple(key for key in provider.private_keys if key.key_id != request.remove_private_key)
    if request.remove_private_key is not None and len(keys) == len(provider.private_keys):
        raise api.NoSuchEntityException(f"The private key with id {request.remove_private_key} cannot be found.")
    with ctx.transaction() as tx:
        tx.update(
            SAML_PROVIDERS,
            provider,
            metadata=metadata,
            valid_until=valid_until,
            encryption=request.assertion_encryption_mode or provider.encryption,
            private_keys=_with_key(ctx, keys, request.add_private_key),
        )
    return api.UpdateSAMLProviderResponse(saml_provider_arn=provider.arn)


@operation(resource=arns.saml_provider, resource_tags=arns.saml_provider_tags)
async def delete_saml_provider(ctx: Context, request: api.DeleteSAMLProviderRequest) -> api.DeleteSAMLProviderResponse:
    provider = require(ctx, request.saml_provider_arn)
    with ctx.transaction() as tx:
        tx.delete(SAML_PROVIDERS, SAML_PROVIDERS.key(provider))
    return api.DeleteSAMLProviderResponse()
