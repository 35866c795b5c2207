"""Routes of the REST protocols."""

from __future__ import annotations

import pytest
from botocore.loaders import Loader

from cloudstead.edge.protocols.rest import Routes
from cloudstead.kernel.errors import MalformedRequest

ROUTES = Routes(
    {
        name: {"method": method, "requestUri": uri}
        for name, method, uri in [
            ("List", "GET", "/things"),
            ("Get", "GET", "/things/{Id}"),
            ("GetSpecial", "GET", "/things/special"),
            ("GetPart", "GET", "/things/{Id}/parts/{Part}"),
            ("GetTags", "GET", "/things/{Id}?tags"),
            ("Upload", "POST", "/things/{Id}?uploads&type=a"),
            ("Put", "PUT", "/{Bucket}/{Key+}"),
            ("PutTags", "PUT", "/{Bucket}/{Key+}?tagging"),
            ("PutBucket", "PUT", "/{Bucket}"),
            ("Sub", "GET", "/deep/{Path+}/end"),
            ("Any", "GET", "/deep/{Path+}"),
            ("Hinted", "DELETE", "/{Bucket}/{Key+}?x-id=Hinted"),
        ]
    }
)


@pytest.mark.parametrize(
    ("method", "target", "operation", "labels"),
    [
        ("GET", "/things", "List", {}),
        ("GET", "/things/", "List", {}),
        ("GET", "/things/5", "Get", {"Id": "5"}),
        ("GET", "/things/a%2Fb%20c%C3%BC", "Get", {"Id": "a/b cü"}),
        ("GET", "/things/a+b", "Get", {"Id": "a+b"}),
        ("GET", "/things/special", "GetSpecial", {}),
        ("GET", "/things/special/parts/7", "GetPart", {"Id": "special", "Part": "7"}),
        ("GET", "/things/5?tags", "GetTags", {"Id": "5"}),
        ("GET", "/things/5?tags=&x=1", "GetTags", {"Id": "5"}),
        ("POST", "/things/5?type=a&uploads", "Upload", {"Id": "5"}),
        ("PUT", "/b/k", "Put", {"Bucket": "b", "Key": "k"}),
        ("PUT", "/b/k//x/../y/", "Put", {"Bucket": "b", "Key": "k//x/../y/"}),
        ("PUT", "/b/k/x?tagging", "PutTags", {"Bucket": "b", "Key": "k/x"}),
        ("PUT", "/b", "PutBucket", {"Bucket": "b"}),
        ("PUT", "/b/", "PutBucket", {"Bucket": "b"}),
        ("GET", "/deep/a/b/end", "Sub", {"Path": "a/b"}),
        ("GET", "/deep/a/b", "Any", {"Path": "a/b"}),
        ("DELETE", "/b/k", "Hinted", {"Bucket": "b", "Key": "k"}),
    ],
)
def test_a_request_finds_its_operation(method: str, target: str, operation: str, labels: dict[str, str]) -> None:
    path, _, query = target.partition("?")
    assert ROUTES.match(method, path, query) == (operation, labels)


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/"), ("GET", "/nothing"), ("DELETE", "/things"), ("POST", "/things/5?uploads&type=b"), ("GET", "/things/5/6")],
)
def test_what_no_operation_has_is_no_route(method: str, target: str) -> None:
    path, _, query = target.partition("?")
    assert ROUTES.match(method, path, query) is None


def test_a_label_must_be_utf8() -> None:
    with pytest.raises(MalformedRequest):
        ROUTES.match("GET", "/things/%FF", "")


@pytest.mark.parametrize("service", ["lambda", "apigateway", "batch", "s3", "efs", "route53"])
def test_every_operation_of_a_service_is_found_by_its_own_route(service: str) -> None:
    operations = Loader().load_service_model(service, "service-2")["operations"]
    routes = Routes({name: operation["http"] for name, operation in operations.items()})
    claimed = {}
    for name, operation in operations.items():
        method, (path, _, query) = operation["http"]["method"], operation["http"]["requestUri"].partition("?")
        found = routes.match(method, path.replace("{", "").replace("+}", "").replace("}", ""), query)
        assert found is not None
        if found[0] != name:  # some operations differ in parameters that only the input has, as ListObjects and GetBucketLocation did
            claimed[name] = found[0]
    assert all(operations[name]["http"] == operations[other]["http"] or service == "s3" for name, other in claimed.items()), claimed
