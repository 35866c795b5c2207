"""Whatever stands in a request, a codec makes a request of it or says what is wrong with it; it never breaks.

Requests of botocore's suites are cut, doubled, bent and spiced, for every protocol, and pure noise is sent too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from suites import Case, cases, http_request

from cloudstead.edge.protocols import protocol
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.shapes import Request

PROTOCOLS = ("query", "ec2", "rest-xml", "json", "rest-json", "smithy-rpc-v2-cbor")
CASES = {name: [case for case in cases("input") if case.protocol == name and "input" in case.given] for name in PROTOCOLS}

SPICES = [
    b"\x00", b"\xff\xfe", b"&", b"=", b".", b"%", b"%zz", b"%ff", b"+", b"<", b">", b"</", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&#0;", b"&#x110000;",
    b"<![CDATA[", b"]]>", b"<a>" * 200, b"<?xml version='1.0' encoding='utf-16'?>", b"xmlns:a=''", b".999999999", b".99999999999999999999", b".-1", b".0x1",
    b".member.", b".entry.", b".1", b".key", b".value", b"Infinity", b"NaN", b"1e999", b"-", b"99999999999999999999", b"9" * 5000, b"True", b"null", b"{}", b"[]",
    b"{", b"}", b'"', b"[" * 5000, b'{"a":' * 2000, b"\xbf", b"\x9f", b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x01", b"\xd8\x1e", b"2015-99-99T99:99:99Z",
    b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x98\xb9", b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", b"1970-01-01T00:00:00+99:99",
]  # fmt: skip


@st.composite
def bent(draw: st.DrawFn, whole: bytes) -> bytes:
    """These bytes after a few accidents."""
    data = whole
    for _ in range(draw(st.integers(0, 4))):
        at, until = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        kind = draw(st.sampled_from(("cut", "double", "spice", "noise", "replace")))
        if kind == "cut":
            data = data[:at] + data[until:]
        elif kind == "double":
            data = data[:until] + data[at:]
        elif kind == "noise":
            data = data[:at] + draw(st.binary(max_size=8)) + data[at:]
        else:
            data = data[:at] + draw(st.sampled_from(SPICES)) + data[until if kind == "replace" else at :]
    return data


@st.composite
def hostile(draw: st.DrawFn, name: str) -> tuple[Case, HttpRequest, bytes, Mapping[str, str]]:
    case = draw(st.sampled_from(CASES[name]))
    honest = HONEST[case.id]
    body = draw(st.one_of(bent(honest.body.data), st.binary(max_size=200)))  # type: ignore[attr-defined]
    query = draw(bent(honest.query.encode())) if draw(st.booleans()) else honest.query.encode()
    spice = st.one_of(st.sampled_from(SPICES), st.binary(max_size=20))
    headers = [(key, draw(spice).decode("latin-1") if draw(st.integers(0, 3)) == 0 else value) for key, value in honest.headers]
    labels: dict[str, str] = {}
    if name.startswith("rest-") and (route := COMPILED[case.id].routes.match(honest.method, honest.path, honest.query)):
        labels = {key: draw(spice).decode("latin-1") if draw(st.integers(0, 3)) == 0 else value for key, value in route[1].items()}
    target = honest.path + ("?" + query.decode("latin-1") if query else "")
    return case, HttpRequest.of(honest.method, target, headers, body), body, labels


HONEST = {case.id: http_request(case) for name in PROTOCOLS for case in CASES[name]}
COMPILED: dict[str, Any] = {case.id: case.model() for name in PROTOCOLS for case in CASES[name]}


def parse(case: Case, request: HttpRequest, body: bytes, labels: Mapping[str, str]) -> Request:
    return protocol(case.protocol).parser(COMPILED[case.id], case.operation)(request, body, labels)


def parse_in(identifier: str, request: HttpRequest, body: bytes) -> Any:
    case = next(case for name in PROTOCOLS for case in CASES[name] if case.id == identifier)
    return parse(case, request, body, {})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_input_breaks_a_codec(name: str) -> None:
    @settings(max_examples=3000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(hostile(name))
    def check(given_request: tuple[Case, HttpRequest, bytes, Mapping[str, str]]) -> None:
        case, request, body, labels = given_request
        try:
            parsed = parse(case, request, body, labels)
        except ServiceError as error:
            parsed, response = None, protocol(name).error(COMPILED[case.id], error, "id")
        if parsed is None:
            assert 400 <= response.status < 500
            assert response.body
        else:
            assert isinstance(parsed, Request)

    check()


def test_a_bomb_of_entities_is_refused() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><XmlListsRequest>&b;</XmlListsRequest>'
    for body in (
        bomb,
        b"\xef\xbb\xbf" + bomb,
        bomb.decode().encode("utf-16"),
        bomb.decode().encode("utf-16-be"),
        b"<?xml version='1.0' encoding='utf-7'?>" + bomb,
    ):
        with pytest.raises(ServiceError) as refusal:
            parse_in("input/rest-xml:XmlLists", HttpRequest.of("PUT", "/XmlLists"), body)
        assert refusal.value.code == "MalformedXML"


def test_deep_xml_is_refused() -> None:
    for depth in (101, 200_000):
        with pytest.raises(ServiceError, match="nested"):
            parse_in("input/rest-xml:RecursiveShapes", HttpRequest.of("PUT", "/RecursiveShapes"), b"<a>" * depth + b"</a>" * depth)


def test_a_huge_index_makes_no_huge_list() -> None:
    form = b"Action=QueryLists&ListArg.member.999999999=b&ListArg.member.7=a"
    parsed = parse_in("input/query:QueryLists", HttpRequest.of("POST", "/"), form)
    assert parsed.list_arg == ["a", "b"]


def test_a_deeply_nested_name_is_refused_or_passed_over_quickly() -> None:
    name = b"Nested" + b".RecursiveArg" * 20_000 + b".StringArg=x"
    with pytest.raises(ServiceError):
        parse_in("input/query:NestedStructures", HttpRequest.of("POST", "/"), name)
