"""What a task definition needs: attributes of container instances, and the launch types for which it is right."""

from __future__ import annotations

from typing import Any

import pytest
from registrations import AWSLOGS, FARGATE, ROLE, request

from cloudstead.services.ecs import defaults, reading, requirements

OLD, NEW, DOCKER = requirements.OLD, requirements.NEW, requirements.DOCKER
ECR = "000000000000.dkr.ecr.us-east-1.amazonaws.com/app:1"


def definition(**members: Any) -> Any:
    return defaults.fill(reading.definition(request(**members)))


def needed(**members: Any) -> set[str]:
    found = requirements.attributes(definition(**members))
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize(
    ("container", "members", "names"),
    [
        ({}, {}, set()),
        # As AWS answered for these: a Fargate service that logs, from ECR, with a role.
        (
            {"image": ECR, "logConfiguration": AWSLOGS},
            FARGATE | {"executionRoleArn": ROLE, "taskRoleArn": ROLE},
            {
                f"{OLD}logging-driver.awslogs",
                f"{NEW}execution-role-awslogs",
                f"{OLD}ecr-auth",
                f"{DOCKER}1.19",
                f"{OLD}task-iam-role",
                f"{NEW}execution-role-ecr-pull",
                f"{DOCKER}1.18",
                f"{NEW}task-eni",
            },
        ),
        (
            {"logConfiguration": {"logDriver": "awslogs", "options": AWSLOGS["options"] | {"mode": "non-blocking", "awslogs-create-group": "true"}}},  # type: ignore[operator]
            {},
            {f"{OLD}logging-driver.awslogs", f"{DOCKER}1.19", f"{DOCKER}1.28", f"{DOCKER}1.29"},
        ),
        ({"readonlyRootFilesystem": True}, {}, {f"{DOCKER}1.17"}),
        ({"privileged": True}, {"networkMode": "host", "taskRoleArn": ROLE}, {f"{OLD}privileged-container", f"{OLD}task-iam-role", f"{OLD}task-iam-role-network-host"}),
        ({"healthCheck": {"command": ["CMD", "a"], "startPeriod": 9}, "stopTimeout": 9}, {}, {f"{NEW}container-health-check", f"{DOCKER}1.29", f"{NEW}container-ordering"}),
        ({"linuxParameters": {"initProcessEnabled": True, "sharedMemorySize": 9}}, {}, {f"{DOCKER}1.22", f"{DOCKER}1.25"}),
        (
            {"secrets": [{"name": "a", "valueFrom": "p"}, {"name": "b", "valueFrom": "arn:aws:secretsmanager:r:000000000000:secret:s"}]},
            {},
            {f"{NEW}secrets.ssm.environment-variables", f"{NEW}secrets.asm.environment-variables"},
        ),
        ({}, {"pidMode": "task"}, {f"{NEW}pid-ipc-namespace-sharing"}),
        ({}, {"volumes": [{"name": "v", "dockerVolumeConfiguration": {"driver": "rexray"}}]}, {f"{NEW}docker-plugin.rexray"}),
        ({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/a.env"}]}, {}, {f"{NEW}env-files.s3"}),
    ],
)  # fmt: skip
def test_attributes_follow_from_what_is_used(container: dict[str, Any], members: dict[str, Any], names: set[str]) -> None:
    assert needed(**members, containerDefinitions=[container]) == names


@pytest.mark.parametrize(
    ("members", "types"),
    [
        ({}, ("EXTERNAL", "EC2")),
        ({"networkMode": "awsvpc"}, ("EC2",)),
        (FARGATE, ("EC2", "MANAGED_INSTANCES", "FARGATE")),
        (FARGATE | {"requiresCompatibilities": ["EC2"]}, ("EC2", "MANAGED_INSTANCES", "FARGATE")),
        (FARGATE | {"requiresCompatibilities": None, "memory": "777"}, ("EC2", "MANAGED_INSTANCES")),
        (FARGATE | {"requiresCompatibilities": None, "containerDefinitions": [{"privileged": True}]}, ("EC2", "MANAGED_INSTANCES")),
    ],
)
def test_a_definition_is_compatible_with_what_has_nothing_against_it(members: dict[str, Any], types: tuple[str, ...]) -> None:
    assert requirements.compatibilities(definition(**members)) == types
