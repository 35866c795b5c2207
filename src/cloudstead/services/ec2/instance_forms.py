"""Instances as AWS tells them."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.services.ec2 import api, interface_forms, tagging
from cloudstead.services.ec2.imds.model import MetadataOptions
from cloudstead.services.ec2.instance_states import CODES
from cloudstead.services.ec2.interface_forms import associations, private_name
from cloudstead.services.ec2.machine_types import types
from cloudstead.services.ec2.model import INTERFACES, Instance, NetworkInterface
from cloudstead.services.ec2.places import zone_id

ROOT_DEVICE = "/dev/xvda"


def state(name: str) -> api.InstanceState:
    known: Any = name
    return api.InstanceState(code=CODES[name], name=known)


def interfaces_of(ctx: Context, row: Instance) -> list[NetworkInterface]:
    """Those that are attached to it, the primary one first."""
    primary = ctx.table(INTERFACES).get((row.account, row.region, row.interface)) if row.interface else None
    return [primary] if primary is not None else []


def instance(ctx: Context, row: Instance) -> api.Instance:
    interfaces = interfaces_of(ctx, row)
    primary = interfaces[0] if interfaces else None
    public = associations(ctx, primary).get(primary.ip) if primary else None
    kind = types()[row.type]
    gone = row.state == "terminated"
    return api.Instance(
        architecture="arm64" if "arm64" in kind.family.architectures else "x86_64",
        ami_launch_index=row.index,
        block_device_mappings=[],
        boot_mode=None,
        client_token=row.client_token,
        cpu_options=api.CpuOptions(core_count=kind.cores, threads_per_core=max(1, kind.vcpus // kind.cores)),
        ebs_optimized=row.ebs_optimized,
        ena_support=True,
        hypervisor="xen",
        iam_instance_profile=None if row.profile is None else api.IamInstanceProfile(arn=row.profile.arn, id=row.profile.profile_id),
        image_id=row.image,
        instance_id=row.id,
        instance_type=row.type,
        key_name=row.key_name or None,
        launch_time=row.launched,
        maintenance_options=api.InstanceMaintenanceOptions(auto_recovery="default"),
        metadata_options=metadata_options(row.options),
        monitoring=api.Monitoring(state="enabled" if row.monitoring else "disabled"),
        network_interfaces=[_interface(ctx, one) for one in interfaces],
        placement=api.Placement(availability_zone=row.zone, availability_zone_id=zone_id(row.zone), group_name="", tenancy="default"),
        platform_details="Linux/UNIX",
        private_dns_name="" if gone else private_name(row.region, row.ip),
        private_dns_name_options=None
        if gone
        else api.PrivateDnsNameOptionsResponse(hostname_type="ip-name", enable_resource_name_dns_a_record=False),
        private_ip_address=None if gone else row.ip,
        product_codes=[],
        public_dns_name=(public.public_dns_name if public else None) or "",
        public_ip_address=public.public_ip if public else None,
        root_device_name=ROOT_DEVICE,
        root_device_type="ebs",
        security_groups=interface_forms.groups(ctx, primary) if primary else [],
        source_dest_check=primary.source_dest_check if primary else None,
        state=state(row.state),
        state_reason=None if row.reason is None else api.StateReason(code=row.reason[0], message=row.reason[1]),
        state_transition_reason=row.transition,
        subnet_id=None if gone else row.subnet,
        vpc_id=None if gone else row.vpc,
        tags=tagging.to_list(row.tags),
        usage_operation="RunInstances",
        usage_operation_update_time=row.launched,
        virtualization_type="hvm",
    )


def _interface(ctx: Context, row: NetworkInterface) -> api.InstanceNetworkInterface:
    told = interface_forms.network_interface(ctx, row)
    attached = row.attachment
    public = associations(ctx, row)
    return api.InstanceNetworkInterface(
        association=_association(public.get(row.ip)),
        attachment=None
        if attached is None
        else api.InstanceNetworkInterfaceAttachment(
            attach_time=attached.at,
            attachment_id=attached.id,
            delete_on_termination=attached.delete_on_termination,
            device_index=attached.device_index,
            network_card_index=0,
            status="attached",
        ),
        description=row.description,
        groups=told.groups,
        interface_type=row.interface_type,
        ipv6_addresses=[],
        mac_address=row.mac,
        network_interface_id=row.id,
        owner_id=row.account,
        private_dns_name=told.private_dns_name,
        private_ip_address=row.ip,
        private_ip_addresses=[
            api.InstancePrivateIpAddress(
                association=_association(public.get(ip)),
                primary=at == 0,
                private_dns_name=private_name(row.region, ip),
                private_ip_address=ip,
            )
            for at, ip in enumerate(row.ips)
        ],
        source_dest_check=row.source_dest_check,
        status="in-use",
        subnet_id=row.subnet,
        vpc_id=row.vpc,
    )


def _association(told: api.NetworkInterfaceAssociation | None) -> api.InstanceNetworkInterfaceAssociation | None:
    if told is None:
        return None
    return api.InstanceNetworkInterfaceAssociation(
        ip_owner_id=told.ip_owner_id, public_dns_name=told.public_dns_name, public_ip=told.public_ip
    )


def metadata_options(options: MetadataOptions) -> api.InstanceMetadataOptionsResponse:
    return api.InstanceMetadataOptionsResponse(
        state="applied",
        http_tokens=options.http_tokens,
        http_put_response_hop_limit=options.http_put_response_hop_limit,
        http_endpoint=options.http_endpoint,
        http_protocol_ipv6="disabled",
        instance_metadata_tags=options.instance_metadata_tags,
    )
