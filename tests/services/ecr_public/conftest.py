"""ECR Public by boto3."""

from __future__ import annotations

from typing import Any

import pytest

from support import CloudThread


@pytest.fixture(scope="module")
def public(cloud: CloudThread) -> Any:
    return cloud.client("ecr-public")
