"""The AWS services that are written here, one package each. `SERVICES` names them; none is loaded before it is needed."""

from __future__ import annotations

from cloudstead.kernel.operations import Service
from cloudstead.services import ec2, ecr, ecr_public, ecs, elbv2, events, iam, logs, sts

SERVICES: tuple[Service, ...] = (
    ec2.SERVICE,
    ecr.SERVICE,
    ecr_public.SERVICE,
    ecs.SERVICE,
    elbv2.SERVICE,
    events.SERVICE,
    iam.SERVICE,
    logs.SERVICE,
    sts.SERVICE,
)
