"""What the tests of IAM say often."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(call: Any, code: str, sentence: str | None = None, **parameters: Any) -> str:
    """The call is refused with this code (and sentence); returns the sentence."""
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    error = refusal.value.response["Error"]
    assert error["Code"] == code, error
    if sentence is not None:
        assert error["Message"] == sentence
    return str(error["Message"])


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(principal: Any | None = None) -> str:
    return document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal or {"Service": "ec2.amazonaws.com"}})


READ = document(allow("s3:Get*"))
WRITE = document(allow("s3:Put*"))
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
