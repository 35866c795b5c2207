"""restXml beyond the suites: S3's own ways, made from botocore's model of S3."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import Loader
from suites import in_memory, response_dict

from cloudstead.edge.protocols import protocol
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import AccessDenied, ServiceError
from generate.model import plain as plain_model

WIRE = protocol("rest-xml")
WANTED = (
    "GetBucketLocation",
    "PutBucketTagging",
    "PutBucketAcl",
    "GetBucketAcl",
    "ListObjectsV2",
    "CopyObject",
    "PutObject",
    "CreateBucket",
    "GetObject",
)


def s3() -> Any:
    description = plain_model(Loader().load_service_model("s3", "service-2"))
    description["operations"] = {name: description["operations"][name] for name in WANTED}
    return in_memory(description)


S3 = s3()


def parse(operation: str, body: bytes, target: str = "/bucket", **headers: str) -> Any:
    request = HttpRequest.of("PUT", target, [(name.replace("_", "-"), value) for name, value in headers.items()], body)
    return WIRE.parser(S3, operation)(request, body, {"Bucket": "bucket", "Key": "key"})


def test_the_location_of_a_bucket_is_a_bare_text() -> None:
    answer = S3.response("GetBucketLocation")
    body = WIRE.serializer(S3, "GetBucketLocation")(answer(location_constraint="eu-west-1"), "id").body
    assert body == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>'
    )
    assert b"></LocationConstraint>" in bytes(WIRE.serializer(S3, "GetBucketLocation")(answer(), "id").body)  # type: ignore[arg-type]


def test_attributes_with_a_prefix_go_both_ways() -> None:
    body = (
        b'<AccessControlPolicy><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
        b"<ID>1</ID></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )
    grants = parse("PutBucketAcl", body).access_control_policy.grants
    assert (grants[0].grantee.type, grants[0].grantee.id) == ("CanonicalUser", "1")
    answer = bytes(WIRE.serializer(S3, "GetBucketAcl")(S3.response("GetBucketAcl")(grants=grants), "id").body)  # type: ignore[arg-type]
    assert b'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">' in answer


@pytest.mark.parametrize("namespace", [b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b' xmlns="urn:other"'])
def test_namespaces_do_not_matter(namespace: bytes) -> None:
    body = b"<Tagging%s><TagSet><Tag><Key>a</Key><Value> b </Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>" % namespace
    tags = parse("PutBucketTagging", body, "/bucket?tagging").tagging.tag_set
    assert [(tag.key, tag.value) for tag in tags] == [("a", " b "), ("c", "")]


@pytest.mark.parametrize(
    "body",
    [
        b"<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key><b/></Key><Value/></Tag></TagSet></Tagging>",
        b"<Tagging>",
        b"Tagging",
        b"<x:Tagging/>",
        b"<Tagging>&nbsp;</Tagging>",
        b"\xff",
    ],
)
def test_broken_xml_is_malformed(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        parse("PutBucketTagging", body, "/bucket?tagging")
    assert (caught.value.code, caught.value.status) == ("MalformedXML", 400)
    assert caught.value.message.startswith("The XML you provided was not well-formed")


def test_an_error_of_s3_has_nothing_around_it() -> None:
    response = WIRE.error(S3, AccessDenied("Access Denied"), "id-1")
    assert response.status == 403
    assert response.headers == [("x-amz-request-id", "id-1"), ("x-amz-id-2", "id-1"), ("Content-Type", "application/xml")]
    assert response.body == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>id-1</RequestId><HostId>id-1</HostId></Error>"
    )


def test_a_body_streams_both_ways() -> None:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    stream = pieces()
    request = HttpRequest.of("PUT", "/bucket/key")
    assert WIRE.parser(S3, "PutObject")(request, stream, {"Bucket": "bucket", "Key": "key"}).body is stream  # type: ignore[attr-defined]
    response = WIRE.serializer(S3, "GetObject")(S3.response("GetObject")(body=pieces(), content_type="text/x", metadata={"a": "1"}), "id")
    assert ("Content-Type", "text/x") in response.headers
    assert ("x-amz-meta-a", "1") in response.headers
    assert response_dict(response, "GetObject")["body"] == b"ab"


def test_a_copy_is_told_from_a_put_by_its_header() -> None:
    assert S3.routes.match("PUT", "/bucket/key", "")[0] == "PutObject"
    assert S3.routes.match("PUT", "/bucket/key", "", {"x-amz-copy-source": "/a/b"})[0] == "CopyObject"
