"""Signing of images when they are pushed: which profile of AWS Signer is to sign which repositories.

The configuration is kept and told. AWS Signer is not here, so nothing is signed, and whoever asks for the status of an image is told so.
"""

from __future__ import annotations

import msgspec

from cloudstead.kernel import wildcards
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, image_ids, registries, repositories
from cloudstead.services.ecr.catalogs import catalog


class _Rule(msgspec.Struct, frozen=True):
    profile: str
    filters: tuple[str, ...]  # wildcards of repositories' names; none: all


_decode = msgspec.json.Decoder(tuple[_Rule, ...]).decode


@operation(resource="*")
async def put_signing_configuration(ctx: Context, request: api.PutSigningConfigurationRequest) -> api.PutSigningConfigurationResponse:
    """Say what is to be signed with which profile, in place of what was said before."""
    rules = tuple(
        _Rule(rule.signing_profile_arn, tuple(each.filter for each in rule.repository_filters or ()))
        for rule in request.signing_configuration.rules
    )
    for rule in rules:
        if rule.profile.split(":")[3] != ctx.region:
            repositories.invalid("signingProfileArn", f"The signing profile must be in region {ctx.region}")
    registries.change(ctx, signing=msgspec.json.encode(rules).decode())
    return api.PutSigningConfigurationResponse(signing_configuration=_describe(rules))


@operation(resource="*")
async def get_signing_configuration(ctx: Context, request: api.GetSigningConfigurationRequest) -> api.GetSigningConfigurationResponse:
    """What is to be signed."""
    return api.GetSigningConfigurationResponse(registry_id=ctx.account, signing_configuration=_describe(_require(ctx)))


@operation(resource="*")
async def delete_signing_configuration(
    ctx: Context, request: api.DeleteSigningConfigurationRequest
) -> api.DeleteSigningConfigurationResponse:
    """Sign nothing any more."""
    rules = _require(ctx)
    registries.change(ctx, signing=None)
    return api.DeleteSigningConfigurationResponse(registry_id=ctx.account, signing_configuration=_describe(rules))


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_image_signing_status(
    ctx: Context, request: api.DescribeImageSigningStatusRequest
) -> api.DescribeImageSigningStatusResponse:
    """For each profile that is to sign the image: that it did not."""
    row = repositories.of(ctx, request)
    image = image_ids.require(catalog(ctx), row, request.image_id).image
    signing = registries.of(ctx.replace(identity=ctx.identity, account=row.account)).signing
    statuses = [
        api.ImageSigningStatus(
            signing_profile_arn=rule.profile,
            status="FAILED",
            failure_code="SigningNotSupported",
            failure_reason="AWS Signer is not available in Cloudstead, so the image was not signed.",
        )
        for rule in (_decode(signing) if signing else ())
        if not rule.filters or any(wildcards.matches(each, row.name) for each in rule.filters)
    ]
    image_id = api.ImageIdentifier(image_digest=image.digest, image_tag=request.image_id.image_tag)
    return api.DescribeImageSigningStatusResponse(
        registry_id=row.account, repository_name=row.name, image_id=image_id, signing_statuses=statuses
    )


def _require(ctx: Context) -> tuple[_Rule, ...]:
    signing = registries.of(ctx).signing
    if signing is None:
        raise api.SigningConfigurationNotFoundException(f"Signing configuration does not exist in the registry with id '{ctx.account}'")
    return _decode(signing)


def _describe(rules: tuple[_Rule, ...]) -> api.SigningConfiguration:
    return api.SigningConfiguration(
        rules=[
            api.SigningRule(
                signing_profile_arn=rule.profile,
                repository_filters=[api.SigningRepositoryFilter(filter=each, filter_type="WILDCARD_MATCH") for each in rule.filters]
                or None,
            )
            for rule in rules
        ]
    )
