"""What an instance may ask of the metadata service."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.failures import invalid, unsupported
from cloudstead.services.ec2.imds.model import MetadataOptions
from cloudstead.services.ec2.instance_forms import metadata_options
from cloudstead.services.ec2.model import INSTANCES


def changed(
    options: MetadataOptions, said: api.InstanceMetadataOptionsRequest | api.ModifyInstanceMetadataOptionsRequest | None
) -> MetadataOptions:
    """With those that were said.

    Raises:
        InvalidParameterValue
    """
    if said is None:
        return options
    if said.http_protocol_ipv6 == "enabled":
        raise unsupported("IPv6 is not supported by Cloudstead.")
    hops = said.http_put_response_hop_limit
    if hops is not None and not 1 <= hops <= 64:
        raise invalid(f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. Must be between 1 and 64.")
    return replace(
        options,
        http_tokens=said.http_tokens or options.http_tokens,
        http_put_response_hop_limit=hops or options.http_put_response_hop_limit,
        http_endpoint=said.http_endpoint or options.http_endpoint,
        instance_metadata_tags=said.instance_metadata_tags or options.instance_metadata_tags,
    )


@operation(resource=arns.on("instance_id"), resource_tags=arns.tags("instance_id"), conditions=arns.region)
async def modify_instance_metadata_options(
    ctx: Context, request: api.ModifyInstanceMetadataOptionsRequest
) -> api.ModifyInstanceMetadataOptionsResponse:
    """Change them; they act at once."""
    begin(
        ctx,
        request,
        "instance_id",
        "http_tokens",
        "http_put_response_hop_limit",
        "http_endpoint",
        "http_protocol_ipv6",
        "instance_metadata_tags",
    )
    row = kinds.INSTANCE.require(ctx, request.instance_id)
    with ctx.transaction() as tx:
        row = tx.update(INSTANCES, row, options=changed(row.options, request))
    return api.ModifyInstanceMetadataOptionsResponse(instance_id=row.id, instance_metadata_options=metadata_options(row.options))
