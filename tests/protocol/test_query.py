"""The query protocol beyond the suites: what forms may look like, what is refused and in which words, what answers look like byte for byte."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from suites import in_memory

from cloudstead.edge.protocols import ServiceModel, protocol
from cloudstead.edge.protocols.compression import decompress
from cloudstead.edge.protocols.query import decode_form
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import AccessDenied, InternalFailure, MalformedRequest, ServiceError
from cloudstead.services.iam import api

IAM = ServiceModel.load("iam")
QUERY = protocol("query")


def parse(operation: str, form: str, target: str = "/", method: str = "POST") -> Any:
    return QUERY.parser(IAM, operation)(HttpRequest.of(method, target), form.encode(), {})


def refusal(operation: str, form: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        parse(operation, form)
    return caught.value


def test_parameters_may_stand_in_the_query_string_of_a_get() -> None:
    assert parse("GetUser", "", "/?Action=GetUser&UserName=ann&X-Amz-Signature=1", "GET").user_name == "ann"


def test_plus_is_a_blank_and_percent_a_byte_of_utf8() -> None:
    assert parse("CreateRole", "RoleName=r&AssumeRolePolicyDocument=%7B+%7D&Description=caf%C3%A9+%2B").description == "café +"


@settings(max_examples=1000, deadline=None, database=None)
@given(
    st.lists(
        st.sampled_from([b"%41", b"%0a", b"%3D", b"%%", b"%zz", b"%4", b"%", b"=", b"==", b"+", b"\n", b"\r\n", b"_", b"z", b" \n", b"%20"])
    )
)
def test_escapes_are_decoded_as_everywhere(pieces: list[bytes]) -> None:
    form = b"%6e+=" + b"".join(pieces)
    assert decode_form(form) == [("n ", unquote_to_bytes(b"".join(pieces).replace(b"+", b" ")).decode())]


def test_list_elements_are_taken_by_ascending_index_whatever_their_order() -> None:
    tags = [
        "Tags.member.10.Key=c&Tags.member.10.Value=3",
        "Tags.member.2.Key=b&Tags.member.2.Value=2",
        "Tags.member.1.Value=1&Tags.member.1.Key=a",
    ]
    for order in itertools.permutations(tags):
        made = parse("TagUser", "UserName=ann&" + "&".join(order))
        assert made.tags == [api.Tag(key="a", value="1"), api.Tag(key="b", value="2"), api.Tag(key="c", value="3")]


def test_an_empty_list_is_not_no_list() -> None:
    assert parse("TagUser", "UserName=ann&Tags=").tags == []
    assert parse("TagUser", "UserName=ann&Tags.member=").tags == []


def test_unknown_parameters_are_passed_over() -> None:
    assert parse("GetUser", "UserName=ann&Nonsense.member.1=x&Tags.=y&=z&&").user_name == "ann"


@pytest.mark.parametrize("value", ["True", "1", "yes", "", " true"])
def test_only_true_and_false_are_booleans(value: str) -> None:
    assert isinstance(refusal("ListPolicies", f"OnlyAttached={value}"), MalformedRequest)


@pytest.mark.parametrize("value", ["1_0", "0x10", "1.0", "", " 1", "\uff19", "1e2", "9" * 30])
def test_only_digits_are_integers(value: str) -> None:
    error = refusal("ListUsers", f"MaxItems={value}")
    assert (error.code, error.status) == ("MalformedInput", 400)
    assert "MaxItems" in error.message


@pytest.mark.parametrize(
    "form", ["Tags.member.x.Key=a", "Tags.member.-1.Key=a", "Tags.Key=a", "Tags=a", "UserName.x=a", "Tags.member.1=a", "UserName=%FF"]
)
def test_names_and_values_that_fit_no_shape_are_malformed(form: str) -> None:
    assert isinstance(refusal("TagUser", form), MalformedRequest)


def test_all_broken_constraints_are_listed_in_awss_words() -> None:
    error = refusal("CreateUser", "UserName=a%20b&Tags.member.1.Key=")
    assert (error.code, error.status) == ("ValidationError", 400)
    assert error.message == (
        "4 validation errors detected: "
        r"Value 'a b' at 'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+; "
        "Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1; "
        r"Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+; "
        "Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null"
    )


def test_a_missing_member_is_null() -> None:
    error = refusal("DeleteRole", "")
    assert error.message == "1 validation error detected: Value null at 'roleName' failed to satisfy constraint: Member must not be null"


def test_an_answer_byte_for_byte() -> None:
    user = api.User(path="/", user_name="a<&>b", user_id="AIDA", arn="arn:aws:iam::1:user/a", create_date=1700000000.0, tags=[])
    response = QUERY.serializer(IAM, "GetUser")(api.GetUserResponse(user=user), "id-1")
    assert response.status == 200
    assert response.headers == [("x-amzn-RequestId", "id-1"), ("Content-Type", "text/xml")]
    assert response.body == (
        b'<GetUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetUserResult><User><Path>/</Path><UserName>a&lt;&amp;&gt;b</UserName>'
        b"<UserId>AIDA</UserId><Arn>arn:aws:iam::1:user/a</Arn><CreateDate>2023-11-14T22:13:20Z</CreateDate><Tags></Tags></User></GetUserResult>"
        b"<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetUserResponse>\n"
    )


def test_an_operation_without_output_has_no_result_element() -> None:
    response = QUERY.serializer(IAM, "DeleteUser")(api.DeleteUserResponse(), "id-1")
    assert response.body == (
        b'<DeleteUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata>'
        b"</DeleteUserResponse>\n"
    )


def test_an_error_byte_for_byte() -> None:
    response = QUERY.error(IAM, api.NoSuchEntityException("The user with name <b> cannot be found."), "id-1")
    assert response.status == 404
    assert response.body == (
        b'<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>'
        b"<Message>The user with name &lt;b&gt; cannot be found.</Message></Error><RequestId>id-1</RequestId></ErrorResponse>\n"
    )


def test_common_errors_have_their_xml_codes_and_faults() -> None:
    assert b"<Type>Sender</Type><Code>AccessDenied</Code>" in bytes(QUERY.error(IAM, AccessDenied("no"), "id").body)  # type: ignore[arg-type]
    response = QUERY.error(None, InternalFailure("bug"), "id")
    assert (response.status, b"<Type>Receiver</Type><Code>InternalFailure</Code>" in bytes(response.body)) == (500, True)  # type: ignore[arg-type]


def test_what_xml_cannot_hold_does_not_break_an_answer() -> None:
    user = api.User(path="/", user_name="\x00\ud800\ufffe\r", user_id="A", arn="a", create_date=0.0)
    body = QUERY.serializer(IAM, "GetUser")(api.GetUserResponse(user=user), "id").body
    assert isinstance(body, bytes)
    assert "<UserName>\ufffd\ufffd\ufffd&#xD;</UserName>".encode() in body


EC2_MODEL = in_memory(
    {
        "metadata": {
            "protocol": "ec2",
            "protocols": ["ec2"],
            "apiVersion": "2016-11-15",
            "xmlNamespace": "http://ec2.amazonaws.com/doc/2016-11-15",
        },
        "operations": {
            "RunInstances": {
                "name": "RunInstances",
                "http": {"method": "POST", "requestUri": "/"},
                "input": {"shape": "RunInstancesRequest"},
                "output": {"shape": "Reservation"},
            }
        },
        "shapes": {
            "RunInstancesRequest": {
                "type": "structure",
                "required": ["MaxCount", "MinCount"],
                "members": {
                    "MaxCount": {"shape": "Integer"},
                    "MinCount": {"shape": "Integer"},
                    "InstanceType": {"shape": "InstanceType"},
                    "Placement": {"shape": "Placement"},
                    "SecurityGroupIds": {"shape": "GroupIds", "locationName": "SecurityGroupId"},
                    "DryRun": {"shape": "Boolean", "locationName": "dryRun"},
                },
            },
            "Reservation": {
                "type": "structure",
                "members": {
                    "LaunchTime": {"shape": "DateTime", "locationName": "launchTime"},
                    "Groups": {"shape": "GroupIds", "locationName": "groupSet"},
                },
            },
            "Placement": {"type": "structure", "members": {"Tenancy": {"shape": "GroupId"}}},
            "GroupIds": {"type": "list", "member": {"shape": "GroupId", "locationName": "item"}},
            "GroupId": {"type": "string", "max": 20},
            "InstanceType": {"type": "string", "enum": ["t3.micro", "t3.small"]},
            "Integer": {"type": "integer"},
            "Boolean": {"type": "boolean"},
            "DateTime": {"type": "timestamp"},
        },
    }
)


def run_instances(form: str) -> Any:
    return protocol("ec2").parser(EC2_MODEL, "RunInstances")(HttpRequest.of("POST", "/"), form.encode(), {})


def test_ec2_lists_have_no_member_and_names_a_capital() -> None:
    made = run_instances("Action=RunInstances&Version=2016-11-15&MaxCount=1&MinCount=1&SecurityGroupId.2=b&SecurityGroupId.1=a&DryRun=true")
    assert (made.max_count, made.security_group_ids, made.dry_run) == (1, ["a", "b"], True)


@pytest.mark.parametrize(
    ("form", "code", "message"),
    [
        ("MaxCount=1", "MissingParameter", "The request must contain the parameter MinCount"),
        (
            "MaxCount=one&MinCount=1",
            "InvalidParameterValue",
            "Value (one) for parameter MaxCount is invalid. The value must be an integer.",
        ),
        ("MaxCount=1&MinCount=1&Colour=red", "UnknownParameter", "The parameter Colour is not recognized"),
        ("MaxCount=1&MinCount=1&Placement.Planet=mars", "UnknownParameter", "The parameter Placement.Planet is not recognized"),
        (
            "MaxCount=1&MinCount=1&InstanceType=big",
            "InvalidParameterValue",
            "Value (big) for parameter InstanceType is invalid. Member must satisfy enum value set: [t3.micro, t3.small]",
        ),
    ],
)
def test_ec2_has_its_own_words(form: str, code: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        run_instances(form)
    assert (caught.value.code, caught.value.message) == (code, message)
    response = protocol("ec2").error(EC2_MODEL, caught.value, "id-1")
    assert (
        response.body
        == (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>id-1</RequestID></Response>"
        ).encode()
    )


def test_an_ec2_answer_byte_for_byte() -> None:
    answer = EC2_MODEL.response("RunInstances")(launch_time=1282007718.0, groups=["a"])  # type: ignore[call-arg]
    assert protocol("ec2").serializer(EC2_MODEL, "RunInstances")(answer, "id-1").body == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15"><requestId>id-1</requestId>'
        b"<launchTime>2010-08-17T01:15:18.000Z</launchTime><groupSet><item>a</item></groupSet></RunInstancesResponse>"
    )


def test_a_bomb_of_zeros_is_not_decompressed() -> None:
    import gzip

    from cloudstead.http.messages import BodyTooLong

    with pytest.raises(BodyTooLong):
        decompress(gzip.compress(b"\x00" * (65 << 20)))


@pytest.mark.parametrize("body", [b"", b"plain", b"\x1f\x8b\x08\x00"])
def test_what_is_not_gzip_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decompress(body)
