"""A deployment begins: the service is created, updated with something that its tasks are made of, or told to deploy anew (forceNewDeployment)."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.services.ecs.deployments.model import Deployment, Service, State


def in_progress(id: str) -> str:
    return f"ECS deployment {id} in progress."


def begin(service: Service, id: str, revision: str, now: float) -> Service:
    """The service with a new PRIMARY deployment. What has kept the one before from starting tasks does not keep this one."""
    fresh = Deployment(id=id, revision=revision, created=now, updated=now, desired=service.desired, reason=in_progress(id))
    older = tuple(replace(each, status="ACTIVE") for each in service.deployments)
    return replace(service, deployments=(fresh, *older), state=State())
