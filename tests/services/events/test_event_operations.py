"""The operations through boto3: buses, permissions, rules, targets, events, tags, archives, replays; what they answer and refuse."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support import CloudThread

ACCOUNT = "000000000000"
HERE = f"arn:aws:events:us-east-1:{ACCOUNT}"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"
PATTERN = json.dumps({"source": ["shop"]})


@pytest.fixture
def events(cloud: CloudThread) -> Any:
    return cloud.client("events")


def refused(code: str, sentence: str, call: Callable[..., Any], **parameters: Any) -> None:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    error = refusal.value.response["Error"]
    assert (error["Code"], error["Message"][: len(sentence)]) == (code, sentence)


# -- buses and permissions


def test_the_default_bus_is_there_in_every_account_and_region(cloud: CloudThread) -> None:
    for account, region in ((ACCOUNT, "us-east-1"), ("123456789012", "eu-west-3")):
        client = cloud.client("events", key=account, region=region)
        arn = f"arn:aws:events:{region}:{account}:event-bus/default"
        assert client.describe_event_bus()["Arn"] == arn
        assert [bus["Arn"] for bus in client.list_event_buses()["EventBuses"]] == [arn]


def test_a_bus_is_made_described_changed_and_deleted(events: Any) -> None:
    made = events.create_event_bus(Name="life", Description="one", DeadLetterConfig={"Arn": QUEUE}, Tags=[{"Key": "a", "Value": "b"}])
    assert made["EventBusArn"] == f"{HERE}:event-bus/life"
    refused("ResourceAlreadyExistsException", "Event bus life already exists.", events.create_event_bus, Name="life")
    events.update_event_bus(Name="life", Description="two")
    described = events.describe_event_bus(Name=made["EventBusArn"])
    assert (described["Description"], described["DeadLetterConfig"]) == ("two", {"Arn": QUEUE})
    assert described["CreationTime"] <= described["LastModifiedTime"]
    assert events.list_tags_for_resource(ResourceARN=made["EventBusArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    events.put_rule(Name="r", EventBusName="life", EventPattern=PATTERN)
    refused("ValidationException", "Event bus life can't be deleted since it has rules.", events.delete_event_bus, Name="life")
    events.delete_rule(Name="r", EventBusName="life")
    events.delete_event_bus(Name="life")
    events.delete_event_bus(Name="life")
    refused("ResourceNotFoundException", "Event bus life does not exist.", events.describe_event_bus, Name="life")


def test_a_bus_tells_that_it_does_not_log(events: Any) -> None:
    off = {"IncludeDetail": "NONE", "Level": "OFF"}
    assert events.create_event_bus(Name="quiet", LogConfig=off)["LogConfig"] == off
    events.update_event_bus(Name="quiet", Description="still")
    assert events.describe_event_bus(Name="quiet")["LogConfig"] == off
    assert events.update_event_bus(Name="quiet", LogConfig={"Level": "OFF"})["LogConfig"] == {"Level": "OFF"}
    assert events.describe_event_bus(Name="quiet")["LogConfig"] == {"Level": "OFF"}
    assert "LogConfig" not in events.describe_event_bus()
    refused("ValidationException", "Logging of event buses", events.update_event_bus, Name="quiet", LogConfig={"Level": "INFO"})
    events.delete_event_bus(Name="quiet")


def test_what_a_bus_cannot_be_is_refused(events: Any) -> None:
    refused("ResourceAlreadyExistsException", "Event bus default already exists.", events.create_event_bus, Name="default")
    refused("ValidationException", "Cannot delete event bus default.", events.delete_event_bus, Name="default")
    refused("ValidationException", "Event bus name must not contain '/'.", events.create_event_bus, Name="a/b")
    refused("ValidationException", "Encryption with a KMS key", events.create_event_bus, Name="k", KmsKeyIdentifier="key")
    refused("ValidationException", "Logging of event buses", events.create_event_bus, Name="k", LogConfig={"Level": "TRACE"})
    refused(
        "ResourceNotFoundException",
        "Event source aws.partner/x/y does not exist.",
        events.create_event_bus,
        Name="k",
        EventSourceName="aws.partner/x/y",
    )


def test_buses_are_listed_by_prefix_in_pages(events: Any) -> None:
    for n in range(5):
        events.create_event_bus(Name=f"page-{n}")
    first = events.list_event_buses(NamePrefix="page-", Limit=3)
    second = events.list_event_buses(NamePrefix="page-", Limit=3, NextToken=first["NextToken"])
    assert [bus["Name"] for bus in first["EventBuses"] + second["EventBuses"]] == [f"page-{n}" for n in range(5)]
    assert "NextToken" not in second
    refused(
        "ValidationException", "Provided NextToken is invalid.", events.list_event_buses, NamePrefix="other", NextToken=first["NextToken"]
    )


def test_permissions_are_statements_of_a_policy(events: Any) -> None:
    events.create_event_bus(Name="open")
    events.put_permission(EventBusName="open", Action="events:PutEvents", Principal="111122223333", StatementId="one")
    condition = {"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-1"}
    events.put_permission(EventBusName="open", Action="events:PutEvents", Principal="*", StatementId="org", Condition=condition)
    policy = json.loads(events.describe_event_bus(Name="open")["Policy"])
    one, org = policy["Statement"]
    assert one == {
        "Sid": "one",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
        "Action": "events:PutEvents",
        "Resource": f"{HERE}:event-bus/open",
    }
    assert (org["Principal"], org["Condition"]) == ("*", {"StringEquals": {"aws:PrincipalOrgID": "o-1"}})
    refused("ResourceNotFoundException", "Statement with the provided id", events.remove_permission, EventBusName="open", StatementId="x")
    events.remove_permission(EventBusName="open", StatementId="one")
    events.remove_permission(EventBusName="open", StatementId="org")
    assert "Policy" not in events.describe_event_bus(Name="open")
    refused(
        "ResourceNotFoundException", "EventBus does not have a policy.", events.remove_permission, EventBusName="open", StatementId="org"
    )
    events.put_permission(EventBusName="open", Policy=json.dumps({**policy, "Statement": [one]}, indent=2))
    assert json.loads(events.describe_event_bus(Name="open")["Policy"])["Statement"] == [one]
    events.remove_permission(EventBusName="open", RemoveAllPermissions=True)
    assert "Policy" not in events.describe_event_bus(Name="open")


def test_bad_permissions_are_refused(events: Any) -> None:
    put = events.put_permission
    refused("ResourceNotFoundException", "Event bus nowhere does not exist.", put, EventBusName="nowhere", Policy="{}")
    refused("ValidationException", "This policy contains invalid Json", put, Policy="{")
    refused("ValidationException", "The policy is invalid", put, Policy='{"Statement": []}')
    refused("ValidationException", "Parameter Principal must be specified.", put, Action="events:PutEvents", StatementId="a")
    refused("ValidationException", "Provided value in parameter 'action'", put, Action="events:PutRule", Principal="*", StatementId="a")
    statement = {
        "Sid": "x" * 6000,
        "Effect": "Allow",
        "Principal": "*",
        "Action": "events:PutEvents",
        "Resource": f"{HERE}:event-bus/default",
    }
    long = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Sid": f"{n}"} for n in range(120)]})
    refused("PolicyLengthExceededException", "Total policy size is over the limit.", put, Policy=long)


# -- rules


def test_a_rule_is_made_replaced_disabled_and_deleted(events: Any) -> None:
    arn = events.put_rule(Name="rule", EventPattern=PATTERN, Description="one", Tags=[{"Key": "k", "Value": "v"}])["RuleArn"]
    assert arn == f"{HERE}:rule/rule"
    described = events.describe_rule(Name="rule")
    wanted = {"Name": "rule", "Arn": arn, "EventPattern": PATTERN, "State": "ENABLED", "Description": "one", "EventBusName": "default"}
    assert described | wanted | {"CreatedBy": ACCOUNT} == described
    events.put_rule(Name="rule", ScheduleExpression="rate(1 hour)", State="DISABLED")
    described = events.describe_rule(Name="rule")
    assert "EventPattern" not in described
    assert "Description" not in described
    assert (described["ScheduleExpression"], described["State"]) == ("rate(1 hour)", "DISABLED")
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    events.enable_rule(Name="rule")
    assert events.describe_rule(Name="rule")["State"] == "ENABLED"
    events.disable_rule(Name="rule")
    assert events.describe_rule(Name="rule")["State"] == "DISABLED"
    events.delete_rule(Name="rule")
    events.delete_rule(Name="rule")
    refused("ResourceNotFoundException", "Rule rule does not exist on EventBus default.", events.describe_rule, Name="rule")
    refused("ResourceNotFoundException", "Rule rule does not exist on EventBus default.", events.enable_rule, Name="rule")


def test_what_a_rule_cannot_be_is_refused(events: Any) -> None:
    put = events.put_rule
    refused("ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.", put, Name="bad")
    refused(
        "InvalidEventPatternException",
        'Event pattern is not valid. Reason: "a" must be an object or an array',
        put,
        Name="bad",
        EventPattern='{"a": 1}',
    )
    refused("ValidationException", "Parameter ScheduleExpression is not valid.", put, Name="bad", ScheduleExpression="rate(1 minutes)")
    refused("ResourceNotFoundException", "Event bus nowhere does not exist.", put, Name="bad", EventPattern=PATTERN, EventBusName="nowhere")
    events.create_event_bus(Name="unscheduled")
    refused("ValidationException", "ScheduleExpression is supported only on the default event bus.", put, Name="bad",
            ScheduleExpression="rate(1 hour)", EventBusName="unscheduled")  # fmt: skip
    refused("ValidationException", "Parameter x is not valid.", put, Name="bad", EventPattern=PATTERN, RoleArn="x")


def test_rules_are_listed_by_bus_and_prefix_in_pages(events: Any) -> None:
    events.create_event_bus(Name="listed")
    for n in range(4):
        arn = events.put_rule(Name=f"list-{n}", EventPattern=PATTERN, EventBusName="listed")["RuleArn"]
    assert arn == f"{HERE}:rule/listed/list-3"
    events.put_rule(Name="other", EventPattern=PATTERN, EventBusName="listed")
    pages = list(events.get_paginator("list_rules").paginate(NamePrefix="list-", EventBusName="listed", PaginationConfig={"PageSize": 3}))
    assert [[rule["Name"] for rule in page["Rules"]] for page in pages] == [["list-0", "list-1", "list-2"], ["list-3"]]
    assert events.list_rules(NamePrefix="list-")["Rules"] == []
    refused("ResourceNotFoundException", "Event bus nowhere does not exist.", events.list_rules, EventBusName="nowhere")


def test_a_bus_has_at_most_300_rules(cloud: CloudThread) -> None:
    events = cloud.client("events", key="300300300300")
    for n in range(300):
        events.put_rule(Name=f"r{n}", EventPattern=PATTERN)
    events.put_rule(Name="r0", EventPattern=PATTERN)
    refused(
        "LimitExceededException",
        "The requested resource exceeds the maximum number allowed.",
        events.put_rule,
        Name="more",
        EventPattern=PATTERN,
    )


# -- targets


def test_targets_are_put_listed_and_removed_as_they_were_given(events: Any) -> None:
    events.put_rule(Name="targets", EventPattern=PATTERN)
    role = f"arn:aws:iam::{ACCOUNT}:role/r"
    targets = [
        {"Id": "a", "Arn": QUEUE, "Input": '{"a": 1}', "RetryPolicy": {"MaximumRetryAttempts": 0}, "DeadLetterConfig": {"Arn": QUEUE}},
        {"Id": "b", "Arn": QUEUE + ".fifo", "SqsParameters": {"MessageGroupId": "g"}, "InputPath": "$.detail"},
        {
            "Id": "c",
            "Arn": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s",
            "RoleArn": role,
            "KinesisParameters": {"PartitionKeyPath": "$.id"},
        },
        {"Id": "d", "Arn": QUEUE, "InputTransformer": {"InputPathsMap": {"x": "$.id"}, "InputTemplate": '"<x>"'}},
        {"Id": "e", "Arn": f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/events/x"},
    ]
    assert events.put_targets(Rule="targets", Targets=targets)["FailedEntryCount"] == 0
    assert events.list_targets_by_rule(Rule="targets")["Targets"] == targets
    pages = events.get_paginator("list_targets_by_rule").paginate(Rule="targets", PaginationConfig={"PageSize": 2})
    assert [len(page["Targets"]) for page in pages] == [2, 2, 1]
    assert events.list_rule_names_by_target(TargetArn=QUEUE)["RuleNames"] == ["targets"]
    refused("ValidationException", "Rule can't be deleted since it has targets.", events.delete_rule, Name="targets")
    refused(
        "LimitExceededException", "The requested resource exceeds", events.put_targets, Rule="targets", Targets=[{"Id": "f", "Arn": QUEUE}]
    )
    events.put_targets(Rule="targets", Targets=[{"Id": "e", "Arn": QUEUE}])
    removed = events.remove_targets(Rule="targets", Ids=["a", "zzz", "b", "c", "d", "e"])
    assert removed["FailedEntryCount"] == 1
    assert removed["FailedEntries"][0] | {"TargetId": "zzz", "ErrorCode": "ResourceNotFoundException"} == removed["FailedEntries"][0]
    events.delete_rule(Name="targets")


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ({"Arn": "queue"}, "Parameter queue is not valid. Reason: Provided Arn is not in correct format."),
        ({"Arn": f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/c"}, f"The target arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/c (of the kind ecs:cluster) is not supported"),
        ({"Arn": QUEUE, "Input": "{"}, "JSON syntax error in input for target t"),
        ({"Arn": QUEUE, "InputPath": "detail"}, "InputPath for target t is invalid."),
        ({"Arn": QUEUE, "InputPath": "$", "Input": "{}"}, "Only one of Input, InputPath, or InputTransformer must be provided for target t."),
        ({"Arn": QUEUE, "InputTransformer": {"InputTemplate": '"<x>"'}}, "InputTemplate for target t contains invalid placeholder x."),
        ({"Arn": QUEUE + ".fifo"}, "Parameter(s) SqsParameters must be specified for target: t."),
        ({"Arn": QUEUE, "HttpParameters": {}}, "Parameter HttpParameters is not valid for target t."),
        ({"Arn": f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:m"}, "RoleArn is required for target"),
        ({"Arn": QUEUE, "RoleArn": "role"}, "Parameter role is not valid."),
        ({"Arn": QUEUE, "DeadLetterConfig": {"Arn": QUEUE + ".fifo"}}, "Parameter DeadLetterConfig.Arn is not valid."),
        ({"Arn": f"{HERE}:event-bus/default"}, f"Parameter {HERE}:event-bus/default is not valid."),
        ({"Arn": f"{HERE}:event-bus/other", "InputPath": "$.detail"}, "Input, InputPath and InputTransformer are not supported"),
    ],
)  # fmt: skip
def test_a_target_that_nothing_can_be_delivered_to_is_refused(events: Any, target: dict[str, Any], sentence: str) -> None:
    events.put_rule(Name="refusing", EventPattern=PATTERN)
    refused(
        "ValidationException", sentence, events.put_targets, Rule="refusing", Targets=[{"Id": "fine", "Arn": QUEUE}, {"Id": "t", **target}]
    )
    assert events.list_targets_by_rule(Rule="refusing")["Targets"] == []


# -- events


def test_each_entry_is_taken_or_refused_for_itself(events: Any) -> None:
    good = {"Source": "shop", "DetailType": "Order", "Detail": "{}"}
    entries = [
        good,
        {**good, "Detail": "[1]"},
        {**good, "Detail": "{"},
        {**good, "Source": ""},
        {"Source": "shop", "Detail": "{}"},
        {"Source": "shop", "DetailType": "Order"},
        {**good, "Source": "aws.ec2"},
        {**good, "EventBusName": "nowhere"},
    ]
    answer = events.put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 6
    assert [entry.get("ErrorCode", "") for entry in answer["Entries"]] == [
        "", "MalformedDetail", "MalformedDetail", "InvalidArgument", "InvalidArgument", "InvalidArgument", "NotAuthorizedForSourceException", "",
    ]  # fmt: skip
    assert answer["Entries"][1]["ErrorMessage"] == "Detail is malformed."
    assert answer["Entries"][4]["ErrorMessage"] == "Parameter DetailType is not valid. Reason: DetailType is a required argument."
    assert answer["Entries"][6]["ErrorMessage"] == "Not authorized for the source."
    assert len(answer["Entries"][0]["EventId"]) == 36


def test_too_many_and_too_large_entries_are_refused(events: Any) -> None:
    good = {"Source": "shop", "DetailType": "Order", "Detail": "{}"}
    with pytest.raises(ClientError, match="Member must have length less than or equal to 10"):
        events.put_events(Entries=[good] * 11)
    large = {**good, "Detail": json.dumps({"x": "y" * 600_000})}
    assert events.put_events(Entries=[large])["FailedEntryCount"] == 0
    refused("ValidationException", "Total size of the entries in the request is over the limit.", events.put_events, Entries=[large, large])


def test_a_pattern_is_tried_on_an_event(events: Any) -> None:
    event = {
        "id": "1",
        "account": "1",
        "source": "shop",
        "time": "2026-01-01T00:00:00Z",
        "region": "r",
        "resources": [],
        "detail-type": "Order",
    }
    assert events.test_event_pattern(EventPattern=PATTERN, Event=json.dumps(event))["Result"] is True
    assert events.test_event_pattern(EventPattern='{"source": ["x"]}', Event=json.dumps(event))["Result"] is False
    refused("ValidationException", "Parameter Event is not valid.", events.test_event_pattern, EventPattern=PATTERN, Event="[]")
    refused(
        "ValidationException",
        "Parameter Event is not valid. Reason: id",
        events.test_event_pattern,
        EventPattern=PATTERN,
        Event='{"source": "shop"}',
    )
    refused(
        "InvalidEventPatternException",
        "Event pattern is not valid. Reason: Empty",
        events.test_event_pattern,
        EventPattern="{}",
        Event="{}",
    )


def test_an_event_reaches_a_log_group_at_once_as_one_line_of_json(cloud: CloudThread, events: Any) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/aws/events/direct")
    events.put_rule(Name="direct", EventPattern='{"source": ["direct"]}')
    group = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/events/direct"
    template = {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"timestamp": 1, "message": "n is <n>"}'}
    events.put_targets(
        Rule="direct", Targets=[{"Id": "whole", "Arn": group}, {"Id": "line", "Arn": group + ":*", "InputTransformer": template}]
    )
    entry = {
        "Source": "direct",
        "DetailType": "Order",
        "Detail": '{"n": 1.50}',
        "Resources": ["r"],
        "Time": datetime.now(UTC) - timedelta(hours=1),
    }
    id = events.put_events(Entries=[entry])["Entries"][0]["EventId"]
    deadline = time.monotonic() + 20
    while len(found := logs.filter_log_events(logGroupName="/aws/events/direct")["events"]) < 2:
        assert time.monotonic() < deadline, "the event did not arrive"
        time.sleep(0.05)
    lines = {event["logStreamName"]: event for event in found}
    assert lines["direct/line"]["message"] == "n is 1.5"
    assert json.loads(lines["direct/whole"]["message"])["id"] == id
    assert lines["direct/whole"]["message"].endswith('"detail":{"n":1.50}}')
    assert abs(lines["direct/whole"]["timestamp"] / 1000 - entry["Time"].timestamp()) <= 1


# -- tags


def test_rules_and_buses_bear_tags(events: Any) -> None:
    arns = [events.put_rule(Name="tagged", EventPattern=PATTERN)["RuleArn"], f"{HERE}:event-bus/default"]
    for arn in arns:
        events.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
        events.untag_resource(ResourceARN=arn, TagKeys=["a"])
        assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    gone = f"{HERE}:rule/gone"
    refused("ResourceNotFoundException", "Rule gone does not exist on EventBus default.", events.list_tags_for_resource, ResourceARN=gone)
    refused("ValidationException", "Parameter x is not valid.", events.tag_resource, ResourceARN="x", Tags=[])


# -- archives and replays


def test_an_archive_is_made_described_changed_and_deleted(events: Any) -> None:
    bus = f"{HERE}:event-bus/default"
    made = events.create_archive(ArchiveName="archive", EventSourceArn=bus, RetentionDays=3, EventPattern=PATTERN, Description="one")
    assert (made["ArchiveArn"], made["State"]) == (f"{HERE}:archive/archive", "ENABLED")
    refused(
        "ResourceAlreadyExistsException",
        "Archive archive already exists.",
        events.create_archive,
        ArchiveName="archive",
        EventSourceArn=bus,
    )
    events.update_archive(ArchiveName="archive", RetentionDays=5)
    described = events.describe_archive(ArchiveName="archive")
    wanted = {"RetentionDays": 5, "EventPattern": PATTERN, "Description": "one", "EventSourceArn": bus, "EventCount": 0, "SizeBytes": 0}
    assert described | wanted == described
    assert [one["ArchiveName"] for one in events.list_archives(EventSourceArn=bus)["Archives"]] == ["archive"]
    assert events.list_archives(NamePrefix="x")["Archives"] == []
    refused(
        "ValidationException", "At least one of EventPattern, RetentionDays or Description", events.update_archive, ArchiveName="archive"
    )
    refused("ValidationException", "At most one filter is allowed for ListArchives.", events.list_archives, NamePrefix="a", State="ENABLED")
    nowhere = f"{HERE}:event-bus/nowhere"
    refused(
        "ResourceNotFoundException", "Event bus nowhere does not exist.", events.create_archive, ArchiveName="b", EventSourceArn=nowhere
    )
    refused("InvalidEventPatternException", "Event pattern", events.create_archive, ArchiveName="b", EventSourceArn=bus, EventPattern="{}")
    events.delete_archive(ArchiveName="archive")
    refused("ResourceNotFoundException", "Archive archive does not exist.", events.describe_archive, ArchiveName="archive")


def test_what_a_replay_cannot_be_is_refused(events: Any) -> None:
    bus = f"{HERE}:event-bus/default"
    events.create_event_bus(Name="elsewhere")
    archive = events.create_archive(ArchiveName="replayed", EventSourceArn=bus)["ArchiveArn"]
    good = {
        "ReplayName": "replay",
        "EventSourceArn": archive,
        "EventStartTime": datetime(2026, 1, 1, tzinfo=UTC),
        "EventEndTime": datetime(2026, 1, 2, tzinfo=UTC),
        "Destination": {"Arn": bus},
    }
    start = events.start_replay
    refused(
        "ValidationException",
        "Parameter EventSourceArn is not valid. Reason: Archive x does not exist.",
        start,
        **{**good, "EventSourceArn": f"{HERE}:archive/x"},
    )
    refused("ValidationException", "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.", start,
            **{**good, "EventEndTime": good["EventStartTime"]})  # fmt: skip
    cross = "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted."
    refused("ValidationException", cross, start, **{**good, "Destination": {"Arn": f"{HERE}:event-bus/elsewhere"}})
    refused(
        "ResourceNotFoundException",
        "Event bus nowhere does not exist.",
        start,
        **{**good, "Destination": {"Arn": f"{HERE}:event-bus/nowhere"}},
    )
    start(**good)
    refused("ResourceAlreadyExistsException", "Replay replay already exists.", start, **good)
    deadline = time.monotonic() + 20
    while events.describe_replay(ReplayName="replay")["State"] != "COMPLETED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [one["State"] for one in events.list_replays(EventSourceArn=archive)["Replays"]] == ["COMPLETED"]
    refused(
        "IllegalStatusException", "Replay replay is not in a valid state for this operation.", events.cancel_replay, ReplayName="replay"
    )
    refused("ResourceNotFoundException", "Replay x does not exist.", events.describe_replay, ReplayName="x")


def test_what_is_not_there_says_so(events: Any) -> None:
    with pytest.raises(ClientError) as refusal:
        events.list_event_sources()
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
