"""A strict daemon refuses every call that does not prove who makes it, with AWS's codes, and does what policies say."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from cloudstead import datadir
from cloudstead.kernel import identity as identities
from cloudstead.kernel.sessions import Sessions
from support import ACCOUNT, CloudThread

BODY = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("strict") / "data", strict=True) as running:
        yield running


@pytest.fixture(scope="module")
def root(strict: CloudThread) -> Credentials:
    key = datadir.root_key(strict.settings.data)
    return Credentials(key.access_key_id, key.secret_access_key)


def client(strict: CloudThread, service: str, credentials: Any) -> Any:
    return strict.client(service, key=credentials.access_key, secret=credentials.secret_key, token=credentials.token)


def signed(strict: CloudThread, credentials: Credentials, service: str = "sts") -> AWSRequest:
    request = AWSRequest("POST", strict.endpoint + "/", data=BODY.encode(), headers={"Content-Type": FORM})
    SigV4Auth(credentials, service, "us-east-1").add_auth(request)
    return request


def send(url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="POST"), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def refused(strict: CloudThread, request: AWSRequest, **change: str) -> tuple[int, str]:
    """Status and code of the answer to this request, with some headers changed."""
    status, text = send(request.url, {**dict(request.headers.items()), **change}, request.data)
    return status, text.partition("<Code>")[2].partition("</Code>")[0]


def test_a_rightly_signed_call_is_answered(strict: CloudThread, root: Credentials) -> None:
    request = signed(strict, root)
    assert send(request.url, dict(request.headers.items()), request.data)[0] == 200


def test_an_unsigned_call_is_refused(strict: CloudThread) -> None:
    request = AWSRequest("POST", strict.endpoint + "/", data=BODY.encode(), headers={"Content-Type": FORM})
    assert refused(strict, request) == (403, "MissingAuthenticationToken")


@pytest.mark.parametrize("authorization", ["", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=0"])  # fmt: skip
def test_nobody_sends_a_long_body_without_a_known_key(strict: CloudThread, authorization: str) -> None:
    """The answer comes before a byte of the body, which is not asked for."""
    host, _, port = strict.endpoint.removeprefix("http://").partition(":")
    head = [
        "POST / HTTP/1.1", f"Host: {host}", "Content-Length: 60000000", "Content-Type: application/x-amz-json-1.1", "X-Amz-Date: 20260101T000000Z",
        "X-Amz-Target: Logs_20140328.PutLogEvents", *([f"Authorization: {authorization}"] if authorization else []), "", "",
    ]  # fmt: skip
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join(head).encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"UnrecognizedClientException" in answer if authorization else b"MissingAuthenticationToken" in answer


def test_a_deleted_user_is_not_root_where_policies_are_enforced_without_strict(tmp_path: Path) -> None:
    with CloudThread(tmp_path / "data", iam="enforce") as cloud:
        iam = cloud.client("iam")  # a made-up key: root
        iam.create_user(UserName="gone")
        key = iam.create_access_key(UserName="gone")["AccessKey"]
        theirs = cloud.client("iam", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
        with pytest.raises(ClientError, match="AccessDenied"):
            theirs.list_users()
        iam.delete_access_key(UserName="gone", AccessKeyId=key["AccessKeyId"])
        iam.delete_user(UserName="gone")
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            theirs.list_users()


def test_an_unknown_key_is_refused(strict: CloudThread) -> None:
    assert refused(strict, signed(strict, Credentials("AKIAIOSFODNN7EXAMPLE", "x"))) == (403, "InvalidClientTokenId")


def test_a_session_that_is_over_is_refused(strict: CloudThread, root: Credentials) -> None:
    now = time.time()
    for expires, code in ((now - 1, "ExpiredToken"), (now + 60, "")):
        session = Sessions.of(strict.running.cloud).issue(identities.root(ACCOUNT), expires)
        credentials = Credentials(session.access_key_id, session.secret_access_key, session.session_token)
        request = signed(strict, credentials)
        assert refused(strict, request) == (403 if code else 200, code)


def test_a_long_term_key_has_no_token(strict: CloudThread, root: Credentials) -> None:
    with_token = Credentials(root.access_key, root.secret_key, "a token")
    assert refused(strict, signed(strict, with_token)) == (403, "InvalidClientTokenId")


def test_a_wrong_secret_is_refused(strict: CloudThread, root: Credentials) -> None:
    assert refused(strict, signed(strict, Credentials(root.access_key, "wrong"))) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("header", ["X-Amz-Date", "Host"])
def test_a_call_whose_signed_header_was_tampered_with_is_refused(strict: CloudThread, root: Credentials, header: str) -> None:
    changed = {"X-Amz-Date": (datetime.now(UTC) - timedelta(seconds=60)).strftime("%Y%m%dT%H%M%SZ"), "Host": "elsewhere"}[header]
    assert refused(strict, signed(strict, root), **{header: changed}) == (403, "SignatureDoesNotMatch")


def test_a_call_whose_body_was_tampered_with_is_refused(strict: CloudThread, root: Credentials) -> None:
    request = signed(strict, root)
    status, text = send(request.url, dict(request.headers.items()), request.data + b"&X=1")
    assert (status, "SignatureDoesNotMatch" in text) == (403, True)


def test_an_expired_signature_is_refused(strict: CloudThread, root: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1))
    status, code = refused(strict, signed(strict, root))
    assert (status, code) == (403, "SignatureDoesNotMatch")


def test_a_json_service_names_its_errors_as_json_services_do(strict: CloudThread) -> None:
    headers = {"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "application/x-amz-json-1.1"}
    status, text = send(strict.endpoint + "/", headers, b"{}")
    assert (status, json.loads(text)["__type"]) == (400, "MissingAuthenticationTokenException")


@pytest.fixture(scope="module")
def ann(strict: CloudThread, root: Credentials) -> Credentials:
    """A user who may list groups from here, may not delete any, and nothing else."""
    iam = client(strict, "iam", root)
    iam.create_user(UserName="ann")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iam:*Group*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}},
            {"Effect": "Deny", "Action": "iam:DeleteGroup", "Resource": f"arn:aws:iam::{ACCOUNT}:group/keep-*"},
        ],
    }
    iam.put_user_policy(UserName="ann", PolicyName="groups", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def test_a_user_may_do_what_a_policy_with_a_condition_allows(strict: CloudThread, ann: Credentials) -> None:
    iam = client(strict, "iam", ann)
    iam.create_group(GroupName="mine")
    iam.delete_group(GroupName="mine")


def test_what_no_policy_allows_is_denied_with_awss_sentence(strict: CloudThread, ann: Credentials) -> None:
    with pytest.raises(ClientError) as refusal:
        client(strict, "iam", ann).create_user(UserName="bob")
    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert refusal.value.response["Error"]["Message"] == (
        f"User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to perform: iam:CreateUser on resource: arn:aws:iam::{ACCOUNT}:user/bob "
        "because no identity-based policy allows the iam:CreateUser action"
    )


def test_an_explicit_deny_wins(strict: CloudThread, ann: Credentials) -> None:
    iam = client(strict, "iam", ann)
    iam.create_group(GroupName="keep-this")
    with pytest.raises(ClientError, match="with an explicit deny in an identity-based policy"):
        iam.delete_group(GroupName="keep-this")


def test_a_denied_json_service_answers_access_denied_exception(strict: CloudThread, ann: Credentials) -> None:
    with pytest.raises(ClientError) as refusal:
        client(strict, "logs", ann).create_log_group(logGroupName="g")
    assert refusal.value.response["Error"]["Code"] == "AccessDeniedException"


def test_the_companions_services_obey_policies_too(strict: CloudThread, ann: Credentials, root: Credentials) -> None:
    with pytest.raises(ClientError, match="ssm:GetParameter"):
        client(strict, "ssm", ann).get_parameter(Name="x")
    client(strict, "s3", root).create_bucket(Bucket="strict-bucket")
    with pytest.raises(ClientError) as refusal:
        client(strict, "s3", ann).list_buckets()
    assert refusal.value.response["Error"]["Code"] == "AccessDenied"


def test_a_session_has_the_rights_of_its_role_and_no_more_than_its_session_policy(
    strict: CloudThread, root: Credentials, ann: Credentials
) -> None:
    iam = client(strict, "iam", root)
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/ann"}, "Action": "sts:AssumeRole"}],
    }
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="reader", PolicyName="all", PolicyDocument=json.dumps(everything))
    lists = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}]}
    keys = client(strict, "sts", ann).assume_role(RoleArn=arn, RoleSessionName="s1", Policy=json.dumps(lists))["Credentials"]
    session = client(strict, "iam", Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]))
    assert [user["UserName"] for user in session.list_users()["Users"]] == ["ann"]
    with pytest.raises(ClientError, match="because no session policy allows the iam:CreateUser action"):
        session.create_user(UserName="mallory")


def test_a_deleted_key_is_refused_at_once(strict: CloudThread, root: Credentials) -> None:
    iam = client(strict, "iam", root)
    iam.create_user(UserName="gone")
    key = iam.create_access_key(UserName="gone")["AccessKey"]
    theirs = client(strict, "sts", Credentials(key["AccessKeyId"], key["SecretAccessKey"]))
    assert theirs.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/gone"
    iam.update_access_key(UserName="gone", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        theirs.get_caller_identity()
    iam.delete_access_key(UserName="gone", AccessKeyId=key["AccessKeyId"])
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        theirs.get_caller_identity()


def test_a_presigned_url_works_until_it_expires(strict: CloudThread, root: Credentials) -> None:
    s3 = client(strict, "s3", root)
    s3.create_bucket(Bucket="presigned")
    s3.put_object(Bucket="presigned", Key="a b", Body=b"hello")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "a b"}, ExpiresIn=2)
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.read() == b"hello"
    with pytest.raises(urllib.error.HTTPError) as tampered:
        urllib.request.urlopen(url.replace("a%20b", "other"), timeout=20)
    assert (tampered.value.code, b"SignatureDoesNotMatch" in tampered.value.read()) == (403, True)
    time.sleep(3)
    with pytest.raises(urllib.error.HTTPError) as expired:
        urllib.request.urlopen(url, timeout=20)
    assert (expired.value.code, b"AccessDenied" in expired.value.read()) == (403, True)
