"""OpenID Connect providers, whose tokens AssumeRoleWithWebIdentity takes."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.tags import to_list
from cloudstead.services.iam import api, arns, rules
from cloudstead.services.iam.model import OIDC_PROVIDERS, OpenIDConnectProvider

_SCHEME: Final = "https://"
_KIND: Final = "oidc-provider/"


def find(ctx: Context, arn: str) -> OpenIDConnectProvider | None:
    row: OpenIDConnectProvider | None = ctx.table(OIDC_PROVIDERS).get((ctx.account, arn.partition(_KIND)[2]))
    return row if row is not None and row.arn == arn else None


def require(ctx: Context, arn: str) -> OpenIDConnectProvider:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, arn)
    if row is None:
        raise api.NoSuchEntityException(f"OpenIDConnect Provider not found for arn {arn}")
    return row


def _location(url: str) -> str:
    """Host and path of a provider's URL: what it is known by.

    Raises:
        ValidationFailed
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and parts.hostname and not parts.query and not parts.fragment and not parts.username
    except ValueError:
        usable = False
    if not usable:
        raise ValidationFailed("Invalid Open ID Connect Provider URL")
    return url.removeprefix(_SCHEME)


def _check_thumbprints(thumbprints: list[str]) -> tuple[str, ...]:
    if len(thumbprints) > 5:
        raise api.InvalidInputException("Thumbprint list must contain fewer than 5 entries.")  # AWS's words; it takes five
    return tuple(thumbprints)


@operation(resource=lambda ctx, request: arns.arn_of(ctx.account, "oidc-provider", request.url.removeprefix(_SCHEME)))
async def create_open_id_connect_provider(
    ctx: Context, request: api.CreateOpenIDConnectProviderRequest
) -> api.CreateOpenIDConnectProviderResponse:
    """Trust a provider's tokens. Thumbprints are kept as they are given; none is fetched."""
    url = _location(request.url)
    clients = tuple(dict.fromkeys(request.client_id_list or ()))
    thumbprints = _check_thumbprints(request.thumbprint_list or [])
    if len(clients) > (limit := rules.quota(ctx, "client_ids")):
        raise api.LimitExceededException(f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {limit}")
    if ctx.table(OIDC_PROVIDERS).get((ctx.account, url)) is not None:
        raise api.EntityAlreadyExistsException(f"Provider with url {request.url} already exists.")
    rules.within_quota(ctx, "oidc_providers", ctx.table(OIDC_PROVIDERS).count((ctx.account,)))
    provider = OpenIDConnectProvider(
        account=ctx.account,
        url=url,
        arn=arns.arn_of(ctx.account, "oidc-provider", url),
        created=ctx.now(),
        client_ids=clients,
        thumbprints=thumbprints,
        tags=rules.tags_from(request.tags, OIDC_PROVIDERS),
    )
    with ctx.transaction() as tx:
        tx.insert(OIDC_PROVIDERS, provider)
    return api.CreateOpenIDConnectProviderResponse(open_id_connect_provider_arn=provider.arn, tags=rules.tag_list(provider.tags))


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def get_open_id_connect_provider(ctx: Context, request: api.GetOpenIDConnectProviderRequest) -> api.GetOpenIDConnectProviderResponse:
    provider = require(ctx, request.open_id_connect_provider_arn)
    return api.GetOpenIDConnectProviderResponse(
        url=provider.url,
        client_id_list=list(provider.client_ids),
        thumbprint_list=list(provider.thumbprints),
        create_date=provider.created,
        tags=to_list(provider.tags, api.Tag),
    )


@operation(resource=arns.listed("oidc-provider"))
async def list_open_id_connect_providers(
    ctx: Context, request: api.ListOpenIDConnectProvidersRequest
) -> api.ListOpenIDConnectProvidersResponse:
    there = ctx.table(OIDC_PROVIDERS).scan((ctx.account,))
    return api.ListOpenIDConnectProvidersResponse(
        open_id_connect_provider_list=[api.OpenIDConnectProviderListEntry(arn=provider.arn) for provider in there]
    )


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def add_client_id_to_open_id_connect_provider(
    ctx: Context, request: api.AddClientIDToOpenIDConnectProviderRequest
) -> api.AddClientIDToOpenIDConnectProviderResponse:
    """Take tokens for one more client; no more happens when it is known already."""
    provider = require(ctx, request.open_id_connect_provider_arn)
    if request.client_id not in provider.client_ids:
        rules.within_quota(ctx, "client_ids", len(provider.client_ids))
        with ctx.transaction() as tx:
            tx.update(OIDC_PROVIDERS, provider, client_ids=(*provider.client_ids, request.client_id))
    return api.AddClientIDToOpenIDConnectProviderResponse()


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def remove_client_id_from_open_id_connect_provider(
    ctx: Context, request: api.RemoveClientIDFromOpenIDConnectProviderRequest
) -> api.RemoveClientIDFromOpenIDConnectProviderResponse:
    """Take no more tokens for a client; one that is unknown does not matter."""
    provider = require(ctx, request.open_id_connect_provider_arn)
    with ctx.transaction() as tx:
        tx.update(OIDC_PROVIDERS, provider, client_ids=tuple(one for one in provider.client_ids if one != request.client_id))
    return api.RemoveClientIDFromOpenIDConnectProviderResponse()


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def update_open_id_connect_provider_thumbprint(
    ctx: Context, request: api.UpdateOpenIDConnectProviderThumbprintRequest
) -> api.UpdateOpenIDConnectProviderThumbprintResponse:
    """Replace the list of thumbprints."""
    provider = require(ctx, request.open_id_connect_provider_arn)
    with ctx.transaction() as tx:
        tx.update(OIDC_PROVIDERS, provider, thumbprints=_check_thumbprints(request.thumbprint_list))
    return api.UpdateOpenIDConnectProviderThumbprintResponse()


@operation(resource=arns.oidc_provider, resource_tags=arns.oidc_provider_tags)
async def delete_open_id_connect_provider(
    ctx: Context, request: api.DeleteOpenIDConnectProviderRequest
) -> api.DeleteOpenIDConnectProviderResponse:
    """Trust a provider no more; roles that name it in their trust policies stay."""
    provider = find(ctx, request.open_id_connect_provider_arn)
    if provider is None:
        raise api.NoSuchEntityException(f"OpenId connect Provider {request.open_id_connect_provider_arn} cannot be found.")
    with ctx.transaction() as tx:
        tx.delete(OIDC_PROVIDERS, OIDC_PROVIDERS.key(provider))
    return api.DeleteOpenIDConnectProviderResponse()
