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
from suites import Case, cases, given, http_request, plain, response_dict, struct, without_bound

from cloudstead.edge.protocols import protocol
from cloudstead.kernel.errors import ServiceError

REQUEST_ID = "f7a4e2d0-9c1b-4a7e-8d35-0123456789ab"

NOT_SENT = "the client leaves an empty collection out, so nobody can tell it from none"
EMPTY_PAYLOAD = "the client sends an empty structure for none, so nobody can tell one from the other"
CONTRADICTION = "a flattened list whose member has a name: this case ignores the name, legacy/output/query:9-0 and SimpleDB go by it"

CANNOT_APPLY: dict[str, str] = {
    "input/ec2:Ec2EmptyQueryLists": NOT_SENT,
    "input/query:QueryEmptyQueryMaps": NOT_SENT,
    "input/rest-json:RestJsonHttpPrefixHeadersAreNotPresent": NOT_SENT,
    "input/rest-json:RestJsonOmitsEmptyListQueryValues": NOT_SENT,
    "legacy/input/rest-json:26-1": NOT_SENT,
    "input/rest-json:RestJsonHttpWithEmptyStructurePayload": EMPTY_PAYLOAD,
    "input/rest-json:RestJsonHttpWithHeadersButNoPayload": EMPTY_PAYLOAD,
    "legacy/input/rest-json:13-1": EMPTY_PAYLOAD,
    "legacy/input/rest-json:25-2": EMPTY_PAYLOAD,
    "legacy/input/rest-json:25-4": EMPTY_PAYLOAD,
    "legacy/input/rest-json:25-7": "the client adds a Content-Type, which is a member here",
    "legacy/output/rest-json:17-2": "a member of a union that no server knows",
    "output/ec2:Ec2XmlLists": CONTRADICTION,
    "output/query:QueryXmlLists": CONTRADICTION,
    "output/rest-xml:XmlLists": CONTRADICTION,
    "legacy/output/rest-json:9-0": "two members hold the same headers: each is sent, and the client joins them",
    "input/rest-xml:HttpPrefixHeadersAreNotPresent": NOT_SENT,
    "legacy/input/rest-xml:26-1": NOT_SENT,
    "legacy/output/rest-xml:16-2": "a member of a union that no server knows",
}

# Answers that botocore's parser does not read as the case says (its own run leaves these cases out): ours must be the recorded one itself.
BOTOCORE_MISREADS = frozenset(
    {
        "output/rest-json:RestJsonHttpPayloadTraitsWithNoBlobBody",
        "output/rest-json:RestJsonHttpPayloadWithUnsetUnion",
        "output/rest-json:RestJsonInputAndOutputWithTimestampHeaders",
        "output/rest-json:RestJsonInputAndOutputWithQuotedStringHeaders",
        "output/rest-xml:HttpPayloadTraitsWithNoBlobBody",
        "output/rest-xml:RestXmlHttpPayloadWithUnsetUnion",
        "output/rest-xml:InputAndOutputWithTimestampHeaders",
    }
)

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
    expected = without_bound(model, reference, given(model, reference, case.case["params"]))
    assert without_bound(model, reference, plain(model, reference, parsed)) == expected


def answer(case: Case) -> dict[str, Any]:
    """Our answer with the result of the case, as botocore's parsers take it."""
    model = case.model()
    reference, kind = case.given.get("output"), model.response(case.operation)
    output = struct(model, reference, case.case["result"], kind) if reference else kind()
    return response_dict(protocol(case.protocol).serializer(model, case.operation)(output, REQUEST_ID), case.operation)


def answered(case: Case) -> None:
    """botocore's parser makes of our answer what the case says."""
    if "error" in case.case:
        refused(case)
        return
    received = answer(case)
    assert received["status_code"] == case.case["response"].get("status_code", 200)
    parsed = botocore_parse(case, received)
    # botocore does not look for the id in an answer without output.
    assert parsed.pop("ResponseMetadata").get("RequestId", received["headers"].get("x-amzn-requestid")) == REQUEST_ID
    assert settle(parsed) == case.case["result"]


def as_recorded(case: Case) -> None:
    """Our answer is the one that the case holds, but for what every answer has."""
    received, recorded = answer(case), case.case["response"]
    for name, value in (recorded.get("headers") or {}).items():
        if name.lower() not in ("content-type", "content-length"):
            assert received["headers"].get(name) == value
    assert received["body"] == (recorded.get("body") or "").encode()


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
    if case.id in BOTOCORE_MISREADS:
        as_recorded(case)
    else:
        answered(case)


@pytest.mark.parametrize("name", [*CANNOT_APPLY, *sorted(BOTOCORE_MISREADS)])
def test_what_cannot_apply_still_exists_and_still_fails(name: str) -> None:
    run: Callable[[Case], None]
    case, run = (INPUTS[name], understood) if name in INPUTS else (OUTPUTS[name], answered)
    try:
        run(case)
    except Exception:
        return
    pytest.fail(f"{name} passes; it is no exception any more")


def test_nearly_every_case_applies(capsys: pytest.CaptureFixture[str]) -> None:
    for title, run in (("requests", INPUTS), ("answers", OUTPUTS)):
        suites: dict[str, list[bool]] = {}
        for name in run:
            suites.setdefault(name.partition(":")[0], []).append(name not in CANNOT_APPLY)
        current = [applies for suite, cases in suites.items() if not suite.startswith("legacy/") for applies in cases]
        with capsys.disabled():
            print(f"\n{title}: {sum(current)} of {len(current)}")
            for suite, cases in suites.items():
                print(f"  {suite}: {sum(cases)} of {len(cases)}")
        assert sum(current) >= 0.95 * len(current)
