"""Changes of tasks: each makes a new version, and an event says so in the same transaction.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
"""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.dates import iso8601
from cloudstead.kernel.events import Event
from cloudstead.kernel.store import Store, Transaction
from cloudstead.services.ecs.tasks.model import TASKS, Task

_TOLD = ("status", "desired", "containers", "stop_code", "interface")  # changes that are an event


def insert(tx: Transaction, row: Task, now: float) -> Task:
    made = tx.insert(TASKS, row)
    tx.emit(state_change(made, now))
    return made


def change(store: Store, key: tuple[str, ...], now: float, changes: dict[str, Any]) -> Task | None:
    """The row as it is then; None when there is no such task any more. What was asked for first of all ends counts: a second one changes nothing."""
    row = store.table(TASKS).get(key)
    if row is None:
        return None
    if row.desired == "STOPPED" and changes.get("desired") == "STOPPED":
        return row
    if row.desired == "STOPPED" and changes.get("status") in (
        "PENDING",
        "ACTIVATING",
        "RUNNING",
    ):  # it was on its way when the wish to stop came
        changes = {name: value for name, value in changes.items() if name != "status"}
    with store.transaction() as tx:
        row = tx.update(TASKS, row, **changes)
        if any(name in changes for name in _TOLD):
            tx.emit(state_change(row, now))
    return row


def state_change(row: Task, now: float) -> Event:
    """The task as it is, in the members that the API has."""
    return Event(
        time=now,
        source="aws.ecs",
        detail_type="ECS Task State Change",
        detail=_detail(row, now),
        account=row.account,
        region=row.region,
        resources=(row.arn(),),
    )


def _detail(row: Task, now: float) -> dict[str, Any]:
    times = {
        "createdAt": row.created,
        "connectivityAt": row.connected,
        "pullStartedAt": row.pull_started,
        "pullStoppedAt": row.pull_stopped,
        "startedAt": row.started,
        "stoppingAt": row.stopping,
        "executionStoppedAt": row.execution_stopped,
        "stoppedAt": row.stopped,
    }
    detail: dict[str, Any] = {
        "attachments": attachments(row),
        "availabilityZone": row.zone,
        "clusterArn": row.cluster_arn(),
        "connectivity": "CONNECTED" if row.connected else None,
        "containers": [_container(row, each) for each in row.containers],
        "cpu": row.cpu,
        "memory": row.memory,
        "desiredStatus": row.desired,
        "enableExecuteCommand": row.execute_command,
        "group": row.group,
        "launchType": row.launch_type,
        "lastStatus": row.status,
        "overrides": {"containerOverrides": [{"name": each.name} for each in row.overrides.containers]},
        "platformVersion": row.platform_version,
        "startedBy": row.started_by,
        "stopCode": row.stop_code,
        "stoppedReason": row.stopped_reason,
        "taskArn": row.arn(),
        "taskDefinitionArn": row.definition_arn(),
        "updatedAt": iso8601(now, "milliseconds"),
        "version": row.version,
        **{name: iso8601(time, "milliseconds") for name, time in times.items() if time},
    }
    return {name: value for name, value in detail.items() if value not in (None, "")}


def _container(row: Task, each: Any) -> dict[str, Any]:
    found = {
        "containerArn": row.container_arn(each),
        "taskArn": row.arn(),
        "name": each.name,
        "image": each.image,
        "imageDigest": each.digest,
        "runtimeId": each.id if each.image_id else "",
        "lastStatus": each.status,
        "exitCode": each.exit_code,
        "reason": each.reason,
        "cpu": str(each.cpu),
        "memory": None if each.memory is None else str(each.memory),
        "networkInterfaces": interfaces(row),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def interfaces(row: Task) -> list[dict[str, str]]:
    one = row.interface
    return [{"attachmentId": one.attachment, "privateIpv4Address": one.ip}] if one is not None and one.ip else []


def attachments(row: Task) -> list[dict[str, Any]]:
    """The task's network interface, as AWS tells it."""
    one = row.interface
    if one is None:
        return []
    status = "PRECREATED" if not one.id else "DELETED" if row.status == "STOPPED" else "ATTACHED"
    details = [
        ("subnetId", one.subnet),
        ("networkInterfaceId", one.id),
        ("macAddress", one.mac),
        ("privateDnsName", one.private_name),
        ("privateIPv4Address", one.ip),
    ]
    found = [{"name": name, "value": value} for name, value in details if value]
    return [{"id": one.attachment, "type": "ElasticNetworkInterface", "status": status, "details": found}]
