"""Subscription filters, metric filters and Live Tail, called without HTTP."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from logs_bench import ARN, FUNCTION, GROUP, KINESIS, ROLE, STREAM, Bench, bench, messages, subscribe

from cloudstead.services.logs import api

# Subscription filters.


def unpacked(call: Mapping[str, Any]) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(json.loads(call["Payload"])["awslogs"]["data"])))


def shipped(b: Bench) -> list[Mapping[str, Any]]:
    return [call for call in b.companion.of("Invoke") if call["InvocationType"] == "Event"]


async def test_matching_events_are_carried_to_a_function(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "ERROR before the filter"))
        await subscribe(b, pattern="ERROR")
        assert [call["InvocationType"] for call in b.companion.of("Invoke")] == ["DryRun"]
        await b.put((b.now, "ERROR one"), (b.now, "INFO two"))
        await b.put((b.now, "ERROR three"))
        await b.until(lambda: shipped(b))
        (call,) = shipped(b)
        assert call["FunctionName"] == FUNCTION
        message = unpacked(call)
        assert {key: message[key] for key in message if key != "logEvents"} == {
            "messageType": "DATA_MESSAGE",
            "owner": "000000000000",
            "logGroup": GROUP,
            "logStream": STREAM,
            "subscriptionFilters": ["f"],
        }
        assert [event["message"] for event in message["logEvents"]] == ["ERROR one", "ERROR three"]
        found = await b.filter(filter_pattern='"ERROR one"')
        assert message["logEvents"][0]["id"] == (found.events or [])[0].event_id


async def test_a_destination_that_is_away_gets_the_events_when_it_is_back_also_after_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await subscribe(b)
        b.companion.fail = True
        await b.put((b.now, "patient"))
        await b.until(lambda: shipped(b))
        b.companion.fail = False
        b.companion.calls.clear()
        await b.until(lambda: shipped(b))
        assert [event["message"] for event in unpacked(shipped(b)[0])["logEvents"]] == ["patient"]
        b.companion.fail = True
        await b.put((b.now, "over the restart"))
        b.logs.archive.rotate()
        await b.until(lambda: list((tmp_path / "logs" / "groups").glob("*/*.segment")))
    async with bench(tmp_path, bare=True) as b:
        await b.until(lambda: shipped(b))
        assert [event["message"] for call in shipped(b) for event in unpacked(call)["logEvents"]] == ["over the restart"]


async def test_a_filter_that_never_delivered_misses_nothing_over_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "before the filter"))
        await subscribe(b)
        b.companion.fail = True
        await b.put((b.now, "first"))
        await b.until(lambda: shipped(b))
    async with bench(tmp_path, bare=True) as b:
        await b.until(lambda: shipped(b))
        assert [event["message"] for call in shipped(b) for event in unpacked(call)["logEvents"]] == ["first"]


async def test_a_filter_that_was_put_while_lost_events_were_on_their_way_misses_no_later_ones(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "lost 1"), (b.now, "lost 2"))
        await subscribe(b)
        (journal,) = (b.cloud.data / "logs" / "journal").iterdir()
    os.truncate(journal, 0)  # as if the machine had stopped before they were written
    async with bench(tmp_path, bare=True) as b:
        await b.put((b.now, "after 1"))
        await b.put((b.now, "after 2"))
        await b.until(lambda: len([event for call in shipped(b) for event in unpacked(call)["logEvents"]]) == 2)
        assert [event["message"] for call in shipped(b) for event in unpacked(call)["logEvents"]] == ["after 1", "after 2"]


async def test_a_group_made_again_has_nothing_of_the_filters_of_the_old_one(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await subscribe(b)
        await b.call(api.DeleteLogGroupRequest(log_group_name=GROUP))
        await b.call(api.CreateLogGroupRequest(log_group_name=GROUP))
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
        await b.put((b.now, "before the filter"))
        await subscribe(b)
        await b.put((b.now, "after"))
        await b.until(lambda: shipped(b))
        assert [event["message"] for call in shipped(b) for event in unpacked(call)["logEvents"]] == ["after"]


async def test_filters_put_at_the_same_time_share_the_room_that_is_left(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        answers = await asyncio.gather(*[subscribe(b, name) for name in ("one", "two", "three")], return_exceptions=True)
        assert [type(answer) for answer in answers].count(api.LimitExceededException) == 1
        assert len((await b.call(api.DescribeSubscriptionFiltersRequest(log_group_name=GROUP))).subscription_filters) == 2


async def test_a_policy_put_while_its_destination_is_tried_out_again_stays(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        put = api.PutDestinationRequest(destination_name="d", target_arn=KINESIS, role_arn=ROLE)
        arn = (await b.call(put)).destination.arn
        statement = {"Effect": "Allow", "Principal": "*", "Action": "logs:PutSubscriptionFilter", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        await asyncio.gather(b.call(put), b.call(api.PutDestinationPolicyRequest(destination_name="d", access_policy=policy)))
        assert (await b.call(api.DescribeDestinationsRequest())).destinations[0].access_policy == policy


async def test_a_stream_of_kinesis_gets_a_control_message_and_compressed_records(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with pytest.raises(api.InvalidParameterException, match="roleArn"):
            await subscribe(b, destination=KINESIS)
        await subscribe(b, destination=KINESIS, role_arn=ROLE, pattern="[level, rest]")
        await b.put((b.now, "WARN low disk"))
        await b.until(lambda: len(b.companion.of("PutRecord")) == 2)
        control, data = [(each["StreamName"], json.loads(gzip.decompress(each["Data"]))) for each in b.companion.of("PutRecord")]
        assert control[0] == data[0] == "ship"
        assert control[1]["messageType"] == "CONTROL_MESSAGE"
        assert data[1]["logEvents"][0]["extractedFields"] == {"level": "WARN", "rest": "low disk"}


async def test_a_group_has_two_subscription_filters_at_most_and_only_to_what_answers(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.companion.fail = True
        with pytest.raises(api.InvalidParameterException, match="Could not execute the lambda function"):
            await subscribe(b)
        b.companion.fail = False
        with pytest.raises(api.InvalidParameterException, match="Invalid filter pattern"):
            await subscribe(b, pattern="{")
        with pytest.raises(api.InvalidParameterException):
            await subscribe(b, destination="arn:aws:sqs:us-east-1:000000000000:queue")
        await subscribe(b, "one")
        await subscribe(b, "two")
        await subscribe(b, "two", pattern="x")
        with pytest.raises(api.LimitExceededException, match="Resource limit exceeded"):
            await subscribe(b, "three")
        found = (await b.call(api.DescribeSubscriptionFiltersRequest(log_group_name=GROUP))).subscription_filters
        assert [(each.filter_name, each.filter_pattern, each.distribution) for each in found] == [
            ("one", "", "ByLogStream"),
            ("two", "x", "ByLogStream"),
        ]
        await b.call(api.DeleteSubscriptionFilterRequest(log_group_name=GROUP, filter_name="one"))
        with pytest.raises(api.ResourceNotFoundException, match="The specified subscription filter does not exist"):
            await b.call(api.DeleteSubscriptionFilterRequest(log_group_name=GROUP, filter_name="one"))


# Metric filters.


def metric_filter(name: str, pattern: str, value: str = "1", **more: Any) -> api.PutMetricFilterRequest:
    made = api.MetricTransformation(metric_name="Latency", metric_namespace="App", metric_value=value, **more)
    return api.PutMetricFilterRequest(log_group_name=GROUP, filter_name=name, filter_pattern=pattern, metric_transformations=[made])


async def test_matching_events_become_values_of_a_metric(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.call(metric_filter("m", "{ $.latency = * }", "$.latency", dimensions={"Path": "$.path"}, unit="Milliseconds"))
        (described,) = (await b.call(api.DescribeMetricFiltersRequest(metric_name="Latency", metric_namespace="App"))).metric_filters
        assert described.metric_transformations[0].dimensions == {"Path": "$.path"}
        assert (await b.call(api.DescribeLogGroupsRequest())).log_groups[0].metric_filter_count == 1
        minute = b.now - b.now % 60_000
        await b.put(
            (minute, '{"latency": 12.5, "path": "/a"}'),
            (minute, '{"latency": 12.5, "path": "/a"}'),
            (minute, '{"latency": 7, "path": "/a"}'),
            (minute, '{"latency": "slow", "path": "/a"}'),
            (minute, '{"path": "/a"}'),
        )
        await b.logs.metrics.publish()
        (call,) = b.companion.of("PutMetricData")
        assert call["Namespace"] == "App"
        (datum,) = call["MetricData"]
        assert datum["Dimensions"] == [{"Name": "Path", "Value": "/a"}]
        assert dict(zip(datum["Values"], datum["Counts"], strict=True)) == {12.5: 2, 7.0: 1}
        assert (datum["MetricName"], datum["Unit"], datum["Timestamp"]) == ("Latency", "Milliseconds", minute / 1000)


async def test_a_default_value_is_published_for_a_minute_without_a_match(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.call(metric_filter("m", "ERROR", default_value=0.0))
        await b.put((b.now, "fine"), (b.now, "fine too"))
        await b.logs.metrics.publish()
        assert b.companion.of("PutMetricData") == []
        b.clock.shift = 130.0
        await b.logs.metrics.publish()
        (call,) = b.companion.of("PutMetricData")
        assert (call["MetricData"][0]["Values"], call["MetricData"][0]["Counts"]) == ([0.0], [1.0])


async def test_metric_filters_that_cannot_be_are_refused(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for request in (
            metric_filter("m", "{", "1"),
            metric_filter("m", "", "many"),
            metric_filter("m", "", "$"),
            metric_filter("m", "", default_value=1.0, dimensions={"a": "$.b"}),
            metric_filter("m", "", dimensions={"a": "constant"}),
        ):
            with pytest.raises(api.InvalidParameterException):
                await b.call(request)
        for i in range(5):
            await b.call(metric_filter(f"m{i}", "%a%"))
        with pytest.raises(api.LimitExceededException):
            await b.call(metric_filter("m6", "%a%"))
        await b.call(api.DeleteMetricFilterRequest(log_group_name=GROUP, filter_name="m0"))
        with pytest.raises(api.ResourceNotFoundException, match="The specified metric filter does not exist"):
            await b.call(api.DeleteMetricFilterRequest(log_group_name=GROUP, filter_name="m0"))


async def test_a_pattern_can_be_tried_out(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        answer = await b.call(
            api.TestMetricFilterRequest(filter_pattern="[ip, ..., status=4*]", log_event_messages=["1.1.1.1 x 200", "2.2.2.2 y 404"])
        )
        (match,) = answer.matches
        assert (match.event_number, match.event_message) == (2, "2.2.2.2 y 404")
        assert match.extracted_values == {"$ip": "2.2.2.2", "$2": "y", "$status": "404"}


# Live Tail.


async def test_live_tail_shows_what_comes_and_nothing_else(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name="other"))
        await b.put((b.now, "ERROR before"))
        request = api.StartLiveTailRequest(log_group_identifiers=[ARN], log_stream_names=[STREAM], log_event_filter_pattern="ERROR")
        events = (await b.call(request)).response_stream
        assert events is not None
        start = (await anext(events)).session_start
        assert (start.log_group_identifiers, start.log_stream_names, start.log_event_filter_pattern) == ([ARN], [STREAM], "ERROR")
        await b.put((b.now, "ERROR seen"), (b.now, "INFO unseen"))
        await b.put((b.now, "ERROR elsewhere"), stream="other")
        update = (await anext(events)).session_update
        assert messages(update.session_results) == ["ERROR seen"]
        assert update.session_metadata.sampled is False
        assert (await anext(events)).session_update.session_results == []
        await b.put(*[(b.now, f"ERROR {i}") for i in range(600)])
        update = (await anext(events)).session_update
        assert (len(update.session_results), update.session_metadata.sampled) == (500, True)
        assert len(b.logs.live) == 1
        await events.aclose()
        assert not b.logs.live


async def test_live_tail_ends_after_three_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudstead.services.logs.live_tail.LONGEST_SECONDS", 0.0)
    async with bench(tmp_path) as b:
        events = (await b.call(api.StartLiveTailRequest(log_group_identifiers=[ARN]))).response_stream
        await anext(events)
        with pytest.raises(api.SessionTimeoutException):
            await anext(events)


async def test_live_tail_needs_arns(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.StartLiveTailRequest(log_group_identifiers=[GROUP]))
        with pytest.raises(api.ResourceNotFoundException):
            await b.call(api.StartLiveTailRequest(log_group_identifiers=[f"{ARN}-not"]))
