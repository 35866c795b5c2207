"""DescribeImages. How images come to be AMIs: see `amis`."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, tagging
from cloudstead.services.ec2.amis import Ami, amis
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import paged
from cloudstead.services.ec2.failures import failure
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.instance_forms import ROOT_DEVICE


def filters(ctx: Context) -> Filters:
    return {
        "architecture": lambda one: one.architecture,
        "creation-date": lambda one: one.created,
        "description": lambda one: one.description,
        "ena-support": lambda one: True,
        "hypervisor": lambda one: "xen",
        "image-id": lambda one: one.id,
        "image-type": lambda one: "machine",
        "is-public": lambda one: one.public,
        "name": lambda one: one.name,
        "owner-alias": lambda one: one.alias or [],
        "owner-id": lambda one: one.owner or ctx.account,
        "platform": lambda one: [],
        "root-device-name": lambda one: ROOT_DEVICE,
        "root-device-type": lambda one: "ebs",
        "state": lambda one: "available",
        "virtualization-type": lambda one: "hvm",
    }


@operation(resource="*", conditions=arns.region)
async def describe_images(ctx: Context, request: api.DescribeImagesRequest) -> api.DescribeImagesResponse:
    """The images that instances can be made of."""
    begin(
        ctx,
        request,
        "executable_users",
        "image_ids",
        "owners",
        "include_deprecated",
        "include_disabled",
        "max_results",
        "next_token",
        "filters",
    )
    known = amis(ctx.cloud)
    for id in request.image_ids or ():
        require(ctx, id)
    found = [known[id] for id in dict.fromkeys(request.image_ids or known)]
    passes = chosen(request.filters, filters(ctx))
    wanted = [one for one in found if passes(one) and _owned(ctx, one, request.owners) and _executable(one, request.executable_users)]
    page, token = paged(ctx, request, wanted, key=lambda one: one.id)
    return api.DescribeImagesResponse(images=[_image(ctx, one) for one in page], next_token=token)


def require(ctx: Context, id: str) -> Ami:
    """
    Raises:
        InvalidAMIID.Malformed, InvalidAMIID.NotFound
    """
    found = amis(ctx.cloud).get(id)
    if found is None:
        if not id.startswith("ami-"):
            raise failure("InvalidAMIID.Malformed", f'Invalid id: "{id}" (expecting "ami-...")')
        raise failure("InvalidAMIID.NotFound", f"The image id '[{id}]' does not exist")
    return found


def _owned(ctx: Context, one: Ami, owners: list[str] | None) -> bool:
    names = {one.owner or ctx.account, one.alias or "", "" if one.owner and one.owner != ctx.account else "self"}
    return not owners or bool(names.intersection(owners))


def _executable(one: Ami, users: list[str] | None) -> bool:
    return not users or ("all" in users and one.public) or ("self" in users and not one.public)


def _image(ctx: Context, one: Ami) -> api.Image:
    owner, architecture = one.owner or ctx.account, one.architecture
    kind: Any = architecture
    return api.Image(
        architecture=kind,
        block_device_mappings=[],
        creation_date=one.created,
        description=one.description,
        ena_support=True,
        hypervisor="xen",
        image_id=one.id,
        image_location=f"{one.alias or owner}/{one.name}",
        image_owner_alias=one.alias or None,
        image_type="machine",
        name=one.name,
        owner_id=owner,
        platform_details="Linux/UNIX",
        public=one.public,
        root_device_name=ROOT_DEVICE,
        root_device_type="ebs",
        state="available",
        tags=tagging.to_list(one.tags),
        usage_operation="RunInstances",
        virtualization_type="hvm",
    )
