"""CloudWatch Logs through real clients."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support import CloudThread, Daemon

STREAM = "web"


@pytest.fixture
def group(cloud: CloudThread, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"/test/{request.node.name}"
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName=name, tags={"test": "yes"})
    logs.create_log_stream(logGroupName=name, logStreamName=STREAM)
    yield name
    logs.delete_log_group(logGroupName=name)


def now() -> int:
    return int(time.time() * 1000)


def put(logs: Any, group: str, *messages: str) -> None:
    start = now() - len(messages)
    events = [{"timestamp": start + i, "message": message} for i, message in enumerate(messages)]
    logs.put_log_events(logGroupName=group, logStreamName=STREAM, logEvents=events)


def test_paginators_see_every_event_once(cloud: CloudThread, group: str) -> None:
    logs = cloud.client("logs")
    put(logs, group, *(f"line {i}" for i in range(250)))
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 60})
    assert [event["message"] for page in pages for event in page["events"]] == [f"line {i}" for i in range(250)]
    found, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        page = logs.get_log_events(logGroupName=group, logStreamName=STREAM, startFromHead=True, limit=60, **more)
        found += page["events"]
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert [event["message"] for event in found] == [f"line {i}" for i in range(250)]
    names = [each["logGroupName"] for page in logs.get_paginator("describe_log_groups").paginate() for each in page["logGroups"]]
    assert group in names


def test_errors_are_those_that_boto3_knows(cloud: CloudThread, group: str) -> None:
    logs = cloud.client("logs")
    with pytest.raises(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="The specified log stream does not exist"):
        logs.get_log_events(logGroupName=group, logStreamName="none")
    with pytest.raises(logs.exceptions.InvalidParameterException, match="Invalid filter pattern"):
        logs.filter_log_events(logGroupName=group, filterPattern="{ $.a")
    with pytest.raises(logs.exceptions.InvalidParameterException):
        logs.create_log_group(logGroupName="no spaces allowed")
    with pytest.raises(logs.exceptions.MalformedQueryException) as caught:
        logs.start_query(logGroupName=group, startTime=0, endTime=1, queryString="fields a | nonsense")
    assert caught.value.response["queryCompileError"]["location"]["startCharOffset"] == 11
    with pytest.raises(ClientError, match="NotImplemented"):
        logs.describe_export_tasks()


def test_a_live_tail_over_an_event_stream(cloud: CloudThread, group: str) -> None:
    logs = cloud.client("logs", config=Config(inject_host_prefix=False))
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    stream = logs.start_live_tail(logGroupIdentifiers=[arn], logEventFilterPattern="ERROR")["responseStream"]
    events = iter(stream)
    assert next(events)["sessionStart"]["logEventFilterPattern"] == "ERROR"
    put(logs, group, "ERROR ünseen before", "INFO not this")
    found: list[Any] = []
    while not found:
        found = next(events)["sessionUpdate"]["sessionResults"]
    assert [each["message"] for each in found] == ["ERROR ünseen before"]
    assert found[0]["logStreamName"] == STREAM
    stream.close()


def aws(cloud: CloudThread, *arguments: str) -> Any:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "000000000000",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": cloud.endpoint,
    }
    command = [sys.executable, "-m", "awscli", "logs", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_command_line_puts_and_filters(cloud: CloudThread, group: str) -> None:
    aws(cloud, "put-log-events", "--log-group-name", group, "--log-stream-name", STREAM, "--log-events", f"timestamp={now()},message=hello")
    found = aws(cloud, "filter-log-events", "--log-group-name", group, "--filter-pattern", "hello")
    assert [event["message"] for event in found["events"]] == ["hello"]


def test_a_query_from_start_to_results(cloud: CloudThread, group: str) -> None:
    logs = cloud.client("logs")
    put(logs, group, *(json.dumps({"ms": i, "path": f"/{i % 2}"}) for i in range(10)))
    query = logs.start_query(
        logGroupName=group,
        startTime=int(time.time()) - 60,
        endTime=int(time.time()) + 1,
        queryString="stats sum(ms) as s by path | sort path",
    )
    deadline = time.monotonic() + 20
    while (answer := logs.get_query_results(queryId=query["queryId"]))["status"] != "Complete":
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    assert [{cell["field"]: cell["value"] for cell in row} for row in answer["results"]] == [
        {"path": "/0", "s": "20"},
        {"path": "/1", "s": "25"},
    ]


def test_metrics_reach_cloudwatch(cloud: CloudThread, group: str) -> None:
    logs = cloud.client("logs")
    transformation = {"metricName": "Slow", "metricNamespace": "Test", "metricValue": "$.ms"}
    logs.put_metric_filter(logGroupName=group, filterName="slow", filterPattern="{ $.ms > 5 }", metricTransformations=[transformation])
    put(logs, group, '{"ms": 4}', '{"ms": 6}', '{"ms": 8}')
    cloud.do(cloud.running.cloud.parts["logs"].metrics.publish)
    (point,) = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="Test",
        MetricName="Slow",
        StartTime=time.time() - 300,
        EndTime=time.time() + 300,
        Period=3600,
        Statistics=["Sum", "SampleCount"],
    )["Datapoints"]
    assert (point["Sum"], point["SampleCount"]) == (14.0, 2.0)


def test_subscriptions_reach_kinesis(cloud: CloudThread, group: str) -> None:
    kinesis, logs = cloud.client("kinesis"), cloud.client("logs")
    kinesis.create_stream(StreamName="ship", ShardCount=1)
    arn = kinesis.describe_stream(StreamName="ship")["StreamDescription"]["StreamARN"]
    role = "arn:aws:iam::000000000000:role/logs"
    logs.put_subscription_filter(logGroupName=group, filterName="f", filterPattern="ERROR", destinationArn=arn, roleArn=role)
    put(logs, group, "ERROR shipped", "INFO kept")
    iterator = kinesis.get_shard_iterator(StreamName="ship", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    deadline = time.monotonic() + 15
    found: list[Any] = []
    while len(found) < 2:
        assert time.monotonic() < deadline, found
        answer = kinesis.get_records(ShardIterator=iterator)
        iterator = answer["NextShardIterator"]
        found += [json.loads(gzip.decompress(record["Data"])) for record in answer["Records"]]
        time.sleep(0.05)
    assert [each["messageType"] for each in found] == ["CONTROL_MESSAGE", "DATA_MESSAGE"]
    assert [event["message"] for event in found[1]["logEvents"]] == ["ERROR shipped"]


def test_kill_9_of_the_daemon_keeps_every_acknowledged_event(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    daemon = Daemon(tmp_path / "data")
    daemon.start()
    try:
        logs = daemon.client("logs")
        logs.create_log_group(logGroupName="g")
        for name in range(4):
            logs.create_log_stream(logGroupName="g", logStreamName=str(name))
        for round_ in range(3):
            stop = threading.Event()

            def write(name: int, round_: int = round_, stop: threading.Event = stop) -> None:
                logs = daemon.client("logs")
                number = 0
                while not stop.is_set():
                    message = f"{round_} {name} {number}"
                    try:
                        logs.put_log_events(logGroupName="g", logStreamName=str(name), logEvents=[{"timestamp": now(), "message": message}])
                    except Exception:
                        return
                    acknowledged.add(message)
                    number += 1

            with ThreadPoolExecutor(4) as pool:
                for name in range(4):
                    pool.submit(write, name)
                time.sleep(0.5)
                daemon.kill()
                stop.set()
            daemon.start()
            pages = daemon.client("logs").get_paginator("filter_log_events").paginate(logGroupName="g")
            found = [event["message"] for page in pages for event in page["events"]]
            assert len(found) == len(set(found))
            assert acknowledged <= set(found)
        assert len(acknowledged) > 50
    finally:
        daemon.kill()
