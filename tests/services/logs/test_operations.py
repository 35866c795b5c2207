"""Groups, streams, events, policies, destinations and tags, called without HTTP."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from logs_bench import ARN, DAY, FUNCTION, GROUP, KINESIS, ROLE, STREAM, bench, messages, subscribe

from cloudstead.services.logs import api
from support import context_in

# Groups.


async def test_a_group_is_described_as_aws_does(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "12345"))
        (group,) = (await b.call(api.DescribeLogGroupsRequest())).log_groups
        assert group.log_group_name == GROUP
        assert group.arn == f"{ARN}:*"
        assert group.log_group_arn == ARN
        assert group.stored_bytes == 5
        assert group.metric_filter_count == 0
        assert group.log_group_class == "STANDARD"
        assert group.retention_in_days is None
        with pytest.raises(api.ResourceAlreadyExistsException, match="The specified log group already exists"):
            await b.call(api.CreateLogGroupRequest(log_group_name=GROUP))


async def test_groups_are_found_by_prefix_pattern_class_and_identifier_page_by_page(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        for name in ("/ecs/a", "/ecs/b", "/lambda/a", "/lambda/A", "zoo"):
            await b.call(api.CreateLogGroupRequest(log_group_name=name, log_group_class="INFREQUENT_ACCESS" if name == "zoo" else None))

        async def names(**how: Any) -> list[str]:
            return [each.log_group_name for each in (await b.call(api.DescribeLogGroupsRequest(**how))).log_groups]

        assert await names() == ["/ecs/a", "/ecs/b", "/lambda/A", "/lambda/a", "zoo"]
        assert await names(log_group_name_prefix="/ecs/") == ["/ecs/a", "/ecs/b"]
        assert await names(log_group_name_pattern="a/a") == ["/lambda/a"]
        assert await names(log_group_class="INFREQUENT_ACCESS") == ["zoo"]
        assert await names(log_group_identifiers=["zoo", ARN.replace(GROUP, "/ecs/b")]) == ["/ecs/b", "zoo"]
        first = await b.call(api.DescribeLogGroupsRequest(limit=2))
        second = await b.call(api.DescribeLogGroupsRequest(limit=9, next_token=first.next_token))
        assert [len(first.log_groups), len(second.log_groups), second.next_token] == [2, 3, None]
        with pytest.raises(api.InvalidParameterException):
            await names(next_token="forged")
        with pytest.raises(api.InvalidParameterException, match="mutually exclusive"):
            await names(log_group_name_prefix="a", log_group_name_pattern="b")
        other = context_in(b.cloud, region="eu-west-1")
        assert (await other.call(api.DescribeLogGroupsRequest())).log_groups == []
        listed = await b.call(api.ListLogGroupsRequest(log_group_name_pattern="^/ecs|zoo"))
        assert [each.log_group_name for each in listed.log_groups] == ["/ecs/a", "/ecs/b", "zoo"]


async def test_a_deleted_group_takes_streams_filters_and_events_along(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "gone"))
        await b.call(
            api.PutMetricFilterRequest(
                log_group_name=GROUP,
                filter_name="f",
                filter_pattern="",
                metric_transformations=[api.MetricTransformation(metric_name="m", metric_namespace="n", metric_value="1")],
            )
        )
        await b.call(api.DeleteLogGroupRequest(log_group_name=GROUP))
        with pytest.raises(api.ResourceNotFoundException, match="The specified log group does not exist"):
            await b.get()
        await b.call(api.CreateLogGroupRequest(log_group_name=GROUP))
        with pytest.raises(api.ResourceNotFoundException, match="The specified log stream does not exist"):
            await b.get()
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
        assert messages((await b.get()).events) == []
        assert (await b.call(api.DescribeMetricFiltersRequest(log_group_name=GROUP))).metric_filters == []
        with pytest.raises(api.ResourceNotFoundException):
            await b.call(api.DeleteLogGroupRequest(log_group_name="never"))


async def test_a_protected_group_is_not_deleted(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.call(api.PutLogGroupDeletionProtectionRequest(log_group_identifier=ARN, deletion_protection_enabled=True))
        with pytest.raises(api.ValidationException):
            await b.call(api.DeleteLogGroupRequest(log_group_name=GROUP))
        await b.call(api.PutLogGroupDeletionProtectionRequest(log_group_identifier=GROUP, deletion_protection_enabled=False))
        await b.call(api.DeleteLogGroupRequest(log_group_name=GROUP))


@pytest.mark.parametrize(
    "fields", [{"kms_key_id": "arn:aws:kms:us-east-1:000000000000:key/k"}, {"log_group_class": "DELIVERY"}, {"log_group_name": "aws/mine"}]
)
async def test_what_is_not_acted_on_is_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    async with bench(tmp_path, bare=True) as b:
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.CreateLogGroupRequest(**{"log_group_name": "mine", **fields}))  # type: ignore[arg-type]


async def test_a_name_is_never_a_path(tmp_path: Path) -> None:
    async with bench(tmp_path / "data", bare=True) as b:
        for group, stream in (("../../../etc", "../../passwd"), ("/", "/"), (".", ".."), ("a/../../b", "x\0y")):
            await b.call(api.CreateLogGroupRequest(log_group_name=group))
            await b.call(api.CreateLogStreamRequest(log_group_name=group, log_stream_name=stream))
            await b.put((b.now, f"in {group}"), group=group, stream=stream)
            assert messages((await b.get(log_group_name=group, log_stream_name=stream)).events) == [f"in {group}"]
        b.logs.archive.rotate()
        await b.until(lambda: len(list((tmp_path / "data" / "logs" / "groups").glob("*/*.segment"))) == 4)
    assert os.listdir(tmp_path) == ["data"]
    assert set(os.listdir(tmp_path / "data" / "logs")) == {"groups", "journal"}


async def test_retention_takes_only_days_that_aws_knows(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with pytest.raises(api.InvalidParameterException, match="retentionInDays"):
            await b.call(api.PutRetentionPolicyRequest(log_group_name=GROUP, retention_in_days=2))
        await b.call(api.PutRetentionPolicyRequest(log_group_name=GROUP, retention_in_days=7))
        assert (await b.call(api.DescribeLogGroupsRequest())).log_groups[0].retention_in_days == 7
        await b.call(api.DeleteRetentionPolicyRequest(log_group_name=GROUP))
        assert (await b.call(api.DescribeLogGroupsRequest())).log_groups[0].retention_in_days is None


async def test_expired_events_are_hidden_at_once_and_deleted_by_the_sweep(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "old"))
        b.logs.archive.rotate()
        segments = tmp_path / "logs" / "groups"
        await b.until(lambda: list(segments.glob("*/*.segment")) and not (tmp_path / "logs" / "journal" / "0000000001.journal").exists())
        b.clock.shift = 2 * 86_400.0
        await b.put((b.now, "young"))
        await b.call(api.PutRetentionPolicyRequest(log_group_name=GROUP, retention_in_days=1))
        assert messages((await b.filter()).events) == ["young"]
        assert messages((await b.get(start_from_head=True)).events) == ["young"]
        await b.logs.sweep()
        assert not list(segments.glob("*/*.segment"))
        assert messages((await b.filter()).events) == ["young"]


async def test_what_a_dead_group_left_on_disk_goes_with_the_sweep(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        left_over = tmp_path / "logs" / "groups" / "00000000000000aa"
        left_over.mkdir(parents=True)
        await b.logs.sweep()
        assert not left_over.exists()


async def test_an_infrequent_access_group_takes_events_and_refuses_what_aws_refuses(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        await b.call(api.CreateLogGroupRequest(log_group_name=GROUP, log_group_class="INFREQUENT_ACCESS"))
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
        await b.put((b.now, "kept"))
        for request in (
            api.FilterLogEventsRequest(log_group_name=GROUP),
            api.StartLiveTailRequest(log_group_identifiers=[ARN]),
            api.PutSubscriptionFilterRequest(log_group_name=GROUP, filter_name="f", filter_pattern="", destination_arn=FUNCTION),
        ):
            with pytest.raises(api.InvalidOperationException):
                await b.call(request)


# Streams.


async def test_streams_are_described_by_name_and_by_their_last_event(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        await b.call(api.CreateLogGroupRequest(log_group_name=GROUP))
        for name in ("a", "b", "bb", "never"):
            await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=name))
        for name, age in (("a", 5), ("b", 50), ("bb", 1)):
            await b.put((b.now - age * 1000 - 7, "first"), (b.now - age * 1000, "last"), stream=name)

        async def names(**how: Any) -> list[str]:
            return [each.log_stream_name for each in (await b.call(api.DescribeLogStreamsRequest(log_group_name=GROUP, **how))).log_streams]

        assert await names() == ["a", "b", "bb", "never"]
        assert await names(descending=True) == ["never", "bb", "b", "a"]
        assert await names(log_stream_name_prefix="b") == ["b", "bb"]
        assert await names(order_by="LastEventTime") == ["never", "b", "a", "bb"]
        assert await names(order_by="LastEventTime", descending=True) == ["bb", "a", "b", "never"]
        first = await b.call(api.DescribeLogStreamsRequest(log_group_name=GROUP, order_by="LastEventTime", descending=True, limit=2))
        assert await names(order_by="LastEventTime", descending=True, next_token=first.next_token) == ["b", "never"]
        with pytest.raises(api.InvalidParameterException, match="Cannot order by LastEventTime with a logStreamNamePrefix"):
            await names(order_by="LastEventTime", log_stream_name_prefix="b")
        (described,) = (await b.call(api.DescribeLogStreamsRequest(log_group_identifier=ARN, limit=1))).log_streams
        assert described.arn == f"{ARN}:log-stream:a"
        assert described.last_event_timestamp - described.first_event_timestamp == 7
        assert described.last_ingestion_time >= described.last_event_timestamp
        assert described.stored_bytes == 0
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.DescribeLogStreamsRequest())
        with pytest.raises(api.ResourceAlreadyExistsException, match="The specified log stream already exists"):
            await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name="a"))


async def test_a_deleted_stream_is_gone_from_every_reading(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name="other"))
        await b.put((b.now, "goes"))
        await b.put((b.now, "stays"), stream="other")
        b.logs.archive.rotate()
        await b.until(lambda: list((tmp_path / "logs" / "groups").glob("*/*.segment")))
        await b.call(api.DeleteLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
        assert messages((await b.filter()).events) == ["stays"]
        with pytest.raises(api.ResourceNotFoundException):
            await b.put((b.now, "late"))
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name=STREAM))
        assert (await b.get()).events == []


async def test_accepting_events_writes_no_row(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.cloud.store.transaction = None  # type: ignore[assignment,method-assign]
        await b.put((b.now, "no transaction"))
        del b.cloud.store.transaction  # type: ignore[method-assign]


# Putting events.


async def test_a_batch_that_breaks_a_rule_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        now = b.now
        with pytest.raises(api.InvalidParameterException, match="must be in chronological order"):
            await b.put((now, "b"), (now - 1, "a"))
        with pytest.raises(api.InvalidParameterException, match="cannot span more than 24 hours"):
            await b.put((now - DAY - 1, "a"), (now, "b"))
        with pytest.raises(api.InvalidParameterException, match="Upload too large: 1048577 bytes exceeds limit of 1048576"):
            await b.put((now, "x" * 524_262), (now, "y" * 524_263))
        with pytest.raises(api.InvalidParameterException, match="Log event too large"):
            await b.put((now, "x" * 1_048_577))
        with pytest.raises(api.InvalidParameterException):
            await b.put(*[(now, "x")] * 10_001)
        assert (await b.get()).events == []
        await b.put((now, "x" * 524_262), (now, "y" * 524_262))
        with pytest.raises(api.ResourceNotFoundException, match="The specified log stream does not exist"):
            await b.put((now, "a"), stream="none")


async def test_events_that_are_too_old_too_new_or_expired_are_left_out_and_told(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        now = b.now
        answer = await b.put((now - 15 * DAY, "ancient"), (now - 14 * DAY - 60_000, "old"), (now, "good"), (now + 3 * 3_600_000, "future"))
        info = answer.rejected_log_events_info
        assert info is not None
        assert (info.too_old_log_event_end_index, info.too_new_log_event_start_index, info.expired_log_event_end_index) == (2, 3, None)
        await b.call(api.PutRetentionPolicyRequest(log_group_name=GROUP, retention_in_days=1))
        answer = await b.put((now - 2 * DAY, "expired"), (now, "good too"))
        assert answer.rejected_log_events_info == api.RejectedLogEventsInfo(expired_log_event_end_index=1)
        answer = await b.put((now - 2 * DAY, "expired"))
        assert answer.rejected_log_events_info is not None
        assert messages((await b.get()).events) == ["good", "good too"]


async def test_a_sequence_token_is_answered_and_not_looked_at(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        event = api.InputLogEvent(timestamp=b.now, message="x")
        request = api.PutLogEventsRequest(log_group_name=GROUP, log_stream_name=STREAM, log_events=[event], sequence_token="anything")
        assert len((await b.call(request)).next_sequence_token) == 56


# Getting events.


async def test_tokens_lead_forward_and_backward_and_at_an_end_to_themselves(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        start = b.now - 1000
        await b.put(*[(start + i, str(i)) for i in range(10)])
        latest = await b.get(limit=3)
        assert messages(latest.events) == ["7", "8", "9"]
        before = await b.get(limit=3, next_token=latest.next_backward_token)
        assert messages(before.events) == ["4", "5", "6"]
        assert messages((await b.get(limit=2, next_token=before.next_forward_token)).events) == ["7", "8"]
        end = await b.get(next_token=latest.next_forward_token)
        assert end.events == []
        assert end.next_forward_token == latest.next_forward_token
        await b.put((start + 20, "new"))
        assert messages((await b.get(next_token=end.next_forward_token)).events) == ["new"]
        head = await b.get(limit=4, start_from_head=True)
        assert messages(head.events) == ["0", "1", "2", "3"]
        beginning = await b.get(next_token=head.next_backward_token)
        assert beginning.events == []
        assert beginning.next_backward_token == head.next_backward_token
        ranged = await b.get(start_time=start + 2, end_time=start + 5, start_from_head=True)
        assert messages(ranged.events) == ["2", "3", "4"]
        for forged in ("x", "f/1/s", "g/" + "0" * 56 + "/s", "f/" + "0" * 56):
            with pytest.raises(api.InvalidParameterException, match="nextToken is invalid"):
                await b.get(next_token=forged)


async def test_an_empty_stream_answers_tokens_by_which_later_events_are_found(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for start_from_head in (True, False):
            empty = await b.get(start_from_head=start_from_head)
            assert empty.events == []
            assert empty.next_forward_token
        await b.put((b.now, "first"))
        assert messages((await b.get(next_token=empty.next_forward_token)).events) == ["first"]


async def test_a_group_is_named_by_name_or_arn_and_not_by_both(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "x"))
        assert messages((await b.get(log_group_name=None, log_group_identifier=ARN)).events) == ["x"]
        with pytest.raises(api.InvalidParameterException):
            await b.get(log_group_identifier=ARN)
        with pytest.raises(api.InvalidParameterException):
            await b.get(log_group_name=None)
        with pytest.raises(api.ResourceNotFoundException):
            await b.get(log_group_name=None, log_group_identifier=ARN.replace("000000000000", "111111111111"))


# Filtering.


async def test_a_group_is_filtered_over_its_streams_in_the_order_of_time(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.call(api.CreateLogStreamRequest(log_group_name=GROUP, log_stream_name="other"))
        start = b.now - 1000
        await b.put(*[(start + i, f"ERROR {i}") for i in range(0, 10, 2)])
        await b.put(*[(start + i, f"INFO {i}") for i in range(1, 10, 2)], stream="other")
        found = await b.filter()
        assert [event.timestamp - start for event in found.events or ()] == list(range(10))
        assert {event.log_stream_name for event in found.events or ()} == {STREAM, "other"}
        assert found.searched_log_streams == []
        assert found.next_token is None
        assert messages((await b.filter(filter_pattern="ERROR -4")).events) == ["ERROR 0", "ERROR 2", "ERROR 6", "ERROR 8"]
        assert messages((await b.filter(log_stream_names=["other"], start_time=start + 5)).events) == ["INFO 5", "INFO 7", "INFO 9"]
        assert messages((await b.filter(log_stream_name_prefix="oth", end_time=start + 2)).events) == ["INFO 1"]
        assert messages((await b.filter(start_from_head=False, limit=2)).events) == ["INFO 9", "ERROR 8"]
        pages = []
        token = None
        while True:
            page = await b.filter(limit=3, next_token=token)
            pages.append(messages(page.events))
            token = page.next_token
            if token is None:
                break
        assert [len(each) for each in pages] == [3, 3, 3, 1]
        ids = [event.event_id for event in found.events or ()]
        assert ids == sorted(ids)
        assert len(set(ids)) == 10


async def test_filtering_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with pytest.raises(api.InvalidParameterException, match="Invalid filter pattern"):
            await b.filter(filter_pattern="{ $.a")
        with pytest.raises(api.InvalidParameterException, match="mutually exclusive"):
            await b.filter(log_stream_names=[STREAM], log_stream_name_prefix="x")
        with pytest.raises(api.ResourceNotFoundException, match="The specified log stream does not exist"):
            await b.filter(log_stream_names=["none"])
        with pytest.raises(api.InvalidParameterException):
            await b.filter(start_time=5, end_time=4)
        first = await b.filter()
        assert first.next_token is None
        with pytest.raises(api.InvalidParameterException, match="nextToken is invalid"):
            await b.filter(next_token="AAAA")


# Policies, destinations, tags.


POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "logs:PutLogEvents", "Resource": f"{ARN}:*"}
        ],
    }
)


async def test_resource_policies_are_kept_and_checked(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        put = await b.call(api.PutResourcePolicyRequest(policy_name="p", policy_document=POLICY))
        assert put.resource_policy.policy_name == "p"
        (found,) = (await b.call(api.DescribeResourcePoliciesRequest())).resource_policies
        assert (found.policy_name, found.policy_document, found.policy_scope) == ("p", POLICY, "ACCOUNT")
        for document in ("no policy", "{}"):
            with pytest.raises(api.InvalidParameterException):
                await b.call(api.PutResourcePolicyRequest(policy_name="q", policy_document=document))
        for i in range(9):
            await b.call(api.PutResourcePolicyRequest(policy_name=f"p{i}", policy_document=POLICY))
        with pytest.raises(api.LimitExceededException):
            await b.call(api.PutResourcePolicyRequest(policy_name="eleventh", policy_document=POLICY))
        await b.call(api.DeleteResourcePolicyRequest(policy_name="p"))
        with pytest.raises(api.ResourceNotFoundException):
            await b.call(api.DeleteResourcePolicyRequest(policy_name="p"))


async def test_a_logical_destination_leads_to_its_stream(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        made = (await b.call(api.PutDestinationRequest(destination_name="d", target_arn=KINESIS, role_arn=ROLE))).destination
        assert made.arn == "arn:aws:logs:us-east-1:000000000000:destination:d"
        await b.call(api.PutDestinationPolicyRequest(destination_name="d", access_policy=POLICY))
        (found,) = (await b.call(api.DescribeDestinationsRequest(destination_name_prefix="d"))).destinations
        assert (found.target_arn, found.access_policy) == (KINESIS, POLICY)
        b.companion.calls.clear()
        await subscribe(b, destination=made.arn)
        await b.put((b.now, "x"))
        await b.until(lambda: len(b.companion.of("PutRecord")) == 2)
        await b.call(api.DeleteDestinationRequest(destination_name="d"))
        with pytest.raises(api.InvalidParameterException):
            await subscribe(b, destination=made.arn)


async def test_tags_are_the_same_by_arn_and_by_name(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        await b.call(api.CreateLogGroupRequest(log_group_name=GROUP, tags={"team": "a"}))
        await b.call(api.TagResourceRequest(resource_arn=ARN, tags={"stage": "dev"}))
        await b.call(api.TagLogGroupRequest(log_group_name=GROUP, tags={"team": "b"}))
        assert (await b.call(api.ListTagsForResourceRequest(resource_arn=ARN))).tags == {"team": "b", "stage": "dev"}
        await b.call(api.UntagResourceRequest(resource_arn=f"{ARN}:*", tag_keys=["team"]))
        await b.call(api.UntagLogGroupRequest(log_group_name=GROUP, tags=["none"]))
        assert (await b.call(api.ListTagsLogGroupRequest(log_group_name=GROUP))).tags == {"stage": "dev"}
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.TagResourceRequest(resource_arn=ARN, tags={"aws:x": "y"}))
        with pytest.raises(api.TooManyTagsException):
            await b.call(api.TagResourceRequest(resource_arn=ARN, tags={f"k{i}": "" for i in range(50)}))
        with pytest.raises(api.ResourceNotFoundException):
            await b.call(api.TagResourceRequest(resource_arn=f"{ARN}-not", tags={"a": "b"}))
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.ListTagsForResourceRequest(resource_arn="arn:aws:sqs:us-east-1:000000000000:queue"))


# Permissions.


async def test_policies_are_asked_for_the_arns_that_aws_asks_for(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        event = api.InputLogEvent(timestamp=0, message="x")
        for request, expected in (
            (api.CreateLogGroupRequest(log_group_name="g"), f"{ARN}:log-stream:".replace(GROUP, "g")),
            (api.PutLogEventsRequest(log_group_name=GROUP, log_stream_name="s", log_events=[event]), f"{ARN}:log-stream:s"),
            (api.GetLogEventsRequest(log_group_identifier=ARN, log_stream_name="s"), f"{ARN}:log-stream:s"),
            (api.FilterLogEventsRequest(log_group_identifier=ARN), f"{ARN}:log-stream:"),
            (api.DescribeLogGroupsRequest(), f"{ARN}:log-stream:".replace(GROUP, "")),
            (api.TagResourceRequest(resource_arn=f"{ARN}:*", tags={}), ARN),
            (api.StartLiveTailRequest(log_group_identifiers=[ARN]), f"{ARN}:log-stream:"),
        ):
            operation = b.cloud.registry.find(request)
            assert operation.resources(b.ctx, request) == (expected,)
            assert operation.action == request.operation
