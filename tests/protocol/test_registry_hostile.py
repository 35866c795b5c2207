"""What clients send that mean ill, or that die: orderly refusals, uploads that can be gone on with, and never a 500."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_support import PASSWORD, REGISTRY, Content, RegistryThread, raw

from cloudstead.engine.registry.http import paths
from cloudstead.engine.registry.model import Repository
from cloudstead.http.limits import Limits
from registry_client import Client, digest_of
from waiting import until

CODES = {
    "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "MANIFEST_UNKNOWN",
    "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
}  # fmt: skip
UPLOADS = "/v2/app/blobs/uploads/"
AUTHORIZATION = b"Authorization: Basic " + base64.b64encode(f"AWS:{PASSWORD}".encode()) + b"\r\n"
SECONDS = 20.0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryThread]:
    with RegistryThread(tmp_path_factory.mktemp("registry"), "app", "other", limits=Limits(half_closed_timeout=1.0)) as running:
        yield running


@pytest.fixture
def client(registry: RegistryThread) -> Iterator[Client]:
    with registry.client() as opened:
        yield opened


def begun(client: Client) -> str:
    return client.ask("POST", UPLOADS).location


def size_of(client: Client, location: str) -> str | None:
    return client.ask("GET", location).get("Range")


NAMES = [
    "App", "app/", "/app", "a//b", "..", "../../etc", "app/../other", "a..b", "a___b", "-a", "a-", "%2e%2e/app", "a%00b", "a%2f%2fb", "%ff%fe", "a%20b",
    "a" * 257, "a/" * 200 + "a", "a" * 60_000, "__", "caf%C3%A9",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", "manifests/latest"), ("POST", "blobs/uploads/"), ("PUT", "manifests/x"), ("GET", "tags/list")]
)
def test_a_name_that_no_repository_can_have_is_refused(client: Client, method: str, rest: str, name: str) -> None:
    answer = client.ask(method, f"/v2/{name}/{rest}")
    assert answer.status in (400, 404)
    assert answer.code in ("NAME_INVALID", "NAME_UNKNOWN")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:..%2f..%2f..%2fstate.db",
        "sha256:../../../state.db",
        "..%2f..%2fstate.db",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:",
        ":",
        "%00",
        "sha256:" + "%" * 64,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_digest_that_would_be_a_path_is_refused(client: Client, method: str, digest: str) -> None:
    answer = client.ask(method, f"/v2/app/blobs/{digest}")
    assert answer.status in (400, 404, 405)
    assert method == "HEAD" or answer.code in CODES


@pytest.mark.parametrize(
    "upload",
    [
        "..",
        "x",
        "%2e%2e",
        "../sha256",
        "4A8B1D0E-0000-4000-8000-000000000000",
        "0" * 36,
        "a" * 5000,
        "4a8b1d0e-0000-4000-8000-000000000000",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_id_that_no_upload_has_is_unknown(client: Client, method: str, upload: str) -> None:
    answer = client.ask(method, UPLOADS + upload, b"data" if method in ("PATCH", "PUT") else None, digest=digest_of(b"data"))
    assert answer.status in (400, 404, 405)
    assert answer.code in CODES


@pytest.mark.parametrize("tag", [".", "..", "-x", "a" * 129, "a%20b", "%C3%A9", "a%2fb", "x%0d%0aSet-Cookie:%20a=b"])
def test_a_tag_that_cannot_be_is_refused(client: Client, tag: str) -> None:
    content = Content("x")
    data = content.image()
    for blob in content.blobs:
        client.push_blob("app", blob)
    answer = client.push_manifest("app", tag, data)
    assert answer.status in (400, 404)
    assert answer.code in CODES
    assert answer.get("Set-Cookie") is None
    assert client.ask("GET", f"/v2/app/manifests/{tag}").status == 404
    assert client.push_manifest("app", digest_of(data), data, tag=["fine", "not\r\nfine"]).status == 400


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "", "\u0663", "0x10", "1" * 5000, "NaN"])
@pytest.mark.parametrize("path", ["/v2/app/tags/list", "/v2/_catalog"])
def test_a_strange_number_of_things_is_refused_or_bounded(client: Client, path: str, n: str) -> None:
    answer = client.ask("GET", path, n=n)
    assert answer.status == 200 if n == "1" * 5000 else (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_a_page_has_a_thousand_names_at_most(registry: RegistryThread, client: Client) -> None:
    registry.gate.names.update(f"many/{number:04}" for number in range(1100))
    try:
        page = client.ask("GET", "/v2/_catalog", n="1000000000000")
        assert len(page.json()["repositories"]) == 1000
        assert page.get("Link") is not None
    finally:
        registry.gate.names = {"app", "other"}


def test_too_many_parameters_are_refused(client: Client) -> None:
    assert client.ask("POST", UPLOADS + "?" + "digest=x&" * 2000).status == 414


@pytest.mark.parametrize(
    "chunk", ["5-1", "x", "-5", "0-", "bytes", "0-1-2", "9" * 40 + "-" + "9" * 41, "\u0660-\u0661".encode().decode("latin-1"), "0-99"]
)
def test_a_chunk_that_contradicts_itself_is_refused_and_adds_nothing(client: Client, chunk: str) -> None:
    location = begun(client)
    answer = client.ask("PATCH", location, b"data", {"Content-Range": chunk})
    assert answer.status in (400, 416)
    assert answer.code in ("BLOB_UPLOAD_INVALID", "SIZE_INVALID")
    assert client.ask("PATCH", location, b"data").get("Range") == "0-3"


def test_http_s_own_form_of_a_chunk_s_range_is_understood(client: Client) -> None:
    assert client.ask("PATCH", begun(client), b"data", {"Content-Range": "bytes 0-3/*"}).status == 202


def test_an_upload_is_known_in_its_own_repository_only(client: Client) -> None:
    upload = begun(client).rpartition("/")[2]
    assert client.ask("GET", f"/v2/other/blobs/uploads/{upload}").code == "BLOB_UPLOAD_UNKNOWN"


def test_of_two_that_write_to_one_upload_at_once_one_is_told_to_wait(registry: RegistryThread, client: Client) -> None:
    location = begun(client)
    hold, sent = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"a" * 10
        sent.set()
        hold.wait(SECONDS)
        yield b"b" * 10

    with registry.client() as first:
        answers: list[int] = []
        writer = threading.Thread(target=lambda: answers.append(first.ask("PATCH", location, slowly()).status))
        writer.start()
        assert sent.wait(SECONDS)
        until(lambda: bool(registry.api.catalog.content._writing))  # or ours might be the first
        for method in ("PATCH", "PUT", "DELETE"):
            refused = client.ask(method, location, b"c", digest=digest_of(b"c"))
            assert (refused.status, refused.code) == (409, "BLOB_UPLOAD_INVALID")
        hold.set()
        writer.join(SECONDS)
    assert answers == [202]
    data = b"a" * 10 + b"b" * 10
    assert client.ask("PUT", location, digest=digest_of(data)).status in (201, 400)


def patching(location: str, length: int, *more: str) -> bytes:
    extra = "".join(f"{line}\r\n" for line in more)
    return f"PATCH {location} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{extra}".encode() + AUTHORIZATION + b"\r\n"


@pytest.mark.parametrize("shut", [True, False], ids=["half closed", "gone"])
@pytest.mark.parametrize("size", [1000, 3 << 20, 12 << 20])
def test_an_upload_whose_client_vanishes_can_be_gone_on_with(registry: RegistryThread, client: Client, size: int, shut: bool) -> None:
    location, data = begun(client), os.urandom(size + 5000)
    raw(registry.port, patching(location, len(data)), data[:size], shut=shut, read=shut)
    until(lambda: size_of(client, location) == f"0-{size - 1}" and client.ask("PATCH", location, b"").status == 202)
    done = client.ask("PUT", location, data[size:], {"Content-Range": f"{size}-{len(data) - 1}"}, digest=digest_of(data))
    assert done.status == 201
    assert client.ask("GET", done.location).body == data


def test_a_client_that_vanishes_in_the_middle_of_a_chunk_leaves_what_came(registry: RegistryThread, client: Client) -> None:
    location = begun(client)
    head = f"PATCH {location} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n".encode() + AUTHORIZATION + b"\r\n"
    answer = raw(registry.port, head, b"5\r\nhello\r\n", b"zz\r\n")
    assert b"400 Bad Request" in answer
    until(lambda: size_of(client, location) == "0-4")


def test_a_put_that_breaks_off_makes_no_blob(registry: RegistryThread, client: Client) -> None:
    data = os.urandom(100_000)
    location = begun(client)
    head = (
        f"PUT {location}?digest={digest_of(data)} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(data)}\r\n".encode()
        + AUTHORIZATION
        + b"\r\n"
    )
    raw(registry.port, head, data[:50_000], shut=True)
    assert client.ask("HEAD", f"/v2/app/blobs/{digest_of(data)}").status == 404
    until(lambda: size_of(client, location) == "0-49999")
    assert client.ask("PUT", location, data[50_000:], digest=digest_of(data)).status == 201


def test_a_push_in_one_go_that_breaks_off_leaves_nothing(registry: RegistryThread) -> None:
    uploads = registry.data / "blobs" / "uploads"
    before = set(uploads.iterdir())
    data = os.urandom(1 << 20)
    head = (
        f"POST {UPLOADS}?digest={digest_of(data)} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(data)}\r\n".encode()
        + AUTHORIZATION
        + b"\r\n"
    )
    raw(registry.port, head, data[: 1 << 19], shut=True)
    until(lambda: set(uploads.iterdir()) <= before)


def test_descriptors_are_given_back(registry: RegistryThread, client: Client) -> None:
    digest = client.push_blob("app", os.urandom(8 << 20))
    get = f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: test\r\n".encode() + AUTHORIZATION + b"\r\n"
    raw(registry.port, get, read=False)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        raw(registry.port, get, read=False)
        raw(registry.port, patching(begun(client), 100), b"x", read=False)
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)


def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    with RegistryThread(tmp_path, "app") as running, running.client() as client:
        location, idle = begun(client), begun(client)
        sha512 = client.ask("POST", UPLOADS, digest_algorithm="sha512").location
        for each in (location, sha512):
            assert client.ask("PATCH", each, data[: 1 << 20]).status == 202
        kept = client.push_blob("app", b"kept")
    with RegistryThread(tmp_path, "app") as running, running.client() as client:
        assert client.ask("GET", f"/v2/app/blobs/{kept}").body == b"kept"
        assert size_of(client, location) == size_of(client, sha512) == f"0-{(1 << 20) - 1}"
        assert client.ask("PUT", idle, b"{}", digest=digest_of(b"{}")).status == 201
        for each, algorithm in ((location, "sha256"), (sha512, "sha512")):
            done = client.ask("PUT", each, data[1 << 20 :], digest=digest_of(data, algorithm))
            assert done.status == 201
            assert client.ask("GET", done.location).body == data


def test_a_blob_whose_file_is_gone_is_unknown(registry: RegistryThread, client: Client) -> None:
    digest = client.push_blob("app", os.urandom(64))
    (registry.data / "blobs" / "sha256" / digest[7:]).unlink()
    assert client.ask("GET", f"/v2/app/blobs/{digest}").code == "BLOB_UNKNOWN"


def test_a_tag_brought_by_a_pull_through_cache_is_there_at_once(registry: RegistryThread, client: Client) -> None:
    content = Content("far")
    data = content.image()
    for blob in content.blobs:
        client.push_blob("app", blob)

    async def bring(rules: object) -> None:
        await registry.api.catalog.put(rules, data, tag="far")  # type: ignore[arg-type]

    registry.gate.pulled_through["far"] = bring
    assert client.ask("GET", "/v2/app/manifests/far").body == data
    assert registry.gate.pulls[-1] == digest_of(data)


def test_an_archived_image_cannot_be_pulled(registry: RegistryThread, client: Client) -> None:
    content = Content("old")
    data = content.image()
    for blob in content.blobs:
        client.push_blob("app", blob)
    assert client.push_manifest("app", "old", data).status == 201

    async def archive() -> None:
        from cloudstead.engine.registry.model import IMAGES

        catalog = registry.api.catalog
        row = catalog.image(Repository(REGISTRY, "app"), digest_of(data))
        assert row is not None
        with catalog.store.transaction() as tx:
            tx.update(IMAGES, row, status="ARCHIVED")

    registry.do(archive)
    assert client.ask("GET", "/v2/app/manifests/old").code == "MANIFEST_UNKNOWN"
    assert client.ask("HEAD", "/v2/app/manifests/old").status == 404


def test_who_deletes_what_somebody_else_is_reading_does_not_cut_them_off(registry: RegistryThread, client: Client) -> None:
    data = os.urandom(4 << 20)
    digest = client.push_blob("app", data)
    with registry.client() as reader:
        reader._connection.request("GET", f"/v2/app/blobs/{digest}", headers={"Authorization": reader.headers["Authorization"]})
        response = reader._connection.getresponse()
        assert client.ask("DELETE", f"/v2/app/blobs/{digest}").status == 202
        assert response.read() == data


def test_fifty_pushes_of_one_layer_at_once_all_succeed(registry: RegistryThread) -> None:
    data = os.urandom(200_000)
    statuses: list[int] = []

    def push() -> None:
        with registry.client() as own:
            statuses.append(own.ask("PUT", begun(own), data, digest=digest_of(data)).status)

    writers = [threading.Thread(target=push) for _ in range(50)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(SECONDS)
    assert statuses == [201] * 50


_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
_PART = st.one_of(
    st.sampled_from(["app", "manifests", "blobs", "uploads", "tags", "list", "referrers", "..", "", "_catalog", digest_of(b"")]), _TEXT
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    parts=st.lists(_PART, max_size=6),
    query=st.dictionaries(
        st.sampled_from(["digest", "mount", "from", "n", "last", "tag", "artifactType", "digest-algorithm"]), _TEXT, max_size=3
    ),
    headers=st.dictionaries(st.sampled_from(["Range", "Content-Range", "Content-Type", "If-None-Match", "If-Range"]), _TEXT, max_size=3),
    body=st.binary(max_size=200),
)
def test_nothing_that_is_sent_makes_the_registry_fail(
    client: Client, method: str, parts: list[str], query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    answer = client.ask(method, "/v2/" + "/".join(parts), body if method in ("POST", "PUT", "PATCH") else None, headers, **query)
    assert answer.status < 500
    if answer.status >= 400 and method != "HEAD" and answer.body and answer.get("Content-Type") == "application/json":
        assert answer.code in CODES


@given(st.text(max_size=60))
def test_any_path_can_be_taken_apart(path: str) -> None:
    kind, name, rest = paths.split("/" + path)
    assert all(isinstance(each, str) for each in (kind, name, rest))
