"""Credentials of a role for what runs under it: tasks (169.254.170.2) and instances (169.254.169.254).

A service assumes the role in its own name, so the role's trust policy has its say, and lends what it gets. It is lent again until half of its time is
over; clients fetch anew when some minutes are left.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cloudstead.kernel import identity as identities
from cloudstead.kernel.context import Cloud

MOST: Final = 10_000  # that are remembered; they can be made again at any time


class RoleCredentials(msgspec.Struct, frozen=True, kw_only=True):
    role_arn: str
    access_key_id: str
    secret_access_key: str
    token: str
    updated: float  # seconds since the epoch
    expiration: float


class RoleLender:
    """For one service: `ecs-tasks.amazonaws.com`, `ec2.amazonaws.com`."""

    def __init__(self, cloud: Cloud, principal: str) -> None:
        self._cloud = cloud
        self._principal = principal
        self._lent: dict[tuple[str, str], RoleCredentials] = {}

    async def lend(self, account: str, region: str, role_arn: str, session_name: str) -> RoleCredentials:
        """
        Args:
            account, region: where the task or instance is.
            session_name: its id; policies and logs see it in the ARN of the session.

        Raises:
            ServiceError: there is no such role, or it does not trust the service.
        """
        key, now = (role_arn, session_name), self._cloud.clock.time()
        lent = self._lent.get(key)
        if lent is not None and now < (lent.updated + lent.expiration) / 2:
            return lent
        ctx = self._cloud.context(identity=identities.service(self._principal, account), account=account, region=region)
        ask: Any = self._cloud.registry.services["sts"].attribute("api:AssumeRoleRequest")  # by name: the kernel imports no service
        made = (await ctx.call(ask(role_arn=role_arn, role_session_name=session_name))).credentials
        lent = RoleCredentials(
            role_arn=role_arn,
            access_key_id=made.access_key_id,
            secret_access_key=made.secret_access_key,
            token=made.session_token,
            updated=now,
            expiration=made.expiration,
        )
        if len(self._lent) >= MOST:
            self._lent.clear()
        self._lent[key] = lent
        return lent
