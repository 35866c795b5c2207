"""Fixtures for the tests of STS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from strict_world import World

from support import CloudThread


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", strict=True) as running:
        yield World(running)
