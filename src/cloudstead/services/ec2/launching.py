"""RunInstances: everything about new machines is decided and written here; what makes them run is `instance_progress`."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2 import api, arns, images, instance_profiles, kinds, launch_places, tagging
from cloudstead.services.ec2.amis import Ami
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.controller import part
from cloudstead.services.ec2.failures import failure, invalid, missing, unsupported
from cloudstead.services.ec2.imds.model import MetadataOptions
from cloudstead.services.ec2.instance_states import ON, change_event
from cloudstead.services.ec2.instances import reservation
from cloudstead.services.ec2.machine_types import MachineType, types
from cloudstead.services.ec2.metadata_options import changed
from cloudstead.services.ec2.model import INSTANCES, KEY_PAIRS, Instance, KeyPair, NetworkInterface, ProfileAssociation

ACTS = (
    "image_id",
    "instance_type",
    "key_name",
    "max_count",
    "min_count",
    "monitoring",
    "placement",
    "security_group_ids",
    "security_groups",
    "subnet_id",
    "user_data",
    "tag_specifications",
    "credit_specification",
    "metadata_options",
    "disable_api_stop",
    "disable_api_termination",
    "instance_initiated_shutdown_behavior",
    "private_ip_address",
    "client_token",
    "network_interfaces",
    "iam_instance_profile",
    "ebs_optimized",
)
USER_DATA_BYTES = 16384


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What the instances of one call have in common."""

    ami: Ami
    type: MachineType
    key: KeyPair | None
    profile: ProfileAssociation | None
    options: MetadataOptions
    tags: dict[str, str]
    interface_tags: dict[str, str]
    reservation: str


@operation(resource=arns.launched, conditions=arns.region)
async def run_instances(ctx: Context, request: api.RunInstancesRequest) -> api.RunInstancesResponse:
    """New machines, which are pending until their controller has started them."""
    begin(ctx, request, *ACTS)
    if known := tagging.recalled(ctx, request):
        return _answer(ctx, known, [row for row in kinds.INSTANCE.all(ctx) if row.reservation == known])
    launch = await _launch(ctx, request)
    count = _count(ctx, request, launch.type)
    place = launch_places.choose(ctx, request)
    rows = []
    with ctx.transaction() as tx:
        interfaces = launch_places.interfaces(ctx, tx, place, count, launch.interface_tags)
        for index, interface in enumerate(interfaces):
            rows.append(_insert(ctx, tx, request, launch, interface, index))
        tagging.remember(ctx, tx, request, launch.reservation)
    return _answer(ctx, launch.reservation, rows)


def _answer(ctx: Context, id: str, rows: list[Instance]) -> api.RunInstancesResponse:
    told = reservation(ctx, id, rows)
    return api.RunInstancesResponse(reservation_id=id, owner_id=told.owner_id, groups=told.groups, instances=told.instances)


async def _launch(ctx: Context, request: api.RunInstancesRequest) -> Launch:
    if not request.image_id:
        raise missing("ImageId")
    if not request.instance_type:
        raise missing("InstanceType")
    ami, kind = images.require(ctx, request.image_id), types().get(request.instance_type)
    if kind is None:
        raise invalid(f"Invalid value '{request.instance_type}' for InstanceType.")
    if ami.architecture not in kind.family.architectures:
        raise invalid(
            f"The architecture '{', '.join(kind.family.architectures)}' of the specified instance type does not match the architecture "
            f"'{ami.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again."
        )
    if request.monitoring and request.monitoring.metric_category_ids:
        raise unsupported("Categories of metrics are not supported by Cloudstead.")
    _check_user_data(request.user_data or "")
    tags, interface_tags = _tags(ctx, request)
    profile = request.iam_instance_profile
    return Launch(
        ami=ami,
        type=kind,
        key=_key(ctx, request.key_name),
        profile=None if profile is None else await instance_profiles.associate(ctx, profile),
        options=changed(MetadataOptions(http_tokens="optional"), request.metadata_options),
        tags=tags,
        interface_tags=interface_tags,
        reservation=hex_id("r"),
    )


def _key(ctx: Context, name: str | None) -> KeyPair | None:
    if not name:
        return None
    found: KeyPair | None = ctx.table(KEY_PAIRS).find("by_name", (ctx.account, ctx.region, name))
    if found is None:
        raise failure("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")
    return found


def _check_user_data(text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise failure("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data") from None
    if len(data) > USER_DATA_BYTES:
        raise invalid(f"User data is limited to {USER_DATA_BYTES} bytes")


def _tags(ctx: Context, request: api.RunInstancesRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Of the instances, and of their interfaces."""
    found: dict[str, dict[str, str]] = {}
    for one in request.tag_specifications or ():
        kind = kinds.INTERFACE if one.resource_type == kinds.INTERFACE.type else kinds.INSTANCE
        alone = api.RunInstancesRequest(max_count=1, min_count=1, tag_specifications=[one])
        if one.resource_type == "volume":
            raise unsupported(
                "Volumes are not supported by Cloudstead: the root file system of an instance is its own, and cannot bear tags."
            )
        found[kind.type] = found.get(kind.type, {}) | tagging.given(ctx, alone, kind)
    return found.get(kinds.INSTANCE.type, {}), found.get(kinds.INTERFACE.type, {})


def _count(ctx: Context, request: api.RunInstancesRequest, kind: MachineType) -> int:
    """As many as were asked for at most, and the machine has memory for.

    Raises:
        InsufficientInstanceCapacity: not even as many as were asked for at least.
    """
    least, most = request.min_count, request.max_count
    if least < 1 or most < 1:
        raise invalid(f"Value ({min(least, most)}) for parameter {'minCount' if least < 1 else 'maxCount'} is invalid. Must be positive.")
    if least > most:
        raise invalid(f"Value ({least}) for parameter minCount is invalid. Must be at most maxCount ({most}).")
    if most > 100:
        raise failure("InstanceLimitExceeded", f"Your request for {most} instances is more than the limit of 100 of one call.")
    used = sum(types()[row.type].mebibytes for row in ctx.table(INSTANCES).scan() if row.state in (*ON, "stopping"))
    fitting = max(0, part(ctx).machines.memory // (1 << 20) - used) // kind.mebibytes
    if fitting < least:
        raise failure(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind.name} capacity: this machine has no memory for {least} more of {kind.mebibytes} MiB.",
            status=500,
        )
    return min(most, fitting)


def _insert(
    ctx: Context, tx: Transaction, request: api.RunInstancesRequest, launch: Launch, interface: NetworkInterface, index: int
) -> Instance:
    credits: Any = request.credit_specification
    row = Instance(
        account=ctx.account,
        region=ctx.region,
        id=interface.attachment.instance if interface.attachment else "",
        tags=launch.tags,
        vpc=interface.vpc,
        subnet=interface.subnet,
        zone=interface.zone,
        image=launch.ami.id,
        root=launch.ami.root,
        type=launch.type.name,
        reservation=launch.reservation,
        index=index,
        interface=interface.id,
        ip=interface.ip,
        launched=ctx.now(),
        since=ctx.now(),
        key_name=launch.key.name if launch.key else "",
        public_key=launch.key.public_key if launch.key else "",
        user_data=request.user_data or "",
        profile=launch.profile,
        options=launch.options,
        shutdown=request.instance_initiated_shutdown_behavior or "stop",
        keep=bool(request.disable_api_termination),
        keep_running=bool(request.disable_api_stop),
        monitoring=bool(request.monitoring and request.monitoring.enabled),
        ebs_optimized=bool(request.ebs_optimized),
        credits=credits.cpu_credits if credits else ("unlimited" if launch.type.family.name.startswith(("t3", "t4")) else "standard"),
        client_token=request.client_token or "",
    )
    tx.emit(change_event(row, ctx.now()))
    return tx.insert(INSTANCES, row)
