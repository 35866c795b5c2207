"""What is right within one container's definition, whatever runs it."""

from __future__ import annotations

import re

from cloudstead.services.ecs.checks import NAME, refused, unsupported
from cloudstead.services.ecs.definition import ContainerDefinition, ContainerRestartPolicy, Definition, HealthCheck

SMALLEST_MEMORY = 6  # MiB: less than Docker gives to any container
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-./:@#+]{0,254}")


def check(definition: Definition) -> None:
    seen: set[str] = set()
    for each in definition.container_definitions:
        _named(each)
        if each.called in seen:
            refused("Container names must be unique within a task definition.")
        seen.add(each.called)
    if not any(each.essential is not False for each in definition.container_definitions):
        refused("Task definition doesn't have any essential container.")
    for each in definition.container_definitions:
        _limits(definition, each)
        _timeouts(each)
        _environment(each)
        if each.health_check is not None:
            _health(each.called, each.health_check)
        if each.restart_policy is not None:
            _restarts(each.called, each.restart_policy)
        _resources(each)


def _named(each: ContainerDefinition) -> None:
    if not each.name:
        refused("Container.name should not be null or empty.")
    if not NAME.fullmatch(each.name):
        refused("Container.name contains invalid characters.")
    if not each.image:
        refused("Container.image should not be null or empty.")
    if not _IMAGE.fullmatch(each.image):
        refused("Container.image contains invalid characters.")


def _limits(definition: Definition, each: ContainerDefinition) -> None:
    setting = f"Invalid setting for container '{each.name}'."
    if each.memory is None and each.memory_reservation is None and definition.memory is None:
        refused(f"{setting} At least one of 'memory' or 'memoryReservation' must be specified.")
    for name, value in (("memory", each.memory), ("memoryReservation", each.memory_reservation)):
        if value is not None and value < SMALLEST_MEMORY:
            refused(f"{setting} '{name}' must be at least {SMALLEST_MEMORY}.")
    if each.memory is not None and each.memory_reservation is not None and each.memory < each.memory_reservation:
        refused(f"{setting} 'memory' must be greater than or equal to 'memoryReservation'.")
    if each.cpu is not None and each.cpu < 0:
        refused(f"{setting} 'cpu' must be at least 0.")


def _timeouts(each: ContainerDefinition) -> None:
    for kind, seconds in (("start", each.start_timeout), ("stop", each.stop_timeout)):
        if seconds is not None and seconds < 2:
            refused(f"Granular {kind} timeout on container '{each.name}' must be at least 2 seconds.")


def _environment(each: ContainerDefinition) -> None:
    for pair in each.environment or ():
        if not pair.name:
            refused("Environment variable name should not be null or empty.")
    for key in each.docker_labels or {}:
        if not key:
            refused("Docker label key should not be null or empty.")


def _health(name: str, health: HealthCheck) -> None:
    if not health.command:
        refused(f"Health check command is required for container '{name}'.")
    if health.command[0] not in ("CMD", "CMD-SHELL", "NONE"):
        refused(f"Invalid health check command for container '{name}'. The command must start with CMD, CMD-SHELL or NONE.")
    if health.command[0] != "NONE" and len(health.command) < 2:
        refused(f"Invalid health check command for container '{name}'. The command is missing.")
    ranges = (
        ("interval", health.interval, 5, 300),
        ("timeout", health.timeout, 2, 60),
        ("retries", health.retries, 1, 10),
        ("startPeriod", health.start_period, 0, 300),
    )
    for setting, value, least, most in ranges:
        if value is not None and not least <= value <= most:
            refused(f"The health check '{setting}' setting for container '{name}' must be between {least} and {most}.")


def _restarts(name: str, policy: ContainerRestartPolicy) -> None:
    codes = policy.ignored_exit_codes or ()
    if not policy.enabled and (codes or policy.restart_attempt_period is not None):
        refused(f"The restart policy of container '{name}' must be enabled to have other settings.")
    period = policy.restart_attempt_period
    if period is not None and not 60 <= period <= 1800:
        refused(f"the 'restartAttemptPeriod' setting for container '{name}' must be between 60 and 1800")
    if len(codes) > 50:
        refused(f"the 'ignoredExitCodes' setting for container '{name}' can have at most 50 items")
    if any(not 0 <= code <= 255 for code in codes):
        refused(f"the 'ignoredExitCodes' setting for container '{name}' must have values between 0 and 255")


def _resources(each: ContainerDefinition) -> None:
    if each.credential_specs:
        unsupported("Active Directory (credentialSpecs)")
    for wanted in each.resource_requirements or ():
        if wanted.type == "InferenceAccelerator":
            unsupported("Elastic Inference (InferenceAccelerator)")
        if wanted.type == "NeuronDevice" or wanted.sharing_strategy is not None:
            unsupported("Sharing of GPUs, and Neuron devices")
        if not wanted.value or not wanted.value.isascii() or not wanted.value.isdigit() or not 1 <= int(wanted.value[:9]) <= 1000:
            refused(f"Invalid resource requirement for container '{each.name}'. The value of GPU must be a positive integer.")
