"""An account of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support import CloudThread

_accounts = itertools.count(100_000_000_000)


@pytest.fixture
def account() -> str:
    return str(next(_accounts))


@pytest.fixture
def ec2(cloud: CloudThread, account: str) -> Any:
    return cloud.client("ec2", key=account)


@pytest.fixture
def vpc(ec2: Any) -> str:
    return str(ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"])


@pytest.fixture
def subnet(ec2: Any, vpc: str) -> str:
    return str(ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"])


@pytest.fixture
def refusal() -> Callable[..., tuple[str, str]]:
    """The code and the sentence with which a call is refused."""

    def refused(call: Callable[..., Any], **parameters: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            call(**parameters)
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]

    return refused
