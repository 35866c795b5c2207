"""A task as DescribeTasks tells it."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.kernel import tags
from cloudstead.services.ecs import api
from cloudstead.services.ecs.overriding import Overrides
from cloudstead.services.ecs.tasks import changing
from cloudstead.services.ecs.tasks.model import Task, TaskContainer


def describe(row: Task, *, tagged: bool = False) -> api.Task:
    return api.Task(
        task_arn=row.arn(),
        cluster_arn=row.cluster_arn(),
        task_definition_arn=row.definition_arn(),
        group=row.group,
        started_by=row.started_by or None,
        launch_type=row.launch_type,
        capacity_provider_name=row.capacity_provider or None,
        platform_version=row.platform_version or None,
        platform_family="Linux",
        availability_zone=row.zone or None,
        attachments=[msgspec.convert(each, api.Attachment) for each in changing.attachments(row)],
        attributes=[api.Attribute(name="ecs.cpu-architecture", value="x86_64")],
        connectivity="CONNECTED" if row.connected else None,
        connectivity_at=row.connected or None,
        containers=[_container(row, each) for each in row.containers],
        cpu=row.cpu or None,
        memory=row.memory or None,
        created_at=row.created,
        desired_status=row.desired,
        last_status=row.status,
        enable_execute_command=row.execute_command,
        health_status=health(row),
        inference_accelerators=[],
        overrides=_overrides(row.overrides),
        pull_started_at=row.pull_started or None,
        pull_stopped_at=row.pull_stopped or None,
        started_at=row.started or None,
        stopping_at=row.stopping or None,
        execution_stopped_at=row.execution_stopped or None,
        stopped_at=row.stopped or None,
        stop_code=row.stop_code,
        stopped_reason=row.stopped_reason or None,
        tags=tags.to_list(row.tags, api.Tag) if tagged else [],
        version=row.version,
    )


def health(row: Task) -> Any:
    """Of all its containers: one that is not healthy makes the task so."""
    found = {each.health for each in row.containers}
    return "UNHEALTHY" if "UNHEALTHY" in found else "HEALTHY" if "HEALTHY" in found else "UNKNOWN"


def _container(row: Task, each: TaskContainer) -> api.Container:
    agents: list[api.ManagedAgent] | None = None
    if row.execute_command:
        running = each.status == "RUNNING"
        agents = [api.ManagedAgent(name="ExecuteCommandAgent", last_status=each.status, last_started_at=each.started if running else None)]
    return api.Container(
        container_arn=row.container_arn(each),
        task_arn=row.arn(),
        name=each.name,
        image=each.image,
        image_digest=each.digest or None,
        runtime_id=each.id if each.image_id else None,
        last_status=each.status,
        exit_code=each.exit_code,
        reason=each.reason or None,
        network_bindings=[],
        network_interfaces=[
            api.NetworkInterface(attachment_id=one["attachmentId"], private_ipv4_address=one["privateIpv4Address"])
            for one in changing.interfaces(row)
        ],
        health_status=each.health,
        managed_agents=agents,
        cpu=str(each.cpu),
        memory=None if each.memory is None else str(each.memory),
        memory_reservation=None if each.memory_reservation is None else str(each.memory_reservation),
    )


def _overrides(given: Overrides) -> api.TaskOverride:
    def pairs(each: Any) -> Any:
        return None if each is None else msgspec.convert(each, list[api.KeyValuePair], from_attributes=True)

    return api.TaskOverride(
        container_overrides=[
            api.ContainerOverride(
                name=each.name,
                command=None if each.command is None else list(each.command),
                environment=pairs(each.environment),
                environment_files=None
                if each.environment_files is None
                else msgspec.convert(each.environment_files, list[api.EnvironmentFile], from_attributes=True),
                cpu=each.cpu,
                memory=each.memory,
                memory_reservation=each.memory_reservation,
            )
            for each in given.containers
        ],
        cpu=given.cpu,
        memory=given.memory,
        task_role_arn=given.task_role_arn,
        execution_role_arn=given.execution_role_arn,
        ephemeral_storage=None
        if given.ephemeral_storage is None
        else api.EphemeralStorage(size_in_gi_b=given.ephemeral_storage.size_in_gi_b),
        inference_accelerator_overrides=[],
    )
