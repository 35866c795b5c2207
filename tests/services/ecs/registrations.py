"""Requests to register task definitions, as JSON says them."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.services.ecs import api

FARGATE = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
ROLE = "arn:aws:iam::000000000000:role/execution"
AWSLOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "r", "awslogs-stream-prefix": "p"}}


def request(**members: Any) -> api.RegisterTaskDefinitionRequest:
    """A definition of containers that are right but for what is said."""
    members.setdefault("family", "web")
    members.setdefault("containerDefinitions", [{}])
    members["containerDefinitions"] = [{"name": "app", "image": "nginx", "memory": 64} | each for each in members["containerDefinitions"]]
    return msgspec.convert(members, api.RegisterTaskDefinitionRequest)
