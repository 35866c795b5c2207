"""JSON 1.0 and 1.1 on CloudWatch Logs and EventBridge: what is read, what is refused and how, what is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from cloudstead.edge.protocols import ServiceModel, protocol
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import MalformedRequest, NotImplementedHere, ServiceError, Throttled
from cloudstead.services.events import api as events_api
from cloudstead.services.logs import api as logs_api

LOGS, EVENTS = ServiceModel.load("logs"), ServiceModel.load("events")
JSON = protocol("json")


def read(operation: str, body: bytes, model: ServiceModel = LOGS) -> Any:
    return JSON.parser(model, operation)(HttpRequest.of("POST", "/", [], body), body, {})


def refusal(operation: str, body: bytes, model: ServiceModel = LOGS) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        read(operation, body, model)
    return raised.value


def content(response: HttpResponse) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_a_request_is_read_into_its_struct() -> None:
    request = read(
        "PutLogEvents", b'{"logGroupName":"g","logStreamName":"s","logEvents":[{"timestamp":5,"message":"m"}],"unknown":{"a":[1]}}'
    )
    event = logs_api.InputLogEvent(timestamp=5, message="m")
    assert request == logs_api.PutLogEventsRequest(log_group_name="g", log_stream_name="s", log_events=[event])


def test_null_is_the_same_as_absent() -> None:
    assert read("DescribeLogGroups", b'{"limit":null,"logGroupNamePrefix":"a"}').limit is None


def test_an_empty_body_is_an_empty_object() -> None:
    assert read("DescribeLogGroups", b"") == logs_api.DescribeLogGroupsRequest()


def test_a_whole_number_may_have_a_point() -> None:
    assert read("DescribeLogGroups", b'{"limit":5.0}').limit == 5


@pytest.mark.parametrize(
    "time", [b"1422172800", b"1422172800.0", b'"2015-01-25T08:00:00Z"', b'"2015-01-25T09:00:00+01:00"', b'"Sun, 25 Jan 2015 08:00:00 GMT"']
)
def test_a_timestamp_is_a_number_or_any_of_the_texts(time: bytes) -> None:
    request = read("PutEvents", b'{"Entries":[{"Time":' + time + b"}]}", EVENTS)
    assert request.entries[0].time == 1422172800


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "Start of list found where not expected"),
        (b'{"logGroupName":5}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"logGroupName":true}', "TRUE_VALUE can not be converted to a String"),
        (b'{"logGroupName":{}}', "Start of structure or map found where not expected."),
        (b'{"logGroupName":"a","tags":[]}', "Start of list found where not expected"),
        (b'{"logGroupName":"a","tags":"a=b"}', "Expected map or null"),
        (b"{", "The request body is not valid JSON."),
        (b'{"logGroupName":"a\xff"}', "The request body is not valid JSON."),
        (b'{"logGroupName":"a","x":' + b"[" * 100_000 + b"}", "The request body is not valid JSON."),
        (b'{"logGroupName":NaN}', "The request body is not valid JSON."),
        (b'{"logGroupName":' + b"9" * 5000 + b"}", "The request body is not valid JSON."),
    ],
    ids=range(11),
)
def test_what_is_of_the_wrong_type_is_a_serialization_exception(body: bytes, message: str) -> None:
    error = refusal("CreateLogGroup", body)
    assert isinstance(error, MalformedRequest)
    assert error.message == message
    assert content(JSON.error(LOGS, error, "id"))["__type"] == "SerializationException"


@pytest.mark.parametrize(
    ("number", "message"),
    [(b"99999999999", "The number is out of the range of Integer"), (b'"5"', "STRING_VALUE can not be converted to an Integer")],
)
def test_what_is_no_integer_is_refused(number: bytes, message: str) -> None:
    assert refusal("DescribeLogGroups", b'{"limit":' + number + b"}").message == message


def test_a_service_says_broken_constraints_in_its_own_code() -> None:
    error = refusal("CreateLogGroup", b'{"logGroupName":"a b"}')
    assert isinstance(error, logs_api.InvalidParameterException)
    assert error.message == (
        "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+"
    )
    assert refusal("PutRule", b"{}", EVENTS).code == "ValidationError"
    assert content(JSON.error(EVENTS, refusal("PutRule", b"{}", EVENTS), "id"))["__type"] == "ValidationException"


def test_a_response_leaves_out_what_is_not_set() -> None:
    answer = logs_api.DescribeLogGroupsResponse(log_groups=[logs_api.LogGroup(log_group_name="g", stored_bytes=0)])
    response = JSON.serializer(LOGS, "DescribeLogGroups")(answer, "id-1")
    assert content(response) == {"logGroups": [{"logGroupName": "g", "storedBytes": 0}]}
    assert response.headers == [("x-amzn-RequestId", "id-1"), ("Content-Type", "application/x-amz-json-1.1")]


def test_an_operation_without_output_answers_an_empty_body() -> None:
    assert JSON.serializer(LOGS, "CreateLogGroup")(logs_api.CreateLogGroupResponse(), "id").body == b""


def test_an_error_has_its_code_status_message_and_members() -> None:
    response = JSON.error(LOGS, logs_api.TooManyTagsException("Too many.", resource_name="g"), "id")
    assert response.status == 400
    assert content(response) == {"__type": "TooManyTagsException", "message": "Too many.", "resourceName": "g"}


def test_an_error_of_another_service_keeps_its_code() -> None:
    class Refused(ServiceError):
        code, status, shape, members = "Refused", 418, "TooManyTagsException", ("resource_name",)

    response = JSON.error(LOGS, Refused("No."), "id")
    assert (response.status, content(response)) == (418, {"__type": "Refused", "message": "No."})


def test_common_errors_have_their_json_codes() -> None:
    assert content(JSON.error(LOGS, Throttled("Rate exceeded"), "id"))["__type"] == "ThrottlingException"
    response = JSON.error(None, NotImplementedHere("Not yet."), "id")
    assert (response.status, content(response)["__type"]) == (501, "NotImplemented")


def tail_answer(stream: AsyncIterator[logs_api.StartLiveTailResponseStream]) -> list[Any]:
    response = JSON.serializer(LOGS, "StartLiveTail")(logs_api.StartLiveTailResponse(response_stream=stream), "id")
    assert ("Content-Type", "application/vnd.amazon.eventstream") in response.headers
    buffer = EventStreamBuffer()

    async def collect() -> None:
        assert not isinstance(response.body, bytes)
        async for piece in response.body:  # type: ignore[union-attr]
            buffer.add_data(piece)

    asyncio.run(collect())
    return [(message.headers[":message-type"], dict(message.headers), message.payload) for message in buffer]


def test_events_are_framed_as_botocore_reads_them() -> None:
    async def stream() -> AsyncIterator[logs_api.StartLiveTailResponseStream]:
        yield logs_api.StartLiveTailResponseStream(session_start=logs_api.LiveTailSessionStart(session_id="s"))
        yield logs_api.StartLiveTailResponseStream(session_update=logs_api.LiveTailSessionUpdate(session_results=[]))

    messages = tail_answer(stream())
    assert [headers[":event-type"] for _, headers, _ in messages] == ["initial-response", "sessionStart", "sessionUpdate"]
    assert [payload for _, _, payload in messages] == [b"{}", b'{"sessionId":"s"}', b'{"sessionResults":[]}']


def test_a_modelled_error_ends_a_stream_as_an_exception() -> None:
    async def stream() -> AsyncIterator[logs_api.StartLiveTailResponseStream]:
        raise logs_api.SessionTimeoutException("over")
        yield

    kind, headers, payload = tail_answer(stream())[-1]
    assert (kind, headers[":exception-type"], json.loads(payload)) == ("exception", "SessionTimeoutException", {"message": "over"})


def test_a_bug_ends_a_stream_as_an_internal_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def stream() -> AsyncIterator[logs_api.StartLiveTailResponseStream]:
        raise KeyError("bug")
        yield

    kind, headers, _ = tail_answer(stream())[-1]
    assert (kind, headers[":error-code"]) == ("error", "InternalFailure")
    assert "KeyError" in caplog.text


def test_a_recursive_structure_is_read_to_any_depth_that_fits() -> None:
    body = b'{"EventPattern":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
    assert isinstance(refusal("TestEventPattern", body, EVENTS), MalformedRequest)


def test_generated_structs_can_be_compared_and_copied() -> None:
    entry = events_api.PutEventsRequestEntry(source="s")
    assert entry == events_api.PutEventsRequestEntry(source="s")
