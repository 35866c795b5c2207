"""AWS's own managed policies, by name: the few that our services and their users ask for."""

from __future__ import annotations

import json
from typing import Any, Final

from cloudstead.kernel.identity import PARTITION

ACCOUNT: Final = "aws"  # where an ARN has the account


def _allow(*actions: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


_POLICIES: Final[dict[str, dict[str, Any]]] = {
    "AdministratorAccess": _allow("*"),
}
"""Path and name, as the ARN has them, -> document."""


def document(arn: str) -> str | None:
    """The document of `arn:aws:iam::aws:policy/…`; None when we do not have it."""
    prefix = f"arn:{PARTITION}:iam::{ACCOUNT}:policy/"
    found = _POLICIES.get(arn.removeprefix(prefix)) if arn.startswith(prefix) else None
    return None if found is None else json.dumps(found)
