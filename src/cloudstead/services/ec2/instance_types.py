"""Instance types, and where they are offered: everywhere."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import paged
from cloudstead.services.ec2.failures import failure
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.machine_types import MachineType, types
from cloudstead.services.ec2.places import zone_id, zones

FREE_TIER = ("t2.micro", "t3.micro", "t3.small", "t4g.micro", "t4g.small")

FILTERS: Filters = {
    "bare-metal": lambda one: False,
    "burstable-performance-supported": lambda one: one.family.burstable,
    "current-generation": lambda one: True,
    "free-tier-eligible": lambda one: one.name in FREE_TIER,
    "hypervisor": lambda one: one.family.hypervisor,
    "instance-storage-supported": lambda one: False,
    "instance-type": lambda one: one.name,
    "memory-info.size-in-mib": lambda one: one.mebibytes,
    "network-info.ena-support": lambda one: _ena(one),
    "network-info.ipv4-addresses-per-interface": lambda one: one.addresses,
    "network-info.ipv6-supported": lambda one: False,
    "network-info.maximum-network-cards": lambda one: 1,
    "network-info.maximum-network-interfaces": lambda one: one.interfaces,
    "processor-info.supported-architecture": lambda one: one.family.architectures,
    "processor-info.sustained-clock-speed-in-ghz": lambda one: str(one.family.ghz),
    "supported-root-device-type": lambda one: "ebs",
    "supported-usage-class": lambda one: "on-demand",
    "supported-virtualization-type": lambda one: "hvm",
    "vcpu-info.default-cores": lambda one: one.cores,
    "vcpu-info.default-threads-per-core": lambda one: _threads(one),
    "vcpu-info.default-vcpus": lambda one: one.vcpus,
}


def _ena(one: MachineType) -> str:
    return "unsupported" if one.family.hypervisor == "xen" else "required"


def _threads(one: MachineType) -> int:
    return one.vcpus // one.cores


def instance_type(one: MachineType) -> api.InstanceTypeInfo:
    name: Any = one.name
    hypervisor: Any = one.family.hypervisor
    ena: Any = _ena(one)
    architectures: Any = list(one.family.architectures)
    return api.InstanceTypeInfo(
        instance_type=name,
        current_generation=True,
        free_tier_eligible=one.name in FREE_TIER,
        supported_usage_classes=["on-demand"],
        supported_root_device_types=["ebs"],
        supported_virtualization_types=["hvm"],
        bare_metal=False,
        hypervisor=hypervisor,
        processor_info=api.ProcessorInfo(
            supported_architectures=architectures, sustained_clock_speed_in_ghz=one.family.ghz, manufacturer=one.family.manufacturer
        ),
        v_cpu_info=api.VCpuInfo(default_v_cpus=one.vcpus, default_cores=one.cores, default_threads_per_core=_threads(one)),
        memory_info=api.MemoryInfo(size_in_mi_b=one.mebibytes),
        instance_storage_supported=False,
        ebs_info=api.EbsInfo(
            ebs_optimized_support="unsupported" if one.family.hypervisor == "xen" else "default",
            encryption_support="supported",
            nvme_support="unsupported" if one.family.hypervisor == "xen" else "required",
        ),
        placement_group_info=api.PlacementGroupInfo(supported_strategies=[]),
        network_info=api.NetworkInfo(
            maximum_network_interfaces=one.interfaces,
            maximum_network_cards=1,
            default_network_card_index=0,
            ipv4_addresses_per_interface=one.addresses,
            ipv6_addresses_per_interface=0,
            ipv6_supported=False,
            ena_support=ena,
            efa_supported=False,
        ),
        hibernation_supported=False,
        burstable_performance_supported=one.family.burstable,
        dedicated_hosts_supported=False,
        auto_recovery_supported=False,
    )


@operation(resource="*", conditions=arns.region)
async def describe_instance_types(ctx: Context, request: api.DescribeInstanceTypesRequest) -> api.DescribeInstanceTypesResponse:
    """The types that instances can be of here; all are there in every region (IncludeUnsupportedInRegion gives no more)."""
    begin(ctx, request, "instance_types", "filters", "max_results", "next_token", "include_unsupported_in_region")
    unknown = [name for name in request.instance_types or () if name not in types()]
    if unknown:
        raise failure("InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(unknown)}]")
    every = [types()[name] for name in dict.fromkeys(request.instance_types)] if request.instance_types else list(types().values())
    passes = chosen(request.filters, FILTERS)
    found, token = paged(ctx, request, filter(passes, every), key=lambda one: one.name)
    return api.DescribeInstanceTypesResponse(instance_types=[instance_type(one) for one in found], next_token=token)


class Offering(msgspec.Struct, frozen=True):
    type: str
    location: str


OFFERING_FILTERS: Filters = {"location": lambda one: one.location, "instance-type": lambda one: one.type}


@operation(resource="*", conditions=arns.region)
async def describe_instance_type_offerings(
    ctx: Context, request: api.DescribeInstanceTypeOfferingsRequest
) -> api.DescribeInstanceTypeOfferingsResponse:
    """Every type is offered in every zone."""
    begin(ctx, request, "location_type", "filters", "max_results", "next_token")
    kind = request.location_type or "region"
    by_kind = {
        "region": [ctx.region],
        "availability-zone": zones(ctx.region),
        "availability-zone-id": [zone_id(zone) for zone in zones(ctx.region)],
        "outpost": [],
    }
    passes = chosen(request.filters, OFFERING_FILTERS)
    every = (Offering(name, location) for location in by_kind[kind] for name in types())
    found, token = paged(ctx, request, filter(passes, every), key=lambda one: (one.location, one.type))
    return api.DescribeInstanceTypeOfferingsResponse(instance_type_offerings=[_offering(one, kind) for one in found], next_token=token)


def _offering(one: Offering, kind: api.LocationType) -> api.InstanceTypeOffering:
    name: Any = one.type
    return api.InstanceTypeOffering(instance_type=name, location_type=kind, location=one.location)
