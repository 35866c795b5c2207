"""A page of another site must not command a daemon that takes this machine's programs for root."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from cloudstead import datadir
from cloudstead.edge.browsers import ForeignPage, refuse_foreign
from cloudstead.http.messages import HttpRequest
from support import CloudThread, client_of

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://evil.example:4566"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://[broken"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Host": "evil.example:4566"},
    {"Host": "amazonaws.com.evil.example"},
]
OURS = [
    {},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://app.localhost:5173"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Host": "cloudstead:4566"},
    {"Host": "[::1]:4566"},
    {"Host": "192.168.1.7:4566"},
    {"Host": "bucket.s3.eu-west-1.amazonaws.com"},
    {"Host": "bucket.s3.localhost.localstack.cloud:4566"},
    {"Host": "host.docker.internal:4566"},
]


def request(headers: dict[str, str]) -> HttpRequest:
    return HttpRequest.of("POST", "/", list({"Host": "127.0.0.1:4566", **headers}.items()))


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ForeignPage):
        refuse_foreign(request(headers))


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_programs_and_pages_of_this_machine_are_not(headers: dict[str, str]) -> None:
    refuse_foreign(request(headers))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudThread]:
    with CloudThread(tmp_path_factory.mktemp("browsers") / "data") as running:
        yield running


@pytest.mark.parametrize("query", ["", "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test/20260101/us-east-1/iam/aws4_request&X-Amz-Date=20260101T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0"])  # fmt: skip
def test_a_form_that_a_page_sends_changes_nothing(cloud: CloudThread, query: str) -> None:
    """What a browser sends without asking first: a form, with made-up credentials in the address if it likes."""
    form = urllib.request.Request(
        f"{cloud.endpoint}/{query}", b"Action=CreateUser&UserName=mallory&Version=2010-05-08", {"Origin": "https://evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(form)
    assert caught.value.code == 403
    assert b"<Code>AccessDenied</Code>" in caught.value.read()
    assert cloud.client("iam").list_users()["Users"] == []


def test_a_page_with_a_key_is_as_good_as_a_program_with_one(cloud: CloudThread) -> None:
    key = datadir.root_key(cloud.settings.data)
    iam = client_of(cloud.endpoint, "iam", key=key.access_key_id, secret=key.secret_access_key)
    iam.meta.events.register("before-send", lambda request, **_: request.headers.update({"Origin": "https://evil.example"}))
    assert iam.list_users()["Users"] == []
