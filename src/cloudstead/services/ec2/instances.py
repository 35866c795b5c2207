"""Instances: describe, start, stop, reboot, terminate. RunInstances is in `launching`.

An operation writes the state that a machine is on its way to; `instance_progress` brings it there.
"""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, interface_forms, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import described, paged, passing
from cloudstead.services.ec2.failures import Ec2Error, failure
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.instance_forms import ROOT_DEVICE, instance, interfaces_of, state
from cloudstead.services.ec2.instance_states import CODES, USER_STOP, moved, said_by_user
from cloudstead.services.ec2.model import INSTANCES, Instance
from cloudstead.services.ec2.places import zone_id


def filters(ctx: Context) -> Filters:
    def told(name: str) -> Any:
        return lambda row: getattr(instance(ctx, row), name) or []

    def of_interface(name: str) -> Any:
        return lambda row: [getattr(one, name) for one in interfaces_of(ctx, row)]

    def group(name: str) -> Any:
        return lambda row: [getattr(one, name) for each in interfaces_of(ctx, row) for one in interface_forms.groups(ctx, each)]

    groups: Filters = {f"{start}group-{what}": group(f"group_{what}") for start in ("", "instance.") for what in ("id", "name")}
    return {
        **groups,
        "architecture": told("architecture"),
        "availability-zone": lambda row: row.zone,
        "availability-zone-id": lambda row: zone_id(row.zone),
        "client-token": lambda row: row.client_token or [],
        "dns-name": told("public_dns_name"),
        "hypervisor": lambda row: "xen",
        "iam-instance-profile.arn": lambda row: row.profile.arn if row.profile else [],
        "iam-instance-profile.id": lambda row: row.profile.profile_id if row.profile else [],
        "image-id": lambda row: row.image,
        "instance-id": lambda row: row.id,
        "instance-lifecycle": lambda row: [],
        "instance-state-code": lambda row: CODES[row.state],
        "instance-state-name": lambda row: row.state,
        "instance-type": lambda row: row.type,
        "ip-address": told("public_ip_address"),
        "key-name": lambda row: row.key_name or [],
        "launch-index": lambda row: row.index,
        "metadata-options.http-tokens": lambda row: row.options.http_tokens,
        "monitoring-state": lambda row: "enabled" if row.monitoring else "disabled",
        "network-interface.network-interface-id": of_interface("id"),
        "network-interface.private-ip-address": of_interface("ip"),
        "network-interface.subnet-id": of_interface("subnet"),
        "network-interface.vpc-id": of_interface("vpc"),
        "platform": lambda row: [],
        "private-dns-name": told("private_dns_name"),
        "private-ip-address": told("private_ip_address"),
        "reason": lambda row: row.transition or [],
        "reservation-id": lambda row: row.reservation,
        "root-device-name": lambda row: ROOT_DEVICE,
        "root-device-type": lambda row: "ebs",
        "state-reason-code": lambda row: row.reason[0] if row.reason else [],
        "subnet-id": told("subnet_id"),
        "tenancy": lambda row: "default",
        "virtualization-type": lambda row: "hvm",
        "vpc-id": told("vpc_id"),
    }


@operation(resource="*", conditions=arns.region)
async def describe_instances(ctx: Context, request: api.DescribeInstancesRequest) -> api.DescribeInstancesResponse:
    """The instances of the region by reservation; a terminated one is shown for an hour."""
    begin(ctx, request, "instance_ids", "filters", "next_token", "max_results", "include_managed_resources")
    if request.instance_ids and request.max_results:
        raise failure("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
    require_all(ctx, request.instance_ids or ())
    rows, token = described(ctx, request, kinds.INSTANCE, request.instance_ids, request.filters, filters(ctx))
    return api.DescribeInstancesResponse(reservations=_reservations(ctx, rows), next_token=token)


def _reservations(ctx: Context, rows: list[Instance]) -> list[api.Reservation]:
    found: dict[str, list[Instance]] = {}
    for row in sorted(rows, key=lambda row: (row.launched, row.reservation, row.index)):
        found.setdefault(row.reservation, []).append(row)
    return [reservation(ctx, id, of) for id, of in found.items()]


def reservation(ctx: Context, id: str, rows: list[Instance]) -> api.Reservation:
    return api.Reservation(reservation_id=id, owner_id=ctx.account, groups=[], instances=[instance(ctx, row) for row in rows])


def require_all(ctx: Context, ids: Any) -> list[Instance]:
    """
    Raises:
        InvalidInstanceID.Malformed, InvalidInstanceID.NotFound with all ids that lead to nothing
    """
    rows, gone = [], []
    for id in dict.fromkeys(ids):
        row = kinds.INSTANCE.find(ctx, id)
        if row is None:
            kinds.INSTANCE.check(id)
            gone.append(id)
        else:
            rows.append(row)
    if len(gone) == 1:
        raise kinds.INSTANCE.unknown(gone[0])
    if gone:
        raise failure("InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(gone)}' do not exist")
    return rows


STATUS_FILTERS: Filters = {
    "availability-zone": lambda row: row.zone,
    "instance-state-code": lambda row: CODES[row.state],
    "instance-state-name": lambda row: row.state,
    "instance-status.reachability": lambda row: "passed" if row.state == "running" else [],
    "instance-status.status": lambda row: _health(row),
    "system-status.reachability": lambda row: "passed" if row.state == "running" else [],
    "system-status.status": lambda row: _health(row),
}


def _health(row: Instance) -> str:
    return "ok" if row.state == "running" else "not-applicable"


@operation(resource="*", conditions=arns.region)
async def describe_instance_status(ctx: Context, request: api.DescribeInstanceStatusRequest) -> api.DescribeInstanceStatusResponse:
    """How the running instances are, or all of them: what runs is well."""
    begin(ctx, request, "instance_ids", "max_results", "next_token", "filters", "include_all_instances", "include_managed_resources")
    rows = require_all(ctx, request.instance_ids) if request.instance_ids else kinds.INSTANCE.all(ctx)
    wanted = [row for row in rows if request.include_all_instances or row.state == "running"]
    page, token = paged(ctx, request, passing(wanted, request.filters, STATUS_FILTERS), key=lambda row: row.id)
    return api.DescribeInstanceStatusResponse(instance_statuses=[_status(row) for row in page], next_token=token)


def _status(row: Instance) -> api.InstanceStatus:
    def summary() -> api.InstanceStatusSummary:
        health: Any = _health(row)
        details = [api.InstanceStatusDetails(name="reachability", status="passed")] if health == "ok" else None
        return api.InstanceStatusSummary(status=health, details=details)

    return api.InstanceStatus(
        availability_zone=row.zone,
        availability_zone_id=zone_id(row.zone),
        instance_id=row.id,
        instance_state=state(row.state),
        instance_status=summary(),
        system_status=summary(),
    )


def _wrong_state(row: Instance, verb: str) -> Ec2Error:
    return failure("IncorrectInstanceState", f"The instance '{row.id}' is not in a state from which it can be {verb}.")


def _change(was: Instance, row: Instance) -> api.InstanceStateChange:
    return api.InstanceStateChange(instance_id=row.id, previous_state=state(was.state), current_state=state(row.state))


@operation(resource=arns.instances, resource_tags=arns.instance_tags, conditions=arns.region)
async def start_instances(ctx: Context, request: api.StartInstancesRequest) -> api.StartInstancesResponse:
    """Start machines that were stopped, with what they had written."""
    begin(ctx, request, "instance_ids")
    rows = require_all(ctx, request.instance_ids)
    for row in rows:
        if row.state not in ("stopped", "pending", "running"):
            raise _wrong_state(row, "started")
    found = []
    with ctx.transaction() as tx:
        for row in rows:
            now = row
            if row.state == "stopped":
                now = moved(tx, row, "pending", ctx.now(), launched=ctx.now(), reason=None, transition="", reboot=False)
            found.append(_change(row, now))
    return api.StartInstancesResponse(starting_instances=found)


@operation(resource=arns.instances, resource_tags=arns.instance_tags, conditions=arns.region)
async def stop_instances(ctx: Context, request: api.StopInstancesRequest) -> api.StopInstancesResponse:
    """Stop machines; what they have written stays. With Force they are asked all the same, and killed when they do not listen."""
    begin(ctx, request, "instance_ids", "force", "skip_os_shutdown")
    rows = require_all(ctx, request.instance_ids)
    for row in rows:
        if row.keep_running:
            raise failure(
                "OperationNotPermitted",
                f"The instance '{row.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.",
            )
        if row.state in ("shutting-down", "terminated"):
            raise _wrong_state(row, "stopped")
    found = []
    with ctx.transaction() as tx:
        for row in rows:
            now = row
            if row.state in ("pending", "running"):
                now = moved(tx, row, "stopping", ctx.now(), reason=USER_STOP, transition=said_by_user(ctx.now()), reboot=False)
            found.append(_change(row, now))
    return api.StopInstancesResponse(stopping_instances=found)


@operation(resource=arns.instances, resource_tags=arns.instance_tags, conditions=arns.region)
async def reboot_instances(ctx: Context, request: api.RebootInstancesRequest) -> api.RebootInstancesResponse:
    """Stop the machines and start them again; they stay running meanwhile, as AWS tells it."""
    begin(ctx, request, "instance_ids")
    rows = require_all(ctx, request.instance_ids)
    for row in rows:
        if row.state not in ("pending", "running"):
            raise _wrong_state(row, "rebooted")
    with ctx.transaction() as tx:
        for row in rows:
            tx.update(INSTANCES, row, reboot=True)
    return api.RebootInstancesResponse()


@operation(resource=arns.instances, resource_tags=arns.instance_tags, conditions=arns.region)
async def terminate_instances(ctx: Context, request: api.TerminateInstancesRequest) -> api.TerminateInstancesResponse:
    """End machines for good, with their files and interfaces."""
    begin(ctx, request, "instance_ids", "force", "skip_os_shutdown")
    rows = require_all(ctx, request.instance_ids)
    for row in rows:
        if row.keep and row.state != "terminated":
            raise failure(
                "OperationNotPermitted",
                f"The instance '{row.id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
            )
    found = []
    with ctx.transaction() as tx:
        for row in rows:
            now = row
            if row.state not in ("shutting-down", "terminated"):
                now = moved(tx, row, "shutting-down", ctx.now(), reason=USER_STOP, transition=said_by_user(ctx.now()), reboot=False)
            found.append(_change(row, now))
    return api.TerminateInstancesResponse(terminating_instances=found)
