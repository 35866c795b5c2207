"""From a task's description to the documents that the endpoint answers with. Pure. What is empty is left out, as the agent does."""

from __future__ import annotations

import time
from typing import Any

from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.services.ecs.metadata.model import ContainerMetadata, Health, Interface, TaskMetadata

LEAST_CPU = 2  # units: fewer are taken for so many


def task(described: TaskMetadata, version: int, *, tags: bool = False, now: float = 0.0) -> dict[str, Any]:
    """`/task`, or with its tags `/taskWithTags`. Versions 2 and 3 know less than 4."""
    limits = _present(CPU=described.cpu, Memory=described.memory)
    document: dict[str, Any] = {
        "Cluster": described.cluster,
        "TaskARN": described.arn,
        "Family": described.family,
        "Revision": described.revision,
        "DesiredStatus": described.desired_status,
        "KnownStatus": described.known_status,
    }
    document |= _present(
        Limits=limits,
        PullStartedAt=date(described.pull_started_at),
        PullStoppedAt=date(described.pull_stopped_at),
        ExecutionStoppedAt=date(described.execution_stopped_at),
        AvailabilityZone=described.availability_zone,
    )
    if tags:
        document |= _present(TaskTags=described.tags, ContainerInstanceTags=described.container_instance_tags)
    if version >= 4:
        document |= _present(LaunchType=described.launch_type)
    document["Containers"] = [container(each, version) for each in described.containers]
    if version >= 4:
        document |= _present(VPCID=described.vpc_id, ServiceName=described.service_name, Group=described.group)
        if described.clock_error_bound is not None:
            document["ClockDrift"] = _present(
                ClockErrorBound=described.clock_error_bound, ReferenceTimestamp=date(now), ClockSynchronizationStatus="SYNCHRONIZED"
            )
        if described.ephemeral_storage_reserved:
            document["EphemeralStorageMetrics"] = {
                "Utilized": described.ephemeral_storage_utilized,
                "Reserved": described.ephemeral_storage_reserved,
            }
        document["FaultInjectionEnabled"] = described.fault_injection_enabled
    return document


def container(described: ContainerMetadata, version: int) -> dict[str, Any]:
    ports = [
        _present(
            ContainerPort=port.container_port,
            Protocol=port.protocol,
            HostPort=port.container_port if described.network_mode == "awsvpc" else port.host_port,
            HostIp=port.host_ip if version >= 4 else "",
        )
        for port in described.ports
    ]
    document: dict[str, Any] = {
        "DockerId": described.docker_id,
        "Name": described.name,
        "DockerName": described.docker_name,
        "Image": described.image,
        "ImageID": described.image_id,
    }
    document |= _present(Ports=ports, Labels=described.labels)
    document |= {"DesiredStatus": described.desired_status, "KnownStatus": described.known_status}
    if described.exit_code is not None:
        document["ExitCode"] = described.exit_code
    document["Limits"] = {"CPU": max(described.cpu, LEAST_CPU), "Memory": described.memory}
    document |= _present(CreatedAt=date(described.created_at), StartedAt=date(described.started_at), FinishedAt=date(described.finished_at))
    document["Type"] = described.type
    if described.health is not None:
        document["Health"] = _health(described.health)
    document |= _present(Volumes=[_volume(each.docker_name, each.source, each.destination) for each in described.volumes])
    if version >= 4:
        document |= _present(LogDriver=described.log_driver, LogOptions=described.log_options, ContainerARN=described.arn)
    document |= _present(Networks=[_network(described.network_mode, each, version) for each in described.interfaces])
    if version >= 4:
        document |= _present(Snapshotter=described.snapshotter)
        if described.restart_count is not None:
            document["RestartCount"] = described.restart_count
    return document


def credentials(lent: RoleCredentials) -> dict[str, str]:
    """`/v2/credentials/<id>`."""
    return {
        "RoleArn": lent.role_arn,
        "AccessKeyId": lent.access_key_id,
        "SecretAccessKey": lent.secret_access_key,
        "Token": lent.token,
        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lent.expiration)),
    }


def date(seconds: float) -> str:
    """As Go writes a time: with as much of the second as there is. Empty for none."""
    if not seconds:
        return ""
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    fraction = f".{micro:06d}".rstrip("0") if micro else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z"


def _network(mode: str, interface: Interface, version: int) -> dict[str, Any]:
    document = _present(NetworkMode=mode, IPv4Addresses=list(interface.ipv4_addresses), IPv6Addresses=list(interface.ipv6_addresses))
    if version < 4:
        return document
    if interface.attachment_index is not None:
        document["AttachmentIndex"] = interface.attachment_index
    return document | _present(
        MACAddress=interface.mac_address,
        IPv4SubnetCIDRBlock=interface.ipv4_subnet_cidr_block,
        IPv6SubnetCIDRBlock=interface.ipv6_subnet_cidr_block,
        DomainNameServers=list(interface.domain_name_servers),
        DomainNameSearchList=list(interface.domain_name_search_list),
        PrivateDNSName=interface.private_dns_name,
        SubnetGatewayIpv4Address=interface.subnet_gateway_ipv4_address,
        SubnetGatewayIpv6Address=interface.subnet_gateway_ipv6_address,
    )


def _health(health: Health) -> dict[str, Any]:
    return _present(status=health.status, statusSince=date(health.since), exitCode=health.exit_code, output=health.output)


def _volume(docker_name: str, source: str, destination: str) -> dict[str, Any]:
    return _present(DockerName=docker_name, Source=source, Destination=destination)


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
