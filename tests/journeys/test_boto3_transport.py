"""boto3's ways with HTTP: retries, many threads, kept connections, big and compressed bodies, proxies, uploads that wait for 100 Continue."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudstead import datadir
from cloudstead.edge import dispatch
from support import ACCOUNT, CloudThread, Daemon, client_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("transport") / "data", "--strict") as daemon:
        yield daemon


def root_client(daemon: Daemon, service: str, **options: Any) -> Any:
    key = datadir.root_key(daemon.data)
    return daemon.client(service, key=key.access_key_id, secret=key.secret_access_key, **options)


# ---- retries


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
@pytest.mark.parametrize("service", ["sts", "logs", "s3"])
def test_a_throttled_call_is_retried_until_it_goes_through(
    cloud: CloudThread, monkeypatch: pytest.MonkeyPatch, mode: str, service: str
) -> None:
    client = cloud.client(service, config=Config(retries={"mode": mode, "total_max_attempts": 6}))
    call = {"sts": "get_caller_identity", "logs": "describe_log_groups", "s3": "list_buckets"}[service]
    getattr(client, call)()  # the client and the companion are warm
    monkeypatch.setattr(dispatch, "MOST_UNDER_WAY", -1)
    threading.Timer(0.2, monkeypatch.setattr, (dispatch, "MOST_UNDER_WAY", 4096)).start()
    metadata = getattr(client, call)()["ResponseMetadata"]
    assert metadata["RetryAttempts"] >= 1


def test_a_throttled_call_that_is_not_retried_shows_the_code_of_its_service(cloud: CloudThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "MOST_UNDER_WAY", -1)
    seen = {}
    for service, call, parameters in (
        ("iam", "list_users", {}),
        ("logs", "describe_log_groups", {}),
        ("s3", "list_buckets", {}),
        ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"{}", "ContentType": "application/json"}),
        ("s3", "delete_objects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}}),
        ("lambda", "list_functions", {}),
    ):
        with pytest.raises(ClientError) as refusal:
            getattr(cloud.client(service, config=Config(retries={"total_max_attempts": 1})), call)(**parameters)
        answer = refusal.value.response
        seen[call] = (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"])
    assert seen == {
        "list_users": ("Throttling", 400),
        "describe_log_groups": ("ThrottlingException", 400),
        "list_buckets": ("SlowDown", 503),
        "put_object": ("SlowDown", 503),
        "delete_objects": ("SlowDown", 503),
        "list_functions": ("ThrottlingException", 400),
    }


# ---- connections


def test_fifty_threads_share_one_client_and_every_write_of_theirs_counts_once(cloud: CloudThread) -> None:
    logs = cloud.client("logs", config=Config(max_pool_connections=50))
    iam = cloud.client("iam", config=Config(max_pool_connections=50))
    logs.create_log_group(logGroupName="/threads")
    taken = iam.exceptions.EntityAlreadyExistsException  # botocore makes these classes at the first look, not safely for threads

    def work(n: int) -> None:
        stream = {"logGroupName": "/threads", "logStreamName": f"s{n}"}
        logs.create_log_stream(**stream)
        for at in range(4):
            logs.put_log_events(**stream, logEvents=[{"timestamp": int(time.time() * 1000), "message": f"{n} {at}"}])
        iam.create_user(UserName=f"thread{n}", Path="/threads/")
        with pytest.raises(taken):
            iam.create_user(UserName=f"thread{n}")

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/threads")
    assert sorted(event["message"] for page in pages for event in page["events"]) == sorted(
        f"{n} {at}" for n in range(50) for at in range(4)
    )
    pages = iam.get_paginator("list_users").paginate(PathPrefix="/threads/")
    assert len([user for page in pages for user in page["Users"]]) == 50


def test_a_client_keeps_its_connection_also_after_refusals(cloud: CloudThread) -> None:
    sts, logs = cloud.client("sts", config=Config(parameter_validation=False)), cloud.client("logs")
    ports = set()
    take = dispatch.Calls.__call__

    async def noting(self: Any, request: Any) -> Any:
        ports.add(request.peer_port)
        return await take(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch.Calls, "__call__", noting)
        for _ in range(5):
            sts.get_caller_identity()
            with pytest.raises(ClientError):
                sts.get_session_token(DurationSeconds=1)
            with pytest.raises(ClientError):
                logs.delete_log_group(logGroupName="/none")
    assert len(ports) == 2


def test_the_answer_tells_the_time_of_the_server(cloud: CloudThread) -> None:
    headers = cloud.client("sts").get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
    told = datetime.strptime(headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs((told - datetime.now(UTC)).total_seconds()) < 5


# ---- bodies


def test_a_batch_of_log_events_may_be_a_mebibyte_and_no_more(cloud: CloudThread) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/big")
    logs.create_log_stream(logGroupName="/big", logStreamName="s")
    now = int(time.time() * 1000)
    size = MIB // 1024 - 26  # each event counts 26 bytes more than its message
    events = [{"timestamp": now + n, "message": f"{n:04}".ljust(size, "x")} for n in range(1024)]
    logs.put_log_events(logGroupName="/big", logStreamName="s", logEvents=events)
    with pytest.raises(logs.exceptions.InvalidParameterException, match="1048576"):
        logs.put_log_events(
            logGroupName="/big", logStreamName="s", logEvents=[{**events[0], "message": events[0]["message"] + "x"}, *events[1:]]
        )
    got: list[str] = []
    for page in logs.get_paginator("filter_log_events").paginate(logGroupName="/big"):
        got += [event["message"] for event in page["events"]]
    assert got == [event["message"] for event in events]


def test_a_policy_of_the_largest_size_goes_through_a_form(cloud: CloudThread) -> None:
    iam = cloud.client("iam")
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::" + "b" * 6000}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn = iam.create_policy(PolicyName="largest", PolicyDocument=document)["Policy"]["Arn"]
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == json.loads(document)
    with pytest.raises(iam.exceptions.LimitExceededException):
        iam.create_policy(PolicyName="larger", PolicyDocument=document.replace("bbb", "b" * 400, 1))


def test_metrics_go_compressed_to_the_companion(strict: Daemon) -> None:
    metrics = root_client(strict, "cloudwatch", config=Config(request_min_compression_size_bytes=100))
    data = [{"MetricName": f"metric{n}", "Value": n, "Dimensions": [{"Name": "host", "Value": "one"}]} for n in range(200)]
    sent = []
    metrics.meta.events.register("before-send", lambda request, **_: sent.append(request.headers.get("Content-Encoding")))
    metrics.put_metric_data(Namespace="journey", MetricData=data)
    assert sent == [b"gzip"] or sent == ["gzip"]
    listed = [m["MetricName"] for page in metrics.get_paginator("list_metrics").paginate(Namespace="journey") for m in page["Metrics"]]
    assert sorted(listed) == sorted(item["MetricName"] for item in data)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_fifty_megabytes_go_up_in_parts_and_come_back(strict: Daemon, algorithm: str) -> None:
    s3 = root_client(strict, "s3")
    bucket = f"parts-{algorithm.lower()}"
    s3.create_bucket(Bucket=bucket)
    data = hashlib.shake_128(b"seed").digest(50 * MIB + 3)
    config = TransferConfig(multipart_chunksize=8 * MIB, max_concurrency=4)
    expected = []
    s3.meta.events.register("before-send", lambda request, **_: expected.append(request.headers.get("Expect")))
    s3.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config, ExtraArgs={"ChecksumAlgorithm": algorithm})
    assert [value for value in expected if value] != [], "no part waited for 100 Continue"
    assert s3.head_object(Bucket=bucket, Key="big")["ContentLength"] == len(data)
    back = io.BytesIO()
    s3.download_fileobj(bucket, "big", back, Config=config)
    assert hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(data).digest()
    s3.delete_object(Bucket=bucket, Key="big")


def test_a_wrong_signature_is_refused_before_the_body_is_sent(strict: Daemon) -> None:
    key = datadir.root_key(strict.data)
    s3 = strict.client("s3", key=key.access_key_id, secret="wrong")
    began = time.monotonic()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.put_object(Bucket="any", Key="big", Body=io.BytesIO(bytes(20 * MIB)))
    assert time.monotonic() - began < 5


def test_a_presigned_url_takes_an_upload_larger_than_memory_would_be_given(strict: Daemon) -> None:
    s3 = root_client(strict, "s3")
    s3.create_bucket(Bucket="by-url")
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "by-url", "Key": "big"})
    data = bytes(70 * MIB)
    with urllib.request.urlopen(urllib.request.Request(url, data, method="PUT", headers={"Content-Type": ""}), timeout=60) as answer:
        assert answer.status == 200
    assert s3.head_object(Bucket="by-url", Key="big")["ContentLength"] == len(data)
    s3.delete_object(Bucket="by-url", Key="big")


def test_an_upload_that_is_not_what_it_says_is_refused_and_not_stored(strict: Daemon) -> None:
    s3 = root_client(strict, "s3")
    s3.create_bucket(Bucket="said")
    for said in ({"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {"ChecksumSHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}):
        for body in (b"hello", bytes(2 * MIB)):
            with pytest.raises(ClientError, match="BadDigest"):
                s3.put_object(Bucket="said", Key="k", Body=body, **said)
    assert "Contents" not in s3.list_objects_v2(Bucket="said")


def test_an_upload_that_was_changed_on_its_way_is_refused_and_not_stored(strict: Daemon) -> None:
    s3 = root_client(strict, "s3")
    s3.create_bucket(Bucket="changed")

    def change(request: Any, **_: Any) -> None:
        request.body = (request.body.read() if hasattr(request.body, "read") else request.body).replace(b"sent", b"SENT")

    s3.meta.events.register_last("before-send.s3.PutObject", change)
    for size in (10, 2 * MIB):
        with pytest.raises(ClientError, match="XAmzContentSHA256Mismatch"):
            s3.put_object(Bucket="changed", Key="k", Body=b"sent" * size)
    assert "Contents" not in s3.list_objects_v2(Bucket="changed")


# ---- proxies


@pytest.mark.parametrize("service", ["sts", "iam", "logs", "sqs"])
def test_cloudstead_can_be_the_http_proxy_of_a_client_that_thinks_it_speaks_to_aws(cloud: CloudThread, service: str) -> None:
    call = {"sts": "get_caller_identity", "iam": "list_users", "logs": "describe_log_groups", "sqs": "list_queues"}[service]
    host = {"sts": "sts.us-east-1", "iam": "iam", "logs": "logs.us-east-1", "sqs": "sqs.us-east-1"}[service]
    client = client_of(f"http://{host}.amazonaws.com", service, config=Config(proxies={"http": cloud.endpoint}))
    assert getattr(client, call)()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_bucket_in_the_host_name_is_found_through_a_proxy(cloud: CloudThread) -> None:
    config = Config(proxies={"http": cloud.endpoint}, s3={"addressing_style": "virtual"})
    s3 = client_of("http://s3.us-east-1.amazonaws.com", "s3", config=config)
    s3.create_bucket(Bucket="through-proxy")
    s3.put_object(Bucket="through-proxy", Key="a/b", Body=b"data")
    assert s3.get_object(Bucket="through-proxy", Key="a/b")["Body"].read() == b"data"
    assert cloud.client("s3").list_objects_v2(Bucket="through-proxy")["Contents"][0]["Key"] == "a/b"


# ---- configuration


def test_the_endpoint_and_the_keys_may_come_from_a_profile(cloud: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(f"[profile p]\nregion = eu-west-1\nendpoint_url = {cloud.endpoint}\n")
    (tmp_path / "credentials").write_text("[p]\naws_access_key_id = 111122223333\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    session = boto3.session.Session(profile_name="p")
    assert session.client("sts").get_caller_identity()["Account"] == "111122223333"
    session.client("logs").create_log_group(logGroupName="/there")
    assert session.client("logs").describe_log_groups()["logGroups"][0]["arn"] == "arn:aws:logs:eu-west-1:111122223333:log-group:/there:*"
    assert cloud.client("logs", key=ACCOUNT).describe_log_groups(logGroupNamePrefix="/there")["logGroups"] == []
