"""What OCI distribution-spec 1.1 demands of a registry, and some of what it recommends, over real HTTP. Written from the text of its spec.md.

Every kind of content is pushed, listed, asked for, pulled, referred to and deleted, with every way of pushing a blob; both algorithms of digests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from registry_support import DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_LAYER, Content, RegistryThread

from registry_client import OCI_CONFIG, OCI_MANIFEST, Answer, Client, described, digest_of, header_of

UPLOADS = "/v2/app/blobs/uploads/"
ARTIFACT = "application/vnd.example.config.v1"
ALGORITHMS = ("sha256", "sha512")
NOTES = {"org.opencontainers.conformance": "hello"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryThread]:
    with RegistryThread(tmp_path_factory.mktemp("registry"), "app", "other", "deep/er/name") as running:
        yield running


@pytest.fixture
def client(registry: RegistryThread) -> Iterator[Client]:
    with registry.client() as opened:
        yield opened


# ── ways of pushing a blob ───────────────────────────────────────────────────────────────────────────────────────────


def begin(client: Client, algorithm: str, repository: str = "app") -> str:
    more = {} if algorithm == "sha256" else {"digest_algorithm": algorithm}
    begun = client.ask("POST", f"/v2/{repository}/blobs/uploads/", None, {"Content-Length": "0"}, **more)
    assert begun.status == 202
    assert client.ask("GET", begun.location).status == 204
    return begun.location


def post_only(client: Client, data: bytes, digest: str) -> Answer:
    return client.ask("POST", UPLOADS, data, {"Content-Type": "application/octet-stream"}, digest=digest)


def post_put(client: Client, data: bytes, digest: str) -> Answer:
    return client.ask("PUT", begin(client, digest.partition(":")[0]), data, {"Content-Type": "application/octet-stream"}, digest=digest)


def post_put_unannounced(client: Client, data: bytes, digest: str) -> Answer:
    """Another algorithm than the POST was told of."""
    return client.ask("PUT", begin(client, "sha256"), data, digest=digest)


def streamed(client: Client, data: bytes, digest: str) -> Answer:
    """As docker does: chunked, with neither Content-Range nor Content-Type."""
    sent = client.ask("PATCH", begin(client, digest.partition(":")[0]), iter([data[:100], data[100:]] if data else []))
    assert sent.status == 202
    return client.ask("PUT", sent.location, digest=digest)


def chunks(data: bytes) -> list[tuple[int, bytes]]:
    size = len(data) // 3 + 1
    return [(at, data[at : at + size]) for at in range(0, len(data), size)]


def patch(client: Client, location: str, at: int, piece: bytes) -> Answer:
    return client.ask("PATCH", location, piece, chunk_headers(at, piece))


def chunk_headers(at: int, piece: bytes) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "Content-Range": f"{at}-{at + len(piece) - 1}"}


def chunked(client: Client, data: bytes, digest: str) -> Answer:
    location = begin(client, digest.partition(":")[0])
    for at, piece in chunks(data):
        sent = patch(client, location, at, piece)
        assert (sent.status, sent.get("Range")) == (202, f"0-{at + len(piece) - 1}")
        location = sent.location
    return client.ask("PUT", location, digest=digest)


def chunked_with_the_last_in_the_put(client: Client, data: bytes, digest: str) -> Answer:
    location = begin(client, digest.partition(":")[0])
    *first, (at, last) = chunks(data) or [(0, b"")]
    for offset, piece in first:
        location = patch(client, location, offset, piece).location
    return client.ask("PUT", location, last, chunk_headers(at, last) if last else {}, digest=digest)


def chunked_out_of_order(client: Client, data: bytes, digest: str) -> Answer:
    location = begin(client, digest.partition(":")[0])
    for at, piece in chunks(data):
        wrong = at + len(piece)
        refused = patch(client, location, wrong, piece)
        assert (refused.status, refused.code) == (416, "BLOB_UPLOAD_INVALID")
        told = client.ask("GET", location)
        assert (told.status, told.get("Range")) == (204, f"0-{max(at - 1, 0)}")
        location = patch(client, told.location, at, piece).location
    return client.ask("PUT", location, digest=digest)


def chunked_out_of_order_in_the_put(client: Client, data: bytes, digest: str) -> Answer:
    location = begin(client, digest.partition(":")[0])
    *first, (at, last) = chunks(data) or [(0, b"")]
    for offset, piece in first:
        location = patch(client, location, offset, piece).location
    if last:
        refused = client.ask("PUT", location, last, chunk_headers(at + 1, last), digest=digest)
        assert refused.status == 416
        location = client.ask("GET", location).location
    return client.ask("PUT", location, last, chunk_headers(at, last) if last else {}, digest=digest)


PUSHES: list[Callable[[Client, bytes, str], Answer]] = [
    post_only, post_put, post_put_unannounced, streamed, chunked, chunked_with_the_last_in_the_put, chunked_out_of_order, chunked_out_of_order_in_the_put,
]  # fmt: skip
DATA = {"empty": b"", "object": b"{}", "one": b"1", "some": os.urandom(512), "more": os.urandom(200_000)}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("push", PUSHES)
def test_a_blob_that_is_pushed_can_be_pulled_and_deleted(
    client: Client, push: Callable[[Client, bytes, str], Answer], algorithm: str, data: bytes
) -> None:
    digest = digest_of(data, algorithm)
    assert client.ask("HEAD", f"/v2/app/blobs/{digest}").status == 404
    done = push(client, data, digest)
    assert (done.status, done.get("Docker-Content-Digest")) == (201, digest)
    assert client.ask("GET", done.location).body == data
    found = client.ask("GET", f"/v2/app/blobs/{digest}")
    assert (found.status, found.body, found.get("Docker-Content-Digest")) == (200, data, digest)
    asked = client.ask("HEAD", f"/v2/app/blobs/{digest}")
    assert (asked.status, asked.body, asked.get("Content-Length"), asked.get("Docker-Content-Digest")) == (200, b"", str(len(data)), digest)
    deleted = client.ask("DELETE", f"/v2/app/blobs/{digest}")
    assert deleted.status == 202
    assert client.ask("GET", f"/v2/app/blobs/{digest}").code == "BLOB_UNKNOWN"
    assert client.ask("DELETE", f"/v2/app/blobs/{digest}").status == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("push", PUSHES)
def test_content_with_another_digest_is_refused(client: Client, push: Callable[[Client, bytes, str], Answer], algorithm: str) -> None:
    digest = digest_of(b"something else", algorithm)
    refused = push(client, os.urandom(3000), digest)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert client.ask("HEAD", f"/v2/app/blobs/{digest}").status == 404


@pytest.mark.parametrize("digest", ["sha256:short", "sha256:" + "G" * 64, "md5:" + "a" * 32, "nothing", "", "sha256:" + "A" * 64])
def test_what_is_no_digest_is_refused_and_leaves_the_upload(client: Client, digest: str) -> None:
    location = begin(client, "sha256")
    assert client.ask("PUT", location, b"data", digest=digest).code == "DIGEST_INVALID"
    assert client.ask("POST", UPLOADS, b"data", digest=digest).code == "DIGEST_INVALID"
    assert client.ask("GET", location).status == 204


def test_an_upload_that_is_completed_without_a_digest_is_refused(client: Client) -> None:
    assert client.ask("PUT", begin(client, "sha256"), b"data").code == "DIGEST_INVALID"


def test_an_unknown_algorithm_of_digests_is_refused_at_the_beginning(client: Client) -> None:
    assert client.ask("POST", UPLOADS, digest_algorithm="md5").code == "DIGEST_INVALID"


def test_an_upload_can_be_cancelled(client: Client) -> None:
    location = begin(client, "sha256")
    assert client.ask("DELETE", location).status == 204
    for method in ("GET", "DELETE", "PATCH", "PUT"):
        gone = client.ask(method, location)
        assert (gone.status, gone.code) == (404, "BLOB_UPLOAD_UNKNOWN") if method != "PUT" else gone.status in (400, 404)


def test_every_upload_has_an_id_of_its_own(client: Client) -> None:
    assert len({begin(client, "sha256") for _ in range(20)}) == 20


# ── mounting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("source", [{"from": "other"}, {}], ids=["named", "anywhere"])
def test_a_blob_of_another_repository_is_mounted(client: Client, source: dict[str, str], algorithm: str) -> None:
    data = os.urandom(512)
    digest = client.push_blob("other", data, algorithm)
    mounted = client.ask("POST", UPLOADS, mount=digest, **source)
    assert (mounted.status, mounted.get("Docker-Content-Digest")) == (201, digest)
    assert client.ask("GET", mounted.location).body == data
    assert client.ask("DELETE", f"/v2/other/blobs/{digest}").status == 202
    assert client.ask("GET", f"/v2/app/blobs/{digest}").body == data, "what was mounted stays when its source goes"


@pytest.mark.parametrize("source", [{"from": "other"}, {"from": "nowhere"}, {}], ids=["named", "unknown", "anywhere"])
def test_a_blob_that_cannot_be_mounted_is_uploaded(client: Client, source: dict[str, str]) -> None:
    data = os.urandom(512)
    begun = client.ask("POST", UPLOADS, mount=digest_of(data), **source)
    assert begun.status == 202
    assert client.ask("PUT", begun.location, data, digest=digest_of(data)).status == 201


# ── ranges ───────────────────────────────────────────────────────────────────────────────────────────────────────────

RANGES = {
    "bytes=500-1499": slice(500, 1500), "bytes=500-": slice(500, 2048), "bytes=-500": slice(1548, 2048), "bytes=2000-5000": slice(2000, 2048),
    "bytes=0-0": slice(0, 1), "bytes=2047-": slice(2047, 2048), "bytes=-99999": slice(0, 2048),
}  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("asked", "part"), RANGES.items())
def test_a_part_of_a_blob_is_pulled(client: Client, asked: str, part: slice, algorithm: str) -> None:
    data = os.urandom(2048)
    found = client.ask("GET", f"/v2/app/blobs/{client.push_blob('app', data, algorithm)}", headers={"Range": asked})
    assert (found.status, found.body) == (206, data[part])
    assert found.get("Content-Range") == f"bytes {part.start}-{part.stop - 1}/2048"
    assert found.get("Content-Length") == str(part.stop - part.start)


@pytest.mark.parametrize("asked", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"])
def test_a_range_with_nothing_in_it_is_refused(client: Client, asked: str) -> None:
    refused = client.ask("GET", f"/v2/app/blobs/{client.push_blob('app', os.urandom(2048))}", headers={"Range": asked})
    assert (refused.status, refused.get("Content-Range")) == (416, "bytes */2048")


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes", "bytes=", "bytes=-", "bytes=a-b", "pages=1-2", "bytes=1-2-3", "bytes=" + "9" * 60 + "-"]
)
def test_what_is_no_single_range_of_bytes_is_answered_with_the_whole(client: Client, asked: str) -> None:
    found = client.ask("GET", f"/v2/app/blobs/{client.push_blob('app', bytes(2048))}", headers={"Range": asked})
    assert (found.status, len(found.body)) == (200, 2048)


def test_a_range_counts_only_while_the_blob_is_the_one_that_was_meant(client: Client) -> None:
    path = f"/v2/app/blobs/{client.push_blob('app', bytes(10))}"
    tag = client.ask("HEAD", path).get("ETag")
    assert client.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": tag or ""}).status == 206
    assert client.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": '"another"'}).status == 200
    assert client.ask("GET", path, headers={"If-None-Match": tag or ""}).status == 304


# ── manifests of every kind ──────────────────────────────────────────────────────────────────────────────────────────


def image(content: Content) -> None:
    content.image("image")


def large_manifest(content: Content) -> None:
    content.image("large", annotations={f"large-{number}": "A" * 10_000 for number in range(390)})


def index(content: Content) -> None:
    content.index(content.image(), content.image(), tag="index")


def nested_index(content: Content) -> None:
    inner = [content.index(content.image(), content.image()) for _ in range(2)]
    content.index(*inner, tag="nested")


def empty_index(content: Content) -> None:
    content.index(tag="empty")


def artifact(content: Content) -> None:
    content.image("artifact", layers=1, config=b"{}", config_type=OCI_EMPTY, layer_type=ARTIFACT, artifactType=ARTIFACT)


def artifact_without_layers(content: Content) -> None:
    content.image("bare", layers=0, config=b"{}", config_type=OCI_EMPTY, artifactType=ARTIFACT)


def artifact_index(content: Content) -> None:
    content.index(content.image(), tag="artifacts", artifactType=ARTIFACT)


def with_subject(content: Content) -> None:
    subject = described(content.image("subject"), OCI_MANIFEST, content.algorithm)
    content.image(subject=subject)
    for kind in (ARTIFACT, ARTIFACT + "+other"):
        content.image(kind[-5:], layers=1, config=b"{}", config_type=OCI_EMPTY, artifactType=kind, annotations=NOTES, subject=subject)


def index_with_subject(content: Content) -> None:
    subject = described(content.index(content.image(), tag="subject"), OCI_INDEX, content.algorithm)
    content.index(content.image(), subject=subject, annotations=NOTES)
    content.index(content.image(), subject=subject, artifactType=ARTIFACT, tag="typed")


def missing_subject(content: Content) -> None:
    absent = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"missing" + content.name.encode(), content.algorithm), "size": 123}
    content.image("tagged", config=b"{}", config_type=OCI_EMPTY, artifactType=ARTIFACT, subject=absent)


def data_field(content: Content) -> None:
    config = b'{"architecture":"amd64","os":"linux"}'
    content.blobs.append(config)
    told = described(config, OCI_CONFIG, content.algorithm, data="eyJhcmNoaXRlY3R1cmUiOiJhbWQ2NCIsIm9zIjoibGludXgifQ==")
    content.add({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": told, "layers": []}, "data")


def foreign_layers(content: Content) -> None:
    config = b'{"architecture":"amd64","os":"windows"}'
    content.blobs.append(config)
    absent = os.urandom(8)
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layers = [
        described(absent, kind, content.algorithm, urls=["https://store.example.com/layer"]),
        described(content.blob(), OCI_LAYER, content.algorithm),
    ]
    content.add(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described(config, OCI_CONFIG, content.algorithm), "layers": layers},
        "foreign",
    )


def custom_fields(content: Content) -> None:
    content.index(content.image(**{"org.example.unknown": {"a": [1, None]}}), tag="custom", surprise="yes")


def no_layers(content: Content) -> None:
    content.image("none", layers=0)


def docker_image(content: Content) -> None:
    config = os.urandom(64)
    content.blobs.append(config)
    layer = described(content.blob(), "application/vnd.docker.image.rootfs.diff.tar.gzip", content.algorithm)
    told = described(config, "application/vnd.docker.container.image.v1+json", content.algorithm)
    made = content.add({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": told, "layers": [layer]})
    child = described(made, DOCKER_MANIFEST, content.algorithm, platform={"os": "linux", "architecture": "amd64"})
    content.add({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child]}, "docker")


KINDS = [
    image, large_manifest, index, nested_index, empty_index, artifact, artifact_without_layers, artifact_index, with_subject, index_with_subject,
    missing_subject, data_field, foreign_layers, custom_fields, no_layers, docker_image,
]  # fmt: skip


@pytest.mark.parametrize("repository", ["app", "deep/er/name"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_content_is_pushed_listed_pulled_and_deleted(
    client: Client, kind: Callable[[Content], None], algorithm: str, repository: str
) -> None:
    content = Content(f"{kind.__name__}-{algorithm}-{repository}", algorithm=algorithm)
    kind(content)
    push(client, repository, content)
    check_listed(client, repository, content)
    check_pulled(client, repository, content)
    check_referrers(client, repository, content)
    delete(client, repository, content)


def push(client: Client, repository: str, content: Content) -> None:
    for blob in content.blobs:
        client.push_blob(repository, blob, content.algorithm)
    for data in content.manifests:
        digest, document = digest_of(data, content.algorithm), json.loads(data)
        tags = [tag for tag, tagged in content.tags.items() if tagged == digest]
        pushed = client.push_manifest(repository, digest, data, tag=tags) if tags else client.push_manifest(repository, digest, data)
        assert pushed.status == 201, pushed
        assert pushed.get("Docker-Content-Digest") == digest
        assert pushed.get("OCI-Subject") == document.get("subject", {}).get("digest")
        assert sorted(pushed.all("OCI-Tag")) == sorted(tags)
        assert client.ask("GET", pushed.location).body == data
        for tag in tags if content.algorithm == "sha256" else []:
            again = client.push_manifest(repository, tag, data)
            assert (again.status, again.get("Docker-Content-Digest")) == (201, digest)


def check_listed(client: Client, repository: str, content: Content) -> None:
    listed = client.ask("GET", f"/v2/{repository}/tags/list").json()
    assert listed["name"] == repository
    assert set(content.tags) <= set(listed["tags"])
    assert listed["tags"] == sorted(listed["tags"])


def check_pulled(client: Client, repository: str, content: Content) -> None:
    by_digest = {digest_of(data, content.algorithm): data for data in content.manifests}
    references = {**{digest: digest for digest in by_digest}, **content.tags}
    for reference, digest in references.items():
        data, path = by_digest[digest], f"/v2/{repository}/manifests/{reference}"
        found, asked = client.ask("GET", path), client.ask("HEAD", path)
        assert (found.status, found.body, asked.status, asked.body) == (200, data, 200, b"")
        for answer in (found, asked):
            assert answer.get("Content-Type") == json.loads(data)["mediaType"]
            assert answer.get("Content-Length") == str(len(data))
            assert answer.get("Docker-Content-Digest") == digest
            assert answer.get("ETag") == f'"{digest}"'
        assert client.ask("GET", path, headers={"If-None-Match": f'"{digest}"'}).status == 304
    for blob in content.blobs:
        assert client.ask("GET", f"/v2/{repository}/blobs/{digest_of(blob, content.algorithm)}").body == blob


def check_referrers(client: Client, repository: str, content: Content) -> None:
    for subject, expected in content.referrers.items():
        path = f"/v2/{repository}/referrers/{subject}"
        told = client.ask("GET", path)
        assert (told.status, told.get("Content-Type"), told.get("OCI-Filters-Applied")) == (200, OCI_INDEX, None)
        document = told.json()
        assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
        assert in_order(document["manifests"]) == in_order(expected)
        for kind in {each.get("artifactType", "") for each in expected} | {"application/nobody"}:
            filtered = client.ask("GET", path, artifactType=kind)
            assert filtered.get("OCI-Filters-Applied") == "artifactType"
            assert in_order(filtered.json()["manifests"]) == in_order([each for each in expected if each.get("artifactType", "") == kind])


def in_order(descriptors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(descriptors, key=lambda each: str(each["digest"]))


def delete(client: Client, repository: str, content: Content) -> None:
    for tag, digest in content.tags.items():
        assert client.ask("DELETE", f"/v2/{repository}/manifests/{tag}").status == 202
        assert client.ask("HEAD", f"/v2/{repository}/manifests/{tag}").status == 404
        assert client.ask("HEAD", f"/v2/{repository}/manifests/{digest}").status == 200, "a tag goes, its image stays"
        assert client.ask("DELETE", f"/v2/{repository}/manifests/{tag}").code == "MANIFEST_UNKNOWN"
    for data in reversed(content.manifests):
        digest = digest_of(data, content.algorithm)
        assert client.ask("DELETE", f"/v2/{repository}/manifests/{digest}").status == 202
        assert client.ask("GET", f"/v2/{repository}/manifests/{digest}").code == "MANIFEST_UNKNOWN"
    for blob in content.blobs:
        assert client.ask("DELETE", f"/v2/{repository}/blobs/{digest_of(blob, content.algorithm)}").status in (202, 404)
        assert client.ask("HEAD", f"/v2/{repository}/blobs/{digest_of(blob, content.algorithm)}").status == 404
    for subject in content.referrers:
        assert client.ask("GET", f"/v2/{repository}/referrers/{subject}").json()["manifests"] == []


# ── what manifests must be ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_manifest_must_have_the_digest_of_its_path(client: Client) -> None:
    content = Content("bad")
    data = content.image()
    for blob in content.blobs:
        client.push_blob("app", blob)
    refused = client.push_manifest("app", digest_of(data), data + b"  ")
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert client.push_manifest("app", "sha256:baddigeststring", data).status == 400
    assert client.ask("GET", "/v2/app/manifests/sha256:baddigeststring").status in (400, 404)


def test_a_manifest_needs_the_blobs_that_it_speaks_of(client: Client) -> None:
    data = Content("sparse").image()
    refused = client.push_manifest("app", "sparse", data)
    assert (refused.status, refused.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert {each["digest"] for each in refused.json()["errors"][0]["detail"]} == {
        json.loads(data)["config"]["digest"],
        *(layer["digest"] for layer in json.loads(data)["layers"]),
    }


def test_a_blob_of_another_repository_does_not_count(client: Client) -> None:
    content = Content("elsewhere")
    data = content.image()
    for blob in content.blobs:
        client.push_blob("other", blob)
    assert client.push_manifest("app", "elsewhere", data).code == "MANIFEST_BLOB_UNKNOWN"


def test_a_manifest_of_four_mebibytes_is_taken_and_a_longer_one_is_not(client: Client) -> None:
    content = Content("long")
    base = len(content.image(annotations={"x": ""}))
    content = Content("long")
    data = content.image(annotations={"x": "A" * ((4 << 20) - base)})
    for blob in content.blobs:
        client.push_blob("app", blob)
    assert len(data) == 4 << 20
    assert client.push_manifest("app", "long", data).status == 201
    assert client.ask("GET", "/v2/app/manifests/long").body == data
    refused = client.push_manifest("app", "longer", data + b" ")
    assert (refused.status, refused.code) == (413, "SIZE_INVALID")


MALFORMED = {
    "not json": b"{",
    "not an object": b"[]",
    "empty": b"",
    "schema 1": b'{"schemaVersion":1,"name":"app","tag":"x","fsLayers":[]}',
    "nothing in it": b'{"schemaVersion":2}',
    "manifests and layers": b'{"schemaVersion":2,"mediaType":"%b","manifests":[],"layers":[]}' % OCI_INDEX.encode(),
    "manifests and config": b'{"schemaVersion":2,"manifests":[],"config":{"mediaType":"a/b","digest":"%b","size":1}}'
    % digest_of(b"").encode(),
    "bad digest": b'{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:../../etc","size":1},"layers":[]}',
    "negative size": b'{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"%b","size":-1},"layers":[]}' % digest_of(b"").encode(),
    "deep": b"[" * 200_000,
    "bad text": b'{"schemaVersion":2,"x":"\xff"}',
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_manifest_is_refused(client: Client, data: bytes) -> None:
    refused = client.push_manifest("app", "malformed", data, OCI_MANIFEST)
    assert (refused.status, refused.code) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize(("said", "sent"), [(OCI_MANIFEST, OCI_INDEX), (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, OCI_MANIFEST)])
def test_the_media_type_must_agree_with_the_content_type(client: Client, said: str, sent: str) -> None:
    document = json.loads(Content("x").image()) if said == OCI_MANIFEST else {"schemaVersion": 2, "manifests": []}
    refused = client.push_manifest("app", "mixed", json.dumps(document | {"mediaType": said}).encode(), sent)
    assert (refused.status, refused.code) == (400, "MANIFEST_INVALID")


def test_a_pushed_tag_moves(client: Client) -> None:
    first, second = Content("first"), Content("second")
    for content in (first, second):
        content.image("moving")
        push(client, "app", content)
    assert client.ask("HEAD", "/v2/app/manifests/moving").get("Docker-Content-Digest") == second.tags["moving"]
    assert client.ask("HEAD", f"/v2/app/manifests/{first.tags['moving']}").status == 200


def test_a_manifest_is_pushed_with_many_tags_at_once(client: Client) -> None:
    content = Content("many")
    data = content.image()
    for blob in content.blobs:
        client.push_blob("app", blob)
    tags = [f"many-{number}" for number in range(12)]
    pushed = client.push_manifest("app", digest_of(data), data, tag=tags)
    assert (pushed.status, pushed.all("OCI-Tag")) == (201, tags)
    assert all(client.ask("GET", f"/v2/app/manifests/{tag}").body == data for tag in tags)


def test_an_image_that_an_index_needs_is_not_deleted(client: Client) -> None:
    content = Content("kept")
    content.index(content.image(), tag="kept")
    push(client, "app", content)
    refused = client.ask("DELETE", f"/v2/app/manifests/{digest_of(content.manifests[0])}")
    assert (refused.status, refused.code) == (405, "DENIED")
    refused = client.ask("DELETE", f"/v2/app/blobs/{digest_of(content.blobs[0])}")
    assert (refused.status, refused.code) == (405, "DENIED")
    delete(client, "app", content)


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def next_of(answer: Answer) -> str:
    """The path in the Link."""
    link = answer.get("Link") or ""
    assert link.endswith('>; rel="next"')
    assert link.startswith("</v2/")
    return link[1:].partition(">")[0]


@pytest.fixture
def tagged(registry: RegistryThread, client: Client) -> list[str]:
    registry.gate.names.add("tagged")
    data = b'{"schemaVersion":2,"mediaType":"%b","manifests":[]}' % OCI_INDEX.encode()
    tags = ["1.0", "A", "Z9", "_x", "a", "b.c-d", "b_c", "z"]
    assert client.push_manifest("tagged", digest_of(data), data, tag=tags).status == 201
    return sorted(tags)


def test_tags_are_listed_in_pages(client: Client, tagged: list[str]) -> None:
    assert client.ask("GET", "/v2/tagged/tags/list").json() == {"name": "tagged", "tags": tagged}
    path, seen = "/v2/tagged/tags/list?n=3", []
    for size in (3, 3, 2):
        page = client.ask("GET", path)
        assert len(page.json()["tags"]) == size
        seen += page.json()["tags"]
        path = next_of(page) if size == 3 else ""
    assert seen == tagged
    assert page.get("Link") is None


def test_tags_are_listed_from_one_on(client: Client, tagged: list[str]) -> None:
    listed = client.ask("GET", "/v2/tagged/tags/list", last=tagged[3])
    assert listed.json()["tags"] == tagged[4:]
    assert client.ask("GET", "/v2/tagged/tags/list", last=tagged[3], n="2").json()["tags"] == tagged[4:6]
    assert client.ask("GET", "/v2/tagged/tags/list", last="b").json()["tags"] == ["b.c-d", "b_c", "z"], "it need not exist"


def test_no_tags_are_asked_for(client: Client, tagged: list[str]) -> None:
    none = client.ask("GET", "/v2/tagged/tags/list", n="0")
    assert (none.status, none.json()["tags"], none.get("Link")) == (200, [], None)
    assert client.ask("GET", "/v2/tagged/tags/list", n=str(len(tagged))).get("Link") is None


def test_a_repository_without_tags_has_an_empty_list(registry: RegistryThread, client: Client) -> None:
    registry.gate.names.add("bare")
    assert client.ask("GET", "/v2/bare/tags/list").json() == {"name": "bare", "tags": []}
    assert client.ask("GET", f"/v2/bare/referrers/{digest_of(b'nothing')}").json()["manifests"] == []


def test_repositories_are_listed_in_pages(registry: RegistryThread, client: Client) -> None:
    names = sorted(registry.gate.names)
    assert client.ask("GET", "/v2/_catalog").json() == {"repositories": names}
    page = client.ask("GET", "/v2/_catalog", n="2")
    assert page.json()["repositories"] == names[:2]
    assert client.ask("GET", next_of(page)).json()["repositories"] == names[2:4]


def test_very_many_referrers_come_in_pages(registry: RegistryThread, client: Client) -> None:
    registry.gate.names.add("popular")
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"popular"), "size": 7}
    expected = set()
    for number in range(6):
        content = Content("x")
        kind = ARTIFACT if number % 2 else ARTIFACT + "+json"
        data = content.image(
            layers=0,
            config=b"{}",
            config_type=OCI_EMPTY,
            artifactType=kind,
            subject=subject,
            annotations={"x": "A" * 1_500_000, "n": str(number)},
        )
        client.push_blob("popular", b"{}")
        assert client.push_manifest("popular", digest_of(data), data).status == 201
        expected.add(digest_of(data))
    path, seen, pages = f"/v2/popular/referrers/{subject['digest']}", [], 0
    while path:
        page = client.ask("GET", path)
        assert len(page.body) <= 4 << 20
        seen += [each["digest"] for each in page.json()["manifests"]]
        path = next_of(page) if page.get("Link") else ""
        pages += 1
    assert (sorted(seen), pages) == (sorted(expected), 3)
    filtered = client.ask("GET", f"/v2/popular/referrers/{subject['digest']}", artifactType=ARTIFACT + "+json")
    rest = client.ask("GET", next_of(filtered))
    assert rest.get("OCI-Filters-Applied") == "artifactType"
    assert len(filtered.json()["manifests"]) + len(rest.json()["manifests"]) == 3


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_version_of_the_protocol_is_told(client: Client) -> None:
    for path in ("/v2/", "/v2"):
        answer = client.ask("GET", path)
        assert (answer.status, answer.get("Docker-Distribution-Api-Version")) == (200, "registry/2.0")


@pytest.mark.parametrize("reference", ["missing", digest_of(b"missing"), digest_of(b"missing", "sha512")])
def test_a_manifest_that_is_not_there_is_unknown(client: Client, reference: str) -> None:
    assert client.ask("HEAD", f"/v2/app/manifests/{reference}").status == 404
    missing = client.ask("GET", f"/v2/app/manifests/{reference}")
    assert (missing.status, missing.code) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "manifests/latest"), ("HEAD", "manifests/latest"), ("PUT", "manifests/latest"), ("DELETE", "manifests/latest"),
        ("GET", f"blobs/{digest_of(b'')}"), ("DELETE", f"blobs/{digest_of(b'')}"), ("POST", "blobs/uploads/"), ("GET", "tags/list"),
        ("GET", f"referrers/{digest_of(b'')}"), ("PATCH", "blobs/uploads/4a8b1d0e-0000-4000-8000-000000000000"),
    ],
)  # fmt: skip
def test_a_repository_that_is_not_there_is_unknown(client: Client, method: str, path: str) -> None:
    answer = client.ask(method, f"/v2/not/here/{path}")
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "NAME_UNKNOWN"


def test_whoever_may_not_is_denied(client: Client) -> None:
    refused = client.ask("GET", "/v2/secret/app/manifests/latest")
    assert (refused.status, refused.code) == (403, "DENIED")


def test_a_push_may_make_its_repository(client: Client) -> None:
    content = Content("made")
    content.image("latest")
    push(client, "made/by/push", content)
    assert client.ask("GET", "/v2/made/by/push/tags/list").json()["tags"] == ["latest"]


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/app/tags/list", "/v2/nowhere/manifests/x", "/v2/_catalog", "/v2/strange", "/elsewhere", "/v2/app/blobs/uploads/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "OPTIONS"])
def test_whoever_shows_no_password_is_challenged_on_every_path(registry: RegistryThread, path: str, method: str) -> None:
    with Client(f"127.0.0.1:{registry.port}", header_of("AWS", "wrong")) as stranger:
        refused = stranger.ask(method, path)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert refused.get("WWW-Authenticate") == 'Basic realm="http://test/",service="ecr.amazonaws.com"'


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v2/"), ("POST", "/v2/app/tags/list"), ("PATCH", "/v2/app/manifests/x"), ("PUT", UPLOADS)]
)
def test_a_method_that_a_path_has_not_is_unsupported(client: Client, method: str, path: str) -> None:
    refused = client.ask(method, path)
    assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    assert refused.get("Allow")


def test_a_referrers_request_with_a_malformed_digest_is_refused(client: Client) -> None:
    assert client.ask("GET", "/v2/app/referrers/sha256:nonsense").status == 400


def test_an_immutable_tag_stays_and_the_same_image_may_be_pushed_again(registry: RegistryThread, client: Client) -> None:
    first, second = Content("first"), Content("second")
    first.image("fixed")
    second.image("fixed")
    push(client, "app", first)
    registry.gate.immutable = True
    try:
        push(client, "app", first)
        for blob in second.blobs:
            client.push_blob("app", blob)
        data = second.manifests[0]
        refused = client.push_manifest("app", "fixed", data)
        assert (refused.status, refused.code) == (400, "TAG_INVALID")
        refused = client.push_manifest("app", digest_of(data), data, tag=["fresh", "fixed"])
        assert refused.status == 400
        assert client.ask("HEAD", "/v2/app/manifests/fresh").status == 404, "all tags or none"
    finally:
        registry.gate.immutable = False
