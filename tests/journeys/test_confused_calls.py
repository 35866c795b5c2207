"""A call that says two things at once is judged as what is carried out, or refused: what is allowed must not smuggle in what is not."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from cloudstead import datadir
from support import CloudThread

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/x-amz-json-1.1"
ALLOWED = ["sns:ListTopics", "ssm:GetParameter", "lambda:ListFunctions", "logs:DescribeLogGroups"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("confused") / "data", strict=True) as running:
        yield running


@pytest.fixture(scope="module")
def root(cloud: CloudThread) -> dict[str, str]:
    key = datadir.root_key(cloud.settings.data)
    return {"key": key.access_key_id, "secret": key.secret_access_key}


@pytest.fixture(scope="module")
def reader(cloud: CloudThread, root: dict[str, str]) -> Credentials:
    """Somebody who may look at a few things and change nothing."""
    iam = cloud.client("iam", **root)
    iam.create_user(UserName="reader")
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ALLOWED, "Resource": "*"}}
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def send(
    cloud: CloudThread, who: Credentials, scope: str, *, method: str = "POST", path: str = "/", body: str = "", **headers: str
) -> tuple[int, str]:
    """Sign a request for the service `scope` names, whatever else it says, and send it."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, cloud.endpoint + path, data=body.encode(), headers=fields)
    SigV4Auth(who, scope, "us-east-1").add_auth(request)
    sent = urllib.request.Request(request.url, body.encode() if body else None, dict(request.headers.items()), method=method)
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def topic(cloud: CloudThread, root: dict[str, str]) -> str:
    return str(cloud.client("sns", **root).create_topic(Name="precious")["TopicArn"])


@pytest.fixture
def parameter(cloud: CloudThread, root: dict[str, str]) -> str:
    cloud.client("ssm", **root).put_parameter(Name="precious", Value="x", Type="String", Overwrite=True)
    return "precious"


def topics(cloud: CloudThread, root: dict[str, str]) -> list[str]:
    return [topic["TopicArn"] for topic in cloud.client("sns", **root).list_topics()["Topics"]]


def parameters(cloud: CloudThread, root: dict[str, str]) -> list[Any]:
    return [entry["Name"] for entry in cloud.client("ssm", **root).describe_parameters()["Parameters"]]


def test_what_is_allowed_is_answered(cloud: CloudThread, reader: Credentials, topic: str, parameter: str) -> None:
    assert send(cloud, reader, "sns", body="Action=ListTopics&Version=2010-03-31", Content_Type=FORM)[0] == 200
    body = json.dumps({"Name": parameter})
    assert send(cloud, reader, "ssm", body=body, Content_Type=JSON, X_Amz_Target="AmazonSSM.GetParameter")[0] == 200


def test_the_action_of_the_query_string_does_not_cover_another_in_the_form(
    cloud: CloudThread, root: dict[str, str], reader: Credentials, topic: str
) -> None:
    body = f"Action=DeleteTopic&TopicArn={topic}&Version=2010-03-31"
    send(cloud, reader, "sns", path="/?Action=ListTopics&Version=2010-03-31", body=body, Content_Type=FORM)
    assert topic in topics(cloud, root)


def test_a_second_action_in_a_form_is_not_carried_out(cloud: CloudThread, root: dict[str, str], reader: Credentials, topic: str) -> None:
    for body in (f"Action=ListTopics&Action=DeleteTopic&TopicArn={topic}", f"%41ction=DeleteTopic&Action=ListTopics&TopicArn={topic}"):
        send(cloud, reader, "sns", body=body + "&Version=2010-03-31", Content_Type=FORM)
    assert topic in topics(cloud, root)


def test_a_target_does_not_cover_the_action_of_a_form(cloud: CloudThread, root: dict[str, str], reader: Credentials, topic: str) -> None:
    body = f"Action=DeleteTopic&TopicArn={topic}&Version=2010-03-31"
    send(cloud, reader, "sns", body=body, Content_Type=FORM, X_Amz_Target="SNS.ListTopics")
    assert topic in topics(cloud, root)


def test_an_action_does_not_replace_the_target(cloud: CloudThread, root: dict[str, str], reader: Credentials, parameter: str) -> None:
    body = json.dumps({"Name": parameter})
    target = {"Content_Type": JSON, "X_Amz_Target": "AmazonSSM.GetParameter"}
    send(cloud, reader, "ssm", path="/?Action=DeleteParameter", body=body, **target)
    assert parameter in parameters(cloud, root)
    send(cloud, reader, "ssm", body=body, Action="DeleteParameter", **target)
    assert parameter in parameters(cloud, root)
    send(cloud, reader, "ssm", body=json.dumps({"Name": parameter, "x": "&Action=DeleteParameter&"}), **target)
    assert parameter in parameters(cloud, root)


def test_the_parts_of_s3_are_judged_apart(cloud: CloudThread, root: dict[str, str]) -> None:
    iam, s3 = cloud.client("iam", **root), cloud.client("s3", **root)
    for bucket in ("open", "shut"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="public/k", Body=b"x")
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    iam.create_user(UserName="guest")
    document = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": ["s3:*Object"], "Resource": "arn:aws:s3:::open/public/*"},
    }
    iam.put_user_policy(UserName="guest", PolicyName="open", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="guest")["AccessKey"]
    guest = cloud.client("s3", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert guest.get_object(Bucket="open", Key="public/k")["Body"].read() == b"x"
    for bucket, name in (("open", "k"), ("shut", "public/k")):
        with pytest.raises(ClientError, match="AccessDenied"):
            guest.get_object(Bucket=bucket, Key=name)
        with pytest.raises(ClientError, match="AccessDenied"):
            guest.copy_object(Bucket="open", Key="public/stolen", CopySource={"Bucket": bucket, "Key": name})
        with pytest.raises(ClientError, match="AccessDenied"):
            guest.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name}]})
    guest.copy_object(Bucket="open", Key="public/copy", CopySource={"Bucket": "open", "Key": "public/k"})


def test_a_target_does_not_cover_the_path_of_a_rest_service(cloud: CloudThread, reader: Credentials) -> None:
    status, text = send(
        cloud, reader, "lambda", method="DELETE", path="/2015-03-31/functions/precious", X_Amz_Target="Lambda.ListFunctions"
    )
    assert status == 403, text


@pytest.mark.parametrize(
    ("scope", "headers", "body"),
    [
        ("ssm", {"Content_Type": "application/x-amz-json-1.1", "X_Amz_Target": "secretsmanager.ListSecrets"}, "{}"),
        ("secretsmanager", {"Content_Type": "application/x-amz-json-1.1", "X_Amz_Target": "AmazonSSM.DescribeParameters"}, "{}"),
        ("s3", {"Content_Type": "application/x-amz-json-1.1", "X_Amz_Target": "Logs_20140328.DescribeLogGroups", "X_Amz_Content_Sha256": "UNSIGNED-PAYLOAD"}, "{}"),
        ("logs", {"Content_Type": FORM}, "Action=ListUsers&Version=2010-05-08"),
        ("sns", {"Content_Type": FORM}, "Action=ListUsers&Version=2010-05-08"),
    ],
)  # fmt: skip
def test_a_signature_for_one_service_is_none_for_another(
    cloud: CloudThread, root: dict[str, str], scope: str, headers: dict[str, str], body: str
) -> None:
    status, text = send(cloud, Credentials(root["key"], root["secret"]), scope, body=body, **headers)
    assert status in (400, 403, 404), text
    assert any(words in text for words in ("scoped to correct service", "operation is not recognized", "Could not find operation"))
