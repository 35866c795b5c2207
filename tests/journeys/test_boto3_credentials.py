"""The ways in which SDKs come by credentials, against a daemon that checks every one of them."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import struct
import sys
import time
import urllib.request
from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from cloudstead import datadir
from support import ACCOUNT, CloudThread

EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", strict=True) as running:
        yield running


@pytest.fixture(scope="module")
def root(strict: CloudThread) -> dict[str, str]:
    key = datadir.root_key(strict.settings.data)
    return {"key": key.access_key_id, "secret": key.secret_access_key}


@pytest.fixture(scope="module")
def ann(strict: CloudThread, root: dict[str, str]) -> dict[str, str]:
    """The key of a user who may assume `worker` (which may do everything), and nothing else."""
    iam = strict.client("iam", **root)
    arn = iam.create_user(UserName="ann")["User"]["Arn"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": arn}, "Action": ["sts:AssumeRole", "sts:TagSession"]}],
    }
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="worker", PolicyName="all", PolicyDocument=EVERYTHING)
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    return {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


@pytest.fixture
def home(strict: CloudThread, ann: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a profile for each way."""
    (tmp_path / "credentials").write_text(f"[ann]\naws_access_key_id = {ann['key']}\naws_secret_access_key = {ann['secret']}\n")
    process = tmp_path / "process.py"
    said = {"Version": 1, "AccessKeyId": ann["key"], "SecretAccessKey": ann["secret"]}
    process.write_text(f"print('''{json.dumps(said)}''')\n")
    every = f"region = us-east-1\nendpoint_url = {strict.endpoint}\n"
    role = f"role_arn = arn:aws:iam::{ACCOUNT}:role/worker\n"
    (tmp_path / "config").write_text(
        f"[profile ann]\n{every}"
        f"[profile role]\n{every}{role}source_profile = ann\nrole_session_name = build\nduration_seconds = 900\n"
        f"[profile process]\n{every}credential_process = {sys.executable} {process}\n"
        f"[profile chained]\n{every}{role}source_profile = process\nrole_session_name = chained\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.mark.parametrize(
    ("profile", "arn"),
    [
        ("ann", f"arn:aws:iam::{ACCOUNT}:user/ann"),
        ("process", f"arn:aws:iam::{ACCOUNT}:user/ann"),
        ("role", f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/build"),
        ("chained", f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/chained"),
    ],
)
def test_a_profile_is_who_it_says(home: Path, profile: str, arn: str) -> None:
    assert boto3.session.Session(profile_name=profile).client("sts").get_caller_identity()["Arn"] == arn


def test_a_role_may_what_its_user_may_not(home: Path) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.session.Session(profile_name="ann").client("iam").list_users()
    assert boto3.session.Session(profile_name="role").client("iam").list_users()["Users"]


def session_keys(strict: CloudThread, ann: dict[str, str], **more: Any) -> dict[str, str]:
    sts = strict.client("sts", **ann)
    keys = sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/worker", RoleSessionName="s1", **more)["Credentials"]
    return {"key": keys["AccessKeyId"], "secret": keys["SecretAccessKey"], "token": keys["SessionToken"]}


def test_a_session_token_goes_along_in_headers_urls_and_forms(strict: CloudThread, ann: dict[str, str]) -> None:
    keys = session_keys(strict, ann)
    s3 = strict.client("s3", **keys)
    s3.create_bucket(Bucket="of-a-session")
    s3.upload_fileobj(io.BytesIO(bytes(9 << 20)), "of-a-session", "big")
    url = s3.generate_presigned_url("head_object", Params={"Bucket": "of-a-session", "Key": "big"})
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as answer:
        assert answer.headers["Content-Length"] == str(9 << 20)
    post = s3.generate_presigned_post("of-a-session", "by-form")
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in post["fields"].items())
    body = f'{parts}--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\ndata\r\n--b--\r\n'.encode()
    request = urllib.request.Request(post["url"], body, {"Content-Type": "multipart/form-data; boundary=b"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204
    assert s3.get_object(Bucket="of-a-session", Key="by-form")["Body"].read() == b"data"


def test_a_token_of_another_session_is_refused(strict: CloudThread, ann: dict[str, str]) -> None:
    one, other = session_keys(strict, ann), session_keys(strict, ann)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        strict.client("sts", **one | {"token": other["token"]}).get_caller_identity()
    with pytest.raises(ClientError, match="InvalidToken"):
        strict.client("s3", **one | {"token": other["token"]}).list_buckets()
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        strict.client("s3", **one | {"token": None}).list_buckets()


def one_time_code(seed: str, at: float) -> str:
    """RFC 6238 with six digits and 30 seconds, as the applications on telephones do it."""
    digest = hmac.digest(b32decode(seed), struct.pack(">Q", int(at // 30)), hashlib.sha1)
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def test_a_session_with_a_one_time_code_may_what_the_key_alone_may_not(strict: CloudThread, root: dict[str, str]) -> None:
    iam = strict.client("iam", **root)
    iam.create_user(UserName="mia")
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*", "Condition": condition}],
    }
    iam.put_user_policy(UserName="mia", PolicyName="with-code", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName="mia")["AccessKey"]
    mia = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
    seed = device["Base32StringSeed"].decode()
    now = time.time()
    codes = {"AuthenticationCode1": one_time_code(seed, now - 30), "AuthenticationCode2": one_time_code(seed, now)}
    iam.enable_mfa_device(UserName="mia", SerialNumber=device["SerialNumber"], **codes)
    with pytest.raises(ClientError, match="AccessDenied"):
        strict.client("iam", **mia).list_users()
    with pytest.raises(ClientError, match="MultiFactorAuthentication failed"):
        strict.client("sts", **mia).get_session_token(SerialNumber=device["SerialNumber"], TokenCode="000000")
    code = one_time_code(seed, time.time() + 30)  # a code may be used once
    keys = strict.client("sts", **mia).get_session_token(SerialNumber=device["SerialNumber"], TokenCode=code)["Credentials"]
    session = {"key": keys["AccessKeyId"], "secret": keys["SecretAccessKey"], "token": keys["SessionToken"]}
    assert strict.client("iam", **session).list_users()["Users"]
