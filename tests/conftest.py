"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import botocore_source
from support import CloudThread

# How long examples take says how busy the machine is; what hangs is ended by pytest's own limit.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def botocore_tests() -> Path:
    """The `tests` directory of the installed botocore's source distribution."""
    return botocore_source.tests_directory()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    """A whole Cloudstead over HTTP, one for the module; `cloud.client("iam")` gives boto3 clients. Tests keep apart by names or accounts."""
    with CloudThread(tmp_path_factory.mktemp("cloud") / "data") as running:
        yield running
