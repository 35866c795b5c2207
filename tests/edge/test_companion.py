"""Services that are not written here, through boto3, the HTTP server and moto's process."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudstead.edge.companion import CompanionProxy, s3
from cloudstead.edge.companion import process as companion_process
from cloudstead.edge.companion.actions import Actions
from cloudstead.edge.companion.proxy import bucket_of_host
from cloudstead.edge.identify import FORM, Identifier
from cloudstead.edge.protocols.index import ServiceIndex
from cloudstead.edge.sigv4 import Signature
from cloudstead.http.messages import DEFAULT_BODY_LIMIT, Headers, HttpRequest, HttpResponse
from cloudstead.http.server import Server, loop_factory
from cloudstead.kernel.errors import NotImplementedHere, ServiceError, Unavailable

_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")


class FakeCloud:
    """What the proxy needs of a cloud."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.endpoint = "http://127.0.0.1:4566"


class FakeContext:
    account, region = "000000000000", "us-east-1"


class Edge:
    """The HTTP server before a CompanionProxy, in a thread. Accounts are spelled by access keys."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.index = ServiceIndex.load()
        self._loop = loop_factory()()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Edge:
        self._thread.start()
        self.run(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(90)

    async def _begin(self) -> None:
        self.proxy = CompanionProxy(FakeCloud(self.data))  # type: ignore[arg-type]
        self.server = Server(self._handle)
        self.port = await self.server.listen_tcp("127.0.0.1")

    async def _end(self) -> None:
        await self.server.stop(1)
        await self.proxy.close()

    async def _handle(self, request: HttpRequest) -> HttpResponse:
        scope = _SCOPE.search(request.headers.get("authorization") or urllib.request.unquote(request.query).replace("X-Amz-", ""))
        account, region, signing = scope.groups() if scope else ("000000000000", "us-east-1", "s3")
        service = self.index.by_signing_name[signing][0]
        try:
            return await self.proxy.handle(request, service, account, region)
        except Unavailable as error:
            return HttpResponse(503, [], str(error).encode())

    def client(self, service: str, account: str = "000000000000", region: str = "us-east-1", **config: Any) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=account,
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60, **config),
        )

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        return self.run(lambda: self.proxy.call(FakeContext(), service, operation, parameters))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("companion")) as running:
        yield running


def test_s3_objects_of_any_name_and_kind(edge: Edge) -> None:
    s3 = edge.client("s3")
    s3.create_bucket(Bucket="objects")
    for key in ("plain", "a/b c+d", "ünï/✓", "//double", "dots/../up", "q?x=1&y#z"):
        s3.put_object(Bucket="objects", Key=key, Body=key.encode(), Metadata={"note": "x"})
        got = s3.get_object(Bucket="objects", Key=key)
        assert (got["Body"].read(), got["Metadata"]) == (key.encode(), {"note": "x"})
    assert len(s3.list_objects_v2(Bucket="objects")["Contents"]) == 6
    assert s3.head_object(Bucket="objects", Key="plain")["ContentLength"] == 5
    assert s3.get_object(Bucket="objects", Key="plain", Range="bytes=1-2")["Body"].read() == b"la"
    s3.delete_objects(Bucket="objects", Delete={"Objects": [{"Key": "plain"}]})
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket="objects", Key="plain")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="objects", Key="plain")


def test_s3_in_parts_and_long_bodies(edge: Edge, tmp_path: Path) -> None:
    s3 = edge.client("s3")
    s3.create_bucket(Bucket="parts")
    content = os.urandom(5 << 20) + b"end"
    upload = s3.create_multipart_upload(Bucket="parts", Key="k")["UploadId"]
    parts = []
    for number, piece in enumerate((content[: 5 << 20], content[5 << 20 :]), 1):
        etag = s3.upload_part(Bucket="parts", Key="k", UploadId=upload, PartNumber=number, Body=piece)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(Bucket="parts", Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="parts", Key="k")["Body"].read() == content
    (tmp_path / "file").write_bytes(content)
    s3.upload_file(str(tmp_path / "file"), "parts", "file", ExtraArgs={"ChecksumAlgorithm": "SHA256"})
    s3.download_file("parts", "file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


def test_s3_bodies_of_unknown_length_are_taken(edge: Edge) -> None:
    edge.client("s3").create_bucket(Bucket="chunked")
    connection = http.client.HTTPConnection("127.0.0.1", edge.port)
    scope = "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    pieces = (bytes([number]) * 100_000 for number in range(20))
    connection.request("PUT", "/chunked/k", pieces, {"Authorization": scope}, encode_chunked=True)
    assert connection.getresponse().read() == b""
    stored = edge.client("s3").get_object(Bucket="chunked", Key="k")["Body"].read()
    assert stored == b"".join(bytes([number]) * 100_000 for number in range(20))


class CheckedBody:
    """A body that something stands before, as the check of a signature does."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.trailers: list[tuple[str, str]] = []

    async def next(self) -> bytes:
        self.pieces -= 1
        return bytes(1 << 20) if self.pieces >= 0 else b""

    def keep(self, size: int) -> None:
        raise AssertionError("it is not to be held")


def test_s3_bodies_too_long_to_hold_pass_through(edge: Edge) -> None:
    edge.client("s3").create_bucket(Bucket="long-ones")
    size = DEFAULT_BODY_LIMIT + (1 << 20)
    request = HttpRequest("PUT", "/long-ones/k", Headers([("Host", "localhost")]), CheckedBody(size >> 20), content_length=size)
    answer = edge.run(lambda: edge.proxy.handle(request, "s3", "000000000000", "us-east-1"))
    assert answer.status == 200
    assert edge.client("s3").head_object(Bucket="long-ones", Key="k")["ContentLength"] == size


def test_s3_presigned_urls_need_no_more_than_the_url(edge: Edge) -> None:
    s3 = edge.client("s3", account="222222222222", signature_version="s3v4")
    s3.create_bucket(Bucket="presigned")
    put = s3.generate_presigned_url("put_object", Params={"Bucket": "presigned", "Key": "k y"})
    # urllib says that the data is a form, as curl does; it is an object all the same.
    with urllib.request.urlopen(urllib.request.Request(put, data=b"by url", method="PUT")) as answer:
        assert answer.status == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "k y"})
    with urllib.request.urlopen(get) as answer:
        assert answer.read() == b"by url"


def test_s3_buckets_may_stand_in_the_host_name(edge: Edge) -> None:
    edge.client("s3").create_bucket(Bucket="in.the-host")
    edge.client("s3").put_object(Bucket="in.the-host", Key="a/k", Body=b"x")
    for host in ("in.the-host.s3.localhost:4566", "in.the-host.s3.eu-west-1.amazonaws.com", "in.the-host.localhost"):
        scope = "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        request = urllib.request.Request(f"http://127.0.0.1:{edge.port}/a/k", headers={"Host": host, "Authorization": scope})
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == b"x"


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("b-1.s3.amazonaws.com", "b-1"),
        ("b.x.s3.us-west-2.amazonaws.com", "b.x"),
        ("bkt.s3-us-west-2.amazonaws.com", "bkt"),
        ("bkt.s3.dualstack.us-east-1.amazonaws.com", "bkt"),
        ("bkt.s3.localhost.localstack.cloud:4566", "bkt"),
        ("bkt.localhost:4566", "bkt"),
        ("localhost:4566", ""),
        ("127.0.0.1:4566", ""),
        ("s3.amazonaws.com", ""),
        ("s3.eu-west-1.amazonaws.com", ""),
        ("machine.example.com", ""),
        ("", ""),
    ],
)
def test_a_host_name_names_a_bucket_or_none(host: str, bucket: str) -> None:
    assert bucket_of_host(host) == bucket


def test_ssm_and_secretsmanager(edge: Edge) -> None:
    ssm = edge.client("ssm")
    ssm.put_parameter(Name="/app/key", Value="välue", Type="SecureString")
    assert ssm.get_parameter(Name="/app/key", WithDecryption=True)["Parameter"]["Value"] == "välue"
    secrets = edge.client("secretsmanager")
    arn = secrets.create_secret(Name="s", SecretBinary=b"\x00\xff")["ARN"]
    assert arn.startswith("arn:aws:secretsmanager:us-east-1:000000000000:secret:s-")
    assert secrets.get_secret_value(SecretId="s")["SecretBinary"] == b"\x00\xff"


def test_sqs_and_sns_together(edge: Edge) -> None:
    sqs, sns = edge.client("sqs"), edge.client("sns")
    queue = sqs.create_queue(QueueName="q")["QueueUrl"]
    assert queue == f"http://127.0.0.1:{edge.port}/000000000000/q"
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    sns.publish(TopicArn=topic, Message="hello")
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"


def test_dynamodb(edge: Edge) -> None:
    dynamodb = edge.client("dynamodb")
    dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="t", Item={"k": {"S": "1"}, "v": {"N": "2"}})
    assert dynamodb.get_item(TableName="t", Key={"k": {"S": "1"}})["Item"]["v"] == {"N": "2"}
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        dynamodb.get_item(TableName="none", Key={"k": {"S": "1"}})


def test_kms(edge: Edge) -> None:
    kms = edge.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"


def test_route53(edge: Edge) -> None:
    route53 = edge.client("route53")
    zone = route53.create_hosted_zone(Name="example.org.", CallerReference="1")["HostedZone"]["Id"]
    assert route53.get_hosted_zone(Id=zone)["HostedZone"]["Name"] == "example.org."


def test_cloudformation_makes_what_the_companion_holds(edge: Edge) -> None:
    cloudformation = edge.client("cloudformation")
    template = '{"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "from-stack"}}}}'
    cloudformation.create_stack(StackName="s", TemplateBody=template)
    assert cloudformation.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    assert edge.client("sqs").get_queue_url(QueueName="from-stack")


def test_accounts_and_regions_are_apart(edge: Edge) -> None:
    edge.client("ssm", "111111111111").put_parameter(Name="x", Value="one", Type="String")
    edge.client("ssm", "222222222222").put_parameter(Name="x", Value="two", Type="String")
    assert edge.client("ssm", "111111111111").get_parameter(Name="x")["Parameter"]["Value"] == "one"
    assert ":111111111111:" in edge.client("ssm", "111111111111").get_parameter(Name="x")["Parameter"]["ARN"]
    for account, region in (("333333333333", "us-east-1"), ("111111111111", "eu-west-1")):
        with pytest.raises(ClientError, match="ParameterNotFound"):
            edge.client("ssm", account, region).get_parameter(Name="x")
    edge.client("s3", "111111111111").create_bucket(Bucket="of-one")
    with pytest.raises(ClientError, match="AccessDenied"):
        edge.client("s3", "222222222222").list_objects_v2(Bucket="of-one")


def test_no_client_can_name_another_account_or_reach_the_inner_calls(edge: Edge) -> None:
    edge.client("ssm", "111111111111").put_parameter(Name="mine", Value="1", Type="String")
    thief = edge.client("ssm", "444444444444")

    def forge(request: Any, **_: Any) -> None:
        for name in ("x-moto-account-id", "X_Moto_Account_Id", "X-Cloudstead_Companion"):
            request.headers[name] = "call" if "ompanion" in name else "111111111111"

    thief.meta.events.register("before-send", forge)
    with pytest.raises(ClientError, match="ParameterNotFound"):
        thief.get_parameter(Name="mine")
    for path in ("/moto-api/reset", "/moto-api/data.json", "/latest/meta-data/iam"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{edge.port}{path}")


def test_headers_by_which_the_companion_is_told_things_do_not_come_from_clients(tmp_path: Path) -> None:
    """Whatever their case, and with underscores too, which WSGI does not tell from hyphens."""
    sent: list[tuple[str, str]] = []

    async def forward(request: HttpRequest, *, target: str, headers: list[tuple[str, str]]) -> HttpResponse:
        sent.extend(headers)
        return HttpResponse()

    async def nothing() -> None: ...

    proxy = CompanionProxy(FakeCloud(tmp_path))  # type: ignore[arg-type]
    proxy._upstream.forward, proxy.process.ensure = forward, nothing  # type: ignore[assignment, method-assign]
    forged = [
        "X-Moto-Account-Id",
        "x_moto_account_id",
        "X-CLOUDSTEAD-Companion",
        "x-cloudstead_operation",
        "X_Cloudstead_Region",
        "Authorization",
    ]
    request = HttpRequest.of("POST", "/", [("Host", "x"), ("X-Kept", "1"), *((name, "forged") for name in forged)])
    asyncio.run(proxy.handle(request, "ssm", "111111111111", "eu-west-1", "GetParameter"))
    assert "forged" not in [value for _, value in sent]
    told = {name.lower(): value for name, value in sent}
    assert len(told) == len(sent)
    assert told["x-kept"] == "1"
    assert told["x-moto-account-id"] == "111111111111"
    assert (told["x-cloudstead-companion"], told["x-cloudstead-operation"], told["x-cloudstead-region"]) == (
        "proxy",
        "GetParameter",
        "eu-west-1",
    )
    assert "/eu-west-1/ssm/aws4_request" in told["authorization"]


def test_what_moto_lacks_is_501_and_names_the_operation(edge: Edge) -> None:
    with pytest.raises(ClientError, match="CreateActivation is not available") as caught:
        edge.client("ssm").create_activation(IamRole="x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    with pytest.raises(ClientError) as caught:
        edge.client("braket").search_jobs(filters=[])
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_without_moto_its_services_are_501_and_say_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudstead.edge.companion.proxy.find_spec", lambda name: None)
    proxy = CompanionProxy(FakeCloud(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(NotImplementedHere, match="pip install"):
        asyncio.run(proxy.handle(HttpRequest.of("GET", "/", [("Host", "x")]), "s3", "", "us-east-1"))
    assert list(tmp_path.iterdir()) == []


def test_answers_say_that_they_are_simulated(edge: Edge) -> None:
    headers = edge.client("ssm").describe_parameters()["ResponseMetadata"]["HTTPHeaders"]
    assert "moto" in headers["x-cloudstead-answered-by"]
    assert "werkzeug" not in headers.get("server", "").lower()


def test_inner_calls_see_what_clients_made(edge: Edge) -> None:
    edge.client("s3").create_bucket(Bucket="inner")
    edge.client("s3").put_object(Bucket="inner", Key="k", Body=b"\x00\x01")
    got = edge.call("s3", "GetObject", Bucket="inner", Key="k")
    assert got["Body"] == b"\x00\x01"
    assert got["LastModified"] == pytest.approx(time.time(), abs=60)
    queue = edge.call("sqs", "CreateQueue", QueueName="by-a-service")["QueueUrl"]
    assert queue == "http://127.0.0.1:4566/000000000000/by-a-service"
    with pytest.raises(ServiceError) as caught:
        edge.call("ssm", "GetParameter", Name="missing")
    assert (caught.value.code, caught.value.status) == ("ParameterNotFound", 400)
    for operation in ("Teleport", "CreateActivation"):
        with pytest.raises(ServiceError) as caught:
            edge.call("ssm", operation, **({"IamRole": "x"} if operation == "CreateActivation" else {}))
        assert (caught.value.code, caught.value.status) == (NotImplementedHere.code, 501)


def test_a_killed_companion_comes_back_empty(tmp_path: Path) -> None:
    with Edge(tmp_path) as edge:
        ssm = edge.client("ssm")
        ssm.put_parameter(Name="x", Value="1", Type="String")
        first = edge.proxy.process.pid
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while edge.proxy.process.pid == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ssm.describe_parameters()["Parameters"] == []
        assert edge.proxy.process.pid not in (None, first)


def test_a_call_that_was_under_way_when_it_died_is_unavailable(tmp_path: Path) -> None:
    with Edge(tmp_path) as edge, ThreadPoolExecutor() as pool:
        sqs = edge.client("sqs")
        queue = sqs.create_queue(QueueName="q")["QueueUrl"]
        waiting = pool.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
        time.sleep(1)
        os.kill(edge.proxy.process.pid, signal.SIGKILL)
        with pytest.raises(ClientError) as caught:
            waiting.result(20)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_first_calls_at_once_start_it_once(tmp_path: Path) -> None:
    with Edge(tmp_path) as edge, ThreadPoolExecutor(8) as pool:
        starts = []
        spawn = edge.proxy.process._spawn

        async def counted() -> asyncio.subprocess.Process:
            starts.append(1)
            return await spawn()

        edge.proxy.process._spawn = counted  # type: ignore[method-assign]
        assert list(tmp_path.iterdir()) == []
        answers = list(pool.map(lambda _: edge.client("sqs").list_queues()["ResponseMetadata"]["HTTPStatusCode"], range(8)))
        assert answers == [200] * 8
        assert len(starts) == 1


@pytest.mark.parametrize("folder", ["data", "long" * 30])
def test_it_dies_with_the_daemon_however_that_ends_and_leaves_nothing(tmp_path: Path, folder: str) -> None:
    data = tmp_path / folder
    data.mkdir()
    (data / "cloudstead.toml").touch()
    code = (
        "import asyncio, pathlib, sys\n"
        "from cloudstead.edge.companion.process import CompanionProcess\n"
        "async def main():\n"
        "    process = CompanionProcess(pathlib.Path(sys.argv[1]), None)\n"
        "    await process.ensure()\n"
        "    print(process.pid, process.socket, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        told, _, socket = daemon.stdout.readline().strip().partition(" ")
        pid, path = int(told), Path(socket)
        assert path.is_socket()
        daemon.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _lives(pid):
        time.sleep(0.05)
    assert not _lives(pid)
    assert not path.exists()
    assert path.parent == data or not path.parent.exists()
    assert [entry.name for entry in data.iterdir()] == ["cloudstead.toml"]


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def _fails(command: str, tmp_path: Path) -> companion_process.CompanionProcess:
    process = companion_process.CompanionProcess(tmp_path, lambda: asyncio.sleep(0), ("-c", command))
    with pytest.raises(Unavailable):
        await process.ensure()
    return process


def test_one_that_cannot_start_is_refused_and_not_tried_without_pause(tmp_path: Path) -> None:
    async def story() -> None:
        process = await _fails("print('no')", tmp_path)
        for _ in range(6):
            process._deaths += 1
        process._not_before = time.monotonic() + 20
        began = time.monotonic()
        with pytest.raises(Unavailable, match="started again in"):
            await process.ensure()
        assert time.monotonic() - began < 1
        await process.stop()

    asyncio.run(story())


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion_process, "HEALTH_EVERY", 0.05)
    monkeypatch.setattr(companion_process, "HEALTH_WITHIN", 0.05)

    async def story() -> None:
        process = companion_process.CompanionProcess(tmp_path, lambda: asyncio.sleep(9), ("-c", "print('ready', flush=True); input()"))
        await process.ensure()
        pid = process.pid
        for _ in range(200):
            if process.pid is None:
                break
            await asyncio.sleep(0.02)
        assert pid is not None
        assert process.pid is None
        await process.stop()

    asyncio.run(story())


def test_a_long_data_path_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    process = companion_process.CompanionProcess(folder, lambda: asyncio.sleep(0), ("-c", "print('ready', flush=True); input()"))

    async def story() -> None:
        await process.ensure()
        path = process.socket
        assert len(os.fsencode(path)) <= companion_process.LONGEST_PATH
        assert path.parent.stat().st_mode & 0o777 == 0o700
        await process.stop()
        assert not path.parent.exists()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "target", "action"),
    [
        ("GET", "/", "ListAllMyBuckets"),
        ("PUT", "/b", "CreateBucket"),
        ("GET", "/b?list-type=2&prefix=x", "ListBucket"),
        ("GET", "/b?versions", "ListBucketVersions"),
        ("GET", "/b?policy", "GetBucketPolicy"),
        ("DELETE", "/b?policy", "DeleteBucketPolicy"),
        ("DELETE", "/b?tagging", "PutBucketTagging"),
        ("PUT", "/b?lifecycle", "PutLifecycleConfiguration"),
        ("POST", "/b?delete", "DeleteObject"),
        ("GET", "/b/k", "GetObject"),
        ("HEAD", "/b/k", "GetObject"),
        ("GET", "/b/k?versionId=1", "GetObjectVersion"),
        ("GET", "/b/k?tagging&versionId=1", "GetObjectVersionTagging"),
        ("PUT", "/b/k?partNumber=1&uploadId=2", "PutObject"),
        ("DELETE", "/b/k?uploadId=2", "AbortMultipartUpload"),
        ("DELETE", "/b/k", "DeleteObject"),
        ("PATCH", "/b/k", "*"),
        ("GET", "/b?acl&policy", "*"),
        ("POST", "/b/k?select&restore", "*"),
    ],
)
def test_actions_of_s3_are_those_of_its_permissions(method: str, target: str, action: str) -> None:
    path, _, query = target.partition("?")
    assert s3.s3_action(method, path, query) == action


@pytest.mark.parametrize(
    ("service", "request_", "action"),
    [
        ("ssm", HttpRequest.of("POST", "/", [("X-Amz-Target", "AmazonSSM.GetParameter")]), "ssm:GetParameter"),
        ("sns", HttpRequest.of("POST", "/", [("Content-Type", FORM)], b"Action=Publish&Version=1"), "sns:Publish"),
        ("sns", HttpRequest.of("GET", "/?Version=1&Action=Publish"), "sns:Publish"),
        ("sns", HttpRequest.of("POST", "/", [("X-Amz-Target", "SNS.ListTopics"), ("Content-Type", FORM)], b"Action=Publish&Version=1"), "sns:Publish"),
        ("sns", HttpRequest.of("POST", "/", [], b"Action=Publish&Version=1"), "sns:*"),
        ("route53", HttpRequest.of("GET", "/2013-04-01/hostedzone/Z1"), "route53:GetHostedZone"),
        ("route53", HttpRequest.of("GET", "/2013-04-01/hostedzone/Z1?Action=x", [("X-Amz-Target", "Route53.x")]), "route53:GetHostedZone"),
        ("efs", HttpRequest.of("GET", "/2015-02-01/file-systems"), "elasticfilesystem:DescribeFileSystems"),
        ("route53", HttpRequest.of("GET", "/nowhere"), "route53:*"),
        ("apigateway", HttpRequest.of("PATCH", "/restapis/x"), "apigateway:PATCH"),
        ("cloudwatch", HttpRequest.of("POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", [("Smithy-Protocol", "rpc-v2-cbor")]), "cloudwatch:PutMetricData"),
        ("elbv2", HttpRequest.of("POST", "/", [("Content-Type", FORM)], b"Action=DescribeLoadBalancers"), "elasticloadbalancing:DescribeLoadBalancers"),
        ("s3", HttpRequest.of("GET", "/v20180820/accesspoint"), "s3:*"),
    ],
)  # fmt: skip
def test_actions_of_other_services_come_from_what_the_request_shows(service: str, request_: HttpRequest, action: str) -> None:
    index = ServiceIndex.load()
    signed = Signature(
        access_key_id="k", date="20260101", region="us-east-1", service=index.signing_name(service), signed_headers="", signature="",
        timestamp="", signed_at=0,
    )  # fmt: skip
    target = asyncio.run(Identifier(index).identify(request_, signed))
    assert [need.action for need in Actions(index.signing_name).needs(request_, service, request_.path, target.operation)] == [action]


async def _whole(request: HttpRequest) -> HttpRequest:
    await request.read()
    return request


@pytest.mark.parametrize(
    ("request_", "needed"),
    [
        (HttpRequest.of("GET", "/"), [("ListAllMyBuckets", "*")]),
        (HttpRequest.of("GET", "/b/a%20key//x+y"), [("GetObject", "arn:aws:s3:::b/a key//x+y")]),
        (HttpRequest.of("DELETE", "/b"), [("DeleteBucket", "arn:aws:s3:::b")]),
        (HttpRequest.of("DELETE", "/b%2Fk"), [("DeleteObject", "arn:aws:s3:::b/k")]),
        (HttpRequest.of("GET", "//b/k"), [("*", "")]),
        (
            HttpRequest.of("PUT", "/to/k", [("x-amz-copy-source", "/from/a%2Bb")]),
            [("PutObject", "arn:aws:s3:::to/k"), ("GetObject", "arn:aws:s3:::from/a+b")],
        ),
        (
            HttpRequest.of("PUT", "/to/k", [("x-amz-copy-source", "from/k?versionId=1")]),
            [("PutObject", "arn:aws:s3:::to/k"), ("GetObjectVersion", "arn:aws:s3:::from/k")],
        ),
        (
            HttpRequest.of("POST", "/b?delete", [], b"<Delete><Object><Key>x</Key></Object><Object><Key>y/z</Key></Object></Delete>"),
            [("DeleteObject", "arn:aws:s3:::b/x"), ("DeleteObject", "arn:aws:s3:::b/y/z")],
        ),
        (HttpRequest.of("POST", "/b?delete", [], b"<Delete>"), [("DeleteObject", "")]),
    ],
)
def test_s3_is_judged_on_the_buckets_and_objects_that_it_touches(request_: HttpRequest, needed: list[tuple[str, str]]) -> None:
    found = s3.needs(asyncio.run(_whole(request_)), request_.path)
    assert [(need.action.removeprefix("s3:"), need.resource) for need in found] == needed


def test_a_listing_is_judged_by_its_prefix() -> None:
    (need,) = s3.needs(HttpRequest.of("GET", "/b?list-type=2&prefix=home%2Fada"), "/b")
    assert need.conditions == {"s3:prefix": "home/ada"}


def test_the_object_that_a_form_names_is_judged() -> None:
    (need,) = s3.needs(HttpRequest.of("POST", "/b"), "/b", "up/k")
    assert (need.action, need.resource) == ("s3:PutObject", "arn:aws:s3:::b/up/k")


def test_a_slash_that_is_encoded_does_not_make_another_route_of_the_same_request() -> None:
    actions = Actions(ServiceIndex.load().signing_name)
    for path, action in (
        ("/2013-04-01/hostedzone/Z1/dnssec", "route53:GetDNSSEC"),
        ("/2013-04-01/hostedzone/Z1%2Fdnssec", "route53:*"),
        ("/2013-04-01/hostedzone/Z%20%251", "route53:GetHostedZone"),
    ):
        assert actions.needs(HttpRequest.of("GET", path), "route53", path)[0].action == action


def test_the_daemon_never_imports_moto_or_botocore() -> None:
    code = "import sys, cloudstead.daemon; print([name for name in ('moto', 'botocore', 'boto3', 'flask') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
