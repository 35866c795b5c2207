"""botocore's protocol suites in reverse: 367 + 162 requests that we must understand and 365 + 110 answers that botocore must understand from us.

Every case runs. The few that cannot hold for a server stand in CANNOT_APPLY with the reason, and must really fail: one that starts to pass, or that
botocore no longer has, fails the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.eventstream import EventStream
from botocore.model import OperationModel
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import PROTOCOL_PARSERS
from botocore.utils import parse_timestamp
from dateutil.tz import tzutc
from suites import Case, cases, http_request, plain, response_dict, special_floats, struct, without_bound

from cloudstead.edge.protocols import protocol
from cloudstead.kernel.errors import ServiceError

REQUEST_ID = "f7a4e2d0-9c1b-4a7e-8d35-0123456789ab"

TOKEN = "the client fills in the idempotency token: what it sends has one, what it was given has none"
NOT_SENT = "the client leaves an empty collection out, so nobody can tell it from none"
EMPTY_PAYLOAD = "the client sends an empty structure for none, so nobody can tell one from the other"
BOTOCORE = "botocore's own run leaves the case out: it does not do what the case says"
AMBIGUOUS = "botocore takes two flattened lists for one, since it looks at the name of their members only; its own run leaves the case out"

CANNOT_APPLY: dict[str, str] = {
    "input/ec2:Ec2ProtocolIdempotencyTokenAutoFill": TOKEN,
    "input/query:QueryProtocolIdempotencyTokenAutoFill": TOKEN,
    "legacy/input/ec2:8-1": TOKEN,
    "legacy/input/query:12-1": TOKEN,
    "input/ec2:Ec2EmptyQueryLists": NOT_SENT,
    "input/query:QueryEmptyQueryMaps": NOT_SENT,
    "input/rest-json:RestJsonQueryIdempotencyTokenAutoFill": TOKEN,
    "legacy/input/json:6-1": TOKEN,
    "legacy/input/rest-json:19-1": TOKEN,
    "input/rest-json:RestJsonHttpPrefixHeadersAreNotPresent": NOT_SENT,
    "input/rest-json:RestJsonOmitsEmptyListQueryValues": NOT_SENT,
    "legacy/input/rest-json:26-1": NOT_SENT,
    "input/rest-json:RestJsonHttpWithEmptyStructurePayload": EMPTY_PAYLOAD,
    "input/rest-json:RestJsonHttpWithHeadersButNoPayload": EMPTY_PAYLOAD,
    "legacy/input/rest-json:13-1": EMPTY_PAYLOAD,
    "legacy/input/rest-json:25-2": EMPTY_PAYLOAD,
    "legacy/input/rest-json:25-4": EMPTY_PAYLOAD,
    "legacy/input/rest-json:25-7": "the client adds a Content-Type, which is a member here",
    "input/rest-json:RestJsonHostWithPath": "the path of the client's endpoint comes before the operation's",
    "input/rest-json:MediaTypeHeaderInputBase64": BOTOCORE,
    "output/rest-json:RestJsonHttpPayloadTraitsWithNoBlobBody": BOTOCORE,
    "output/rest-json:RestJsonHttpPayloadWithUnsetUnion": BOTOCORE,
    "output/rest-json:RestJsonInputAndOutputWithTimestampHeaders": BOTOCORE,
    "output/rest-json:RestJsonInputAndOutputWithQuotedStringHeaders": BOTOCORE,
    "legacy/output/rest-json:17-2": "a member of a union that no server knows",
    "legacy/output/rest-json:9-0": "two members hold the same headers: each is sent, and the client joins them",
    "input/rest-xml:QueryIdempotencyTokenAutoFill": TOKEN,
    "legacy/input/rest-xml:23-1": TOKEN,
    "input/rest-xml:HttpPrefixHeadersAreNotPresent": NOT_SENT,
    "legacy/input/rest-xml:26-1": NOT_SENT,
    "output/rest-xml:HttpPayloadTraitsWithNoBlobBody": BOTOCORE,
    "output/rest-xml:RestXmlHttpPayloadWithUnsetUnion": BOTOCORE,
    "output/rest-xml:InputAndOutputWithTimestampHeaders": BOTOCORE,
    "legacy/output/rest-xml:16-2": "a member of a union that no server knows",
    "output/rest-xml:XmlLists": AMBIGUOUS,
    "output/ec2:Ec2XmlLists": AMBIGUOUS,
    "output/query:QueryXmlLists": AMBIGUOUS,
}

INPUTS = {case.id: case for case in cases("input")}
OUTPUTS = {case.id: case for case in cases("output")}


def understood(case: Case) -> None:
    """Our parser makes of the case's request what the case's client was given."""
    model = case.model()
    request = http_request(case)
    labels: Any = {}
    if case.protocol.startswith("rest-"):
        found = model.routes.match(request.method, request.path, request.query)
        assert found is not None, "no route"
        assert found[0] == case.operation
        labels = found[1]
    body = request.body.data  # type: ignore[attr-defined]
    parsed = protocol(case.protocol).parser(model, case.operation)(request, body, labels)
    shape = model.input_shape(case.operation)
    if shape is None:
        assert not case.case.get("params")
        return
    reference = case.given["input"]
    expected = without_bound(model, reference, special_floats(model, reference, case.case["params"]))
    assert without_bound(model, reference, plain(model, reference, parsed)) == expected


def answered(case: Case) -> None:
    """botocore's parser makes of our answer what the case says."""
    model = case.model()
    wire = protocol(case.protocol)
    if "error" in case.case:
        refused(case)
        return
    reference = case.given.get("output")
    answer = (
        struct(model, reference, case.case["result"], model.response(case.operation)) if reference else model.response(case.operation)()
    )
    response = wire.serializer(model, case.operation)(answer, REQUEST_ID)
    assert response.status == case.case["response"].get("status_code", 200)
    received = response_dict(response, case.operation)
    parsed = botocore_parse(case, received)
    # botocore does not look for the id in an answer without output.
    assert parsed.pop("ResponseMetadata").get("RequestId", received["headers"].get("x-amzn-requestid")) == REQUEST_ID
    assert settle(parsed) == case.case["result"]


def refused(case: Case) -> None:
    """botocore's parser makes of our error what the case says: code, message and members."""
    model, code, status = case.model(), case.case["errorCode"], case.case["response"]["status_code"]
    given = case.case["error"]
    message = next((value for name, value in given.items() if name.lower() == "message"), case.case.get("errorMessage") or "")
    members = {name: value for name, value in given.items() if name.lower() != "message"}
    shape = next((name for name, shape in model.shapes.items() if code in (name, shape.get("error", {}).get("code"))), None)
    if shape is None:  # an error that the model does not have
        raised = type("Unmodelled", (ServiceError,), {"code": code, "status": status})(message)
    else:
        kind = model.error_class(shape)
        assert kind is not None
        references = model.shapes[shape]["members"]
        raised = kind(message, **{model.field(shape, name).name: struct(model, references[name], value) for name, value in members.items()})
    response = response_dict(protocol(case.protocol).error(model, raised, REQUEST_ID), case.operation)
    assert response["status_code"] == status
    parsed = botocore_parse(case, response)
    assert parsed["Error"]["Code"] == code
    assert (parsed["Error"]["Message"] or "") == message
    assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID
    if shape is not None:
        modelled = settle(parser_of(case).parse(response, BotocoreModel(case.model_dict).shape_for(shape)))
        assert {name: modelled.get(name) for name in members} == members


def parser_of(case: Case) -> Any:
    return PROTOCOL_PARSERS[case.protocol](timestamp_parser=lambda value: parse_timestamp(value).astimezone(tzutc()).timestamp())


def botocore_parse(case: Case, response: dict[str, Any]) -> dict[str, Any]:
    operation = OperationModel(case.model_dict["operations"][case.operation], BotocoreModel(case.model_dict))
    shape = operation.output_shape
    if case.protocol == "query" and shape is not None and "error" not in case.case:
        shape.serialization["resultWrapper"] = f"{case.operation}Result"
    parsed: dict[str, Any] = parser_of(case).parse(response, shape)
    return parsed


def settle(value: Any) -> Any:
    """What botocore parsed, in the suites' terms: bytes as text, special floats by name, event streams as lists.

    Our request id is left out: some cases want all headers of the answer in a map.
    """
    if isinstance(value, dict):
        return {name: settle(item) for name, item in value.items() if item != REQUEST_ID}
    if isinstance(value, (list, EventStream)):
        return [settle(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    return value


@pytest.mark.parametrize("case", [case for name, case in INPUTS.items() if name not in CANNOT_APPLY], ids=repr)
def test_we_understand_what_a_client_sends(case: Case) -> None:
    understood(case)


@pytest.mark.parametrize("case", [case for name, case in OUTPUTS.items() if name not in CANNOT_APPLY], ids=repr)
def test_a_client_understands_what_we_answer(case: Case) -> None:
    answered(case)


@pytest.mark.parametrize("name", CANNOT_APPLY)
def test_what_cannot_apply_still_exists_and_still_fails(name: str) -> None:
    run: Callable[[Case], None]
    case, run = (INPUTS[name], understood) if name in INPUTS else (OUTPUTS[name], answered)
    try:
        run(case)
    except Exception:
        return
    pytest.fail(f"{name} passes; it need not be left out any more ({CANNOT_APPLY[name]})")
