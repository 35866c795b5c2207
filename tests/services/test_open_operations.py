"""What every operation declares about who may call it."""

from __future__ import annotations

import pytest

from cloudstead.kernel.operations import Operation, Registry
from cloudstead.services import SERVICES

ANONYMOUS = {"sts:AssumeRoleWithWebIdentity"}  # the provider's token is the proof
PUBLIC = {
    "sts:GetCallerIdentity",  # AWS: no permission is needed, and none can be taken
    "sts:GetSessionToken",  # the same, of oneself
    "sts:AssumeRole",  # judged in the handler, by the role's trust policy and the caller's own
    "sts:AssumeRoleWithWebIdentity",
}


@pytest.fixture(scope="module")
def operations() -> list[Operation]:
    registry = Registry(SERVICES)
    return [operation for service in SERVICES for operation in registry.operations(service.name).values()]


def test_only_these_need_no_identity_or_no_permission(operations: list[Operation]) -> None:
    """A new one is added here on purpose, or not at all."""
    assert {operation.action for operation in operations if operation.anonymous} == ANONYMOUS
    assert {operation.action for operation in operations if operation.public} == PUBLIC


def test_every_operation_declares_what_it_works_on(operations: list[Operation]) -> None:
    assert [operation.action for operation in operations if not (callable(operation.resource) or operation.resource == "*")] == []


def test_what_policies_call_an_operation_is_a_service_and_a_name(operations: list[Operation]) -> None:
    assert [
        operation.action for operation in operations if operation.action.count(":") != 1 or not operation.action.partition(":")[2]
    ] == []
