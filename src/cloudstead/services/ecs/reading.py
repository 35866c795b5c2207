"""A request to register a task definition, as the structs that rows keep. Their members have the names of the API's, so each part is taken over as it is."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from cloudstead.services.ecs import api
from cloudstead.services.ecs.definition import (
    ContainerDefinition,
    Definition,
    EphemeralStorage,
    InferenceAccelerator,
    ProxyConfiguration,
    RuntimePlatform,
    TaskDefinitionPlacementConstraint,
    TrustedExecutionConfiguration,
    Volume,
)

T = TypeVar("T")


def definition(request: api.RegisterTaskDefinitionRequest) -> Definition:
    """What the request says; whether it is right is not asked here."""
    return Definition(
        family=request.family,
        task_role_arn=request.task_role_arn or None,
        execution_role_arn=request.execution_role_arn or None,
        network_mode=request.network_mode,
        container_definitions=tuple(_part(each, ContainerDefinition) for each in request.container_definitions),
        volumes=_parts(request.volumes, Volume),
        placement_constraints=_parts(request.placement_constraints, TaskDefinitionPlacementConstraint),
        requires_compatibilities=None if request.requires_compatibilities is None else tuple(request.requires_compatibilities),
        cpu=request.cpu,
        memory=request.memory,
        pid_mode=request.pid_mode,
        ipc_mode=request.ipc_mode,
        proxy_configuration=_optional(request.proxy_configuration, ProxyConfiguration),
        inference_accelerators=_parts(request.inference_accelerators, InferenceAccelerator),
        ephemeral_storage=_optional(request.ephemeral_storage, EphemeralStorage),
        runtime_platform=_optional(request.runtime_platform, RuntimePlatform),
        enable_fault_injection=request.enable_fault_injection,
        trusted_execution_configuration=_optional(request.trusted_execution_configuration, TrustedExecutionConfiguration),
    )


def _part(given: Any, kind: type[T]) -> T:
    return msgspec.convert(given, kind, from_attributes=True)


def _optional(given: Any, kind: type[T]) -> T | None:
    return None if given is None else _part(given, kind)


def _parts(given: list[Any] | None, kind: type[T]) -> tuple[T, ...] | None:
    return None if given is None else tuple(_part(each, kind) for each in given)
