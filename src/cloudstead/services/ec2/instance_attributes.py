"""Attributes of instances, one at a time, as DescribeInstanceAttribute and ModifyInstanceAttribute have them; and their consoles."""

from __future__ import annotations

import base64
from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, interface_forms, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.controller import part
from cloudstead.services.ec2.describing import paged
from cloudstead.services.ec2.failures import combination, failure, invalid, missing
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.instance_forms import ROOT_DEVICE, interfaces_of
from cloudstead.services.ec2.instances import require_all
from cloudstead.services.ec2.launching import USER_DATA_BYTES
from cloudstead.services.ec2.machine_types import types
from cloudstead.services.ec2.model import INSTANCES, INTERFACES, Instance, NetworkInterface
from cloudstead.services.ec2.network_interfaces import groups_for


@operation(resource=arns.on("instance_id"), resource_tags=arns.tags("instance_id"), conditions=arns.region)
async def describe_instance_attribute(ctx: Context, request: api.DescribeInstanceAttributeRequest) -> api.DescribeInstanceAttributeResponse:
    """One attribute."""
    begin(ctx, request, "instance_id", "attribute")
    row = kinds.INSTANCE.require(ctx, request.instance_id)
    answer = api.DescribeInstanceAttributeResponse(instance_id=row.id)
    _ATTRIBUTES[request.attribute](ctx, row, answer)
    return answer


def _text(member: str, value: Any) -> Any:
    return lambda ctx, row, answer: setattr(answer, member, api.AttributeValue(value=value(row) or None))


def _yes(member: str, value: Any) -> Any:
    return lambda ctx, row, answer: setattr(answer, member, api.AttributeBooleanValue(value=value(row)))


def _interface(ctx: Context, row: Instance) -> NetworkInterface | None:
    return next(iter(interfaces_of(ctx, row)), None)


def _groups(ctx: Context, row: Instance, answer: api.DescribeInstanceAttributeResponse) -> None:
    interface = _interface(ctx, row)
    answer.groups = interface_forms.groups(ctx, interface) if interface else []


def _check(ctx: Context, row: Instance, answer: api.DescribeInstanceAttributeResponse) -> None:
    interface = _interface(ctx, row)
    answer.source_dest_check = api.AttributeBooleanValue(value=interface.source_dest_check if interface else True)


_ATTRIBUTES: dict[str, Any] = {
    "instanceType": _text("instance_type", lambda row: row.type),
    "kernel": _text("kernel_id", lambda row: ""),
    "ramdisk": _text("ramdisk_id", lambda row: ""),
    "userData": _text("user_data", lambda row: row.user_data),
    "disableApiTermination": _yes("disable_api_termination", lambda row: row.keep),
    "disableApiStop": _yes("disable_api_stop", lambda row: row.keep_running),
    "instanceInitiatedShutdownBehavior": _text("instance_initiated_shutdown_behavior", lambda row: row.shutdown),
    "rootDeviceName": _text("root_device_name", lambda row: ROOT_DEVICE),
    "blockDeviceMapping": lambda ctx, row, answer: setattr(answer, "block_device_mappings", []),
    "productCodes": lambda ctx, row, answer: setattr(answer, "product_codes", []),
    "sourceDestCheck": _check,
    "groupSet": _groups,
    "ebsOptimized": _yes("ebs_optimized", lambda row: row.ebs_optimized),
    "sriovNetSupport": _text("sriov_net_support", lambda row: ""),
    "enaSupport": _yes("ena_support", lambda row: True),
    "enclaveOptions": lambda ctx, row, answer: setattr(answer, "enclave_options", api.EnclaveOptions(enabled=False)),
}

# Attribute and Value, the older way to say the same.
_BY_NAME = {
    "instanceType": "instance_type",
    "disableApiTermination": "disable_api_termination",
    "disableApiStop": "disable_api_stop",
    "instanceInitiatedShutdownBehavior": "instance_initiated_shutdown_behavior",
    "ebsOptimized": "ebs_optimized",
    "sourceDestCheck": "source_dest_check",
    "userData": "user_data",
}
_WHILE_STOPPED = ("instance_type", "user_data", "ebs_optimized")


@operation(resource=arns.on("instance_id"), resource_tags=arns.tags("instance_id"), conditions=arns.region)
async def modify_instance_attribute(ctx: Context, request: api.ModifyInstanceAttributeRequest) -> api.ModifyInstanceAttributeResponse:
    """Change one attribute; type, user data and EBS optimisation of a stopped instance only."""
    begin(ctx, request, "instance_id", "attribute", "value", "groups", *_BY_NAME.values())
    row = kinds.INSTANCE.require(ctx, request.instance_id)
    said = _said(request)
    if not said:
        raise failure("InvalidParameterCombination", "No attributes specified.")
    if len(said) > 1:
        raise combination("Fields for multiple attribute types specified: " + ", ".join(said))
    [(name, value)] = said.items()
    if name in _WHILE_STOPPED and row.state != "stopped":
        raise failure("IncorrectInstanceState", f"The instance '{row.id}' is not in the 'stopped' state.")
    if name in ("groups", "source_dest_check"):
        _change_interface(ctx, row, name, value)
    else:
        with ctx.transaction() as tx:
            tx.update(INSTANCES, row, **_changed(name, value))
    return api.ModifyInstanceAttributeResponse()


def _said(request: api.ModifyInstanceAttributeRequest) -> dict[str, Any]:
    found = {name: told.value for name in _BY_NAME.values() if (told := getattr(request, name)) is not None}
    if request.groups:
        found["groups"] = request.groups
    if request.attribute is not None:
        name = _BY_NAME.get(request.attribute)
        if name is None or request.value is None:
            raise missing("value") if name else failure("UnsupportedOperation", f"{request.attribute} cannot be changed in Cloudstead.")
        text = request.value
        found[name] = text == "true" if text in ("true", "false") else base64.b64decode(text) if name == "user_data" else text
    return found


def _changed(name: str, value: Any) -> dict[str, Any]:
    if name == "instance_type":
        if value not in types():
            raise invalid(f"Invalid value '{value}' for InstanceType.")
        return {"type": value}
    if name == "user_data":
        if len(value or b"") > USER_DATA_BYTES:
            raise invalid(f"User data is limited to {USER_DATA_BYTES} bytes")
        return {"user_data": base64.b64encode(value or b"").decode()}
    if name == "instance_initiated_shutdown_behavior":
        if value not in ("stop", "terminate"):
            raise invalid(f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid.")
        return {"shutdown": value}
    return {{"disable_api_termination": "keep", "disable_api_stop": "keep_running"}.get(name, name): bool(value)}


def _change_interface(ctx: Context, row: Instance, name: str, value: Any) -> None:
    interface = _interface(ctx, row)
    if interface is None:
        raise failure("IncorrectInstanceState", f"The instance '{row.id}' has no network interface.")
    with ctx.transaction() as tx:
        if name == "groups":
            tx.update(INTERFACES, interface, groups=groups_for(ctx, row.vpc, value))
        else:
            tx.update(INTERFACES, interface, source_dest_check=bool(value))


@operation(resource=arns.on("instance_id"), resource_tags=arns.tags("instance_id"), conditions=arns.region)
async def get_console_output(ctx: Context, request: api.GetConsoleOutputRequest) -> api.GetConsoleOutputResponse:
    """What the machine has written, the last 64 KiB; it is always the latest."""
    begin(ctx, request, "instance_id", "latest")
    row = kinds.INSTANCE.require(ctx, request.instance_id)
    output = await part(ctx).machines.console(row)
    return api.GetConsoleOutputResponse(instance_id=row.id, timestamp=ctx.now(), output=base64.b64encode(output).decode())


CREDIT_FILTERS: Filters = {"instance-id": lambda row: row.id}


@operation(resource="*", conditions=arns.region)
async def describe_instance_credit_specifications(
    ctx: Context, request: api.DescribeInstanceCreditSpecificationsRequest
) -> api.DescribeInstanceCreditSpecificationsResponse:
    """What burstable instances do when their credits are used up, as it was said: no credits are counted here."""
    begin(ctx, request, "filters", "instance_ids", "max_results", "next_token")
    rows = require_all(ctx, request.instance_ids) if request.instance_ids else kinds.INSTANCE.all(ctx)
    passes = chosen(request.filters, CREDIT_FILTERS)
    found = [row for row in rows if types()[row.type].family.burstable and row.state != "terminated" and passes(row)]
    page, token = paged(ctx, request, found, key=lambda row: row.id)
    return api.DescribeInstanceCreditSpecificationsResponse(
        instance_credit_specifications=[api.InstanceCreditSpecification(instance_id=row.id, cpu_credits=row.credits) for row in page],
        next_token=token,
    )
