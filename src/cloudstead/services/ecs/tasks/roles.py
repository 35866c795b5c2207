"""In whose name things are done for a task: its execution role's, or, where it has none, the service's own."""

from __future__ import annotations

from typing import Final

from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.role_credentials import RoleCredentials, RoleLender
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.tasks.model import Task

PRINCIPAL: Final = "ecs-tasks.amazonaws.com"
_REFUSED: Final = (
    "ECS was unable to assume the role '{}' that was provided for this task. Please verify that the role being passed has the proper trust relationship and "
    "permissions and that your IAM user has permissions to pass this role."
)


class CannotAssume(Exception):
    """The role is not there, or does not trust tasks; the message is AWS's."""


class Roles:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lender = RoleLender(cloud, PRINCIPAL)

    async def lend(self, row: Task, role_arn: str) -> RoleCredentials:
        """Credentials of the task's own role. Raises ServiceError."""
        return await self._lender.lend(row.account, row.region, role_arn, row.id)

    async def context(self, row: Task, definition: Definition) -> Context:
        """
        Raises:
            CannotAssume
        """
        role = definition.execution_role_arn
        if role is None:
            return self._cloud.service_context(PRINCIPAL, row.account, row.region)
        try:
            lent = await self._lender.lend(row.account, row.region, role, row.id)
        except ServiceError:
            raise CannotAssume(_REFUSED.format(role)) from None
        credential = Sessions.of(self._cloud).find(lent.access_key_id, lent.token)
        if credential is None:
            raise CannotAssume(_REFUSED.format(role))
        return self._cloud.context(identity=credential.identity, account=row.account, region=row.region)
