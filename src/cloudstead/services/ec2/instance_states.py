"""The states of instances, and the change from one to the next with all that is told of it.

pending ──▶ running ──▶ stopping ──▶ stopped ──▶ pending …
   └──────────┴──▶ shutting-down ──▶ terminated        shown for an hour
"""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.dates import iso8601
from cloudstead.kernel.events import Event
from cloudstead.kernel.store import Transaction
from cloudstead.services.ec2.model import INSTANCES, Instance

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
ON = ("pending", "running")  # has a machine, or is getting one
USER_STOP = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
OWN_STOP = ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
INTERNAL = "Server.InternalError"


def moved(tx: Transaction, row: Instance, state: str, now: float, **changes: Any) -> Instance:
    """In another state, and EventBridge is told."""
    row = tx.update(INSTANCES, row, state=state, since=now, **changes)
    tx.emit(change_event(row, now))
    return row


def change_event(row: Instance, now: float) -> Event:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html"""
    return Event(
        time=now,
        source="aws.ec2",
        detail_type="EC2 Instance State-change Notification",
        detail={"instance-id": row.id, "state": row.state},
        account=row.account,
        region=row.region,
        resources=(f"arn:aws:ec2:{row.region}:{row.account}:instance/{row.id}",),
    )


def said_by_user(now: float) -> str:
    """StateTransitionReason: "User initiated (2026-01-01 00:00:00 GMT)"."""
    return f"User initiated ({iso8601(now)[:19].replace('T', ' ')} GMT)"
