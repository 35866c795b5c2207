"""Fixtures for the tests of IAM: each test has an account of its own, so that nothing needs to be cleaned up."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from support import CloudThread

_accounts = itertools.count(200_000_000_001)


@pytest.fixture
def account() -> str:
    return str(next(_accounts))


@pytest.fixture
def iam(cloud: CloudThread, account: str) -> Any:
    """A client of the root user of an account in which nothing is yet."""
    return cloud.client("iam", key=account)
