"""A repository of each test's own. Modules that use it say with `ecr` whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def repository(ecr: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("test_", "").split("[")[0].lower()
    ecr.create_repository(repositoryName=name)
    yield name
    ecr.delete_repository(repositoryName=name, force=True)
