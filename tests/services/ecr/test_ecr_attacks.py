"""Those who mean ill: what another account's blobs, an upstream registry of one's own, and content made to do harm must not achieve."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from upstream_registry import INDEX, MANIFEST, UpstreamRegistry

from cloudstead.engine.images import media_types
from registry_client import Wire, digest_of, image, token_of
from support import CloudThread

VICTIM, THIEF = "230000000001", "230000000002"


def wire(cloud: CloudThread, account: str) -> Wire:
    return Wire(cloud, token_of(cloud.client("ecr", key=account)))


# blobs of others


def test_a_cache_gives_nobody_the_layers_of_another_account(cloud: CloudThread) -> None:
    cloud.client("ecr", key=VICTIM).create_repository(repositoryName="private")
    wire(cloud, VICTIM).push("private", "1", "the victim's")
    layer = b"layer the victim's"
    with UpstreamRegistry() as upstream:
        config = upstream.blob(b"{}")
        claimed = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "x/y", **config}, "layers": [claimed]}
        upstream.manifest("app", document, "1")  # and has no such layer
        cloud.client("ecr", key=THIEF).create_pull_through_cache_rule(ecrRepositoryPrefix="mine", upstreamRegistryUrl=upstream.domain)
        thief = wire(cloud, THIEF)
        assert thief.ask("GET", "mine/app/manifests/1").status == 404
        assert thief.ask("GET", f"mine/app/blobs/{digest_of(layer)}").status == 404
        upstream.content[digest_of(layer)] = layer, "application/octet-stream"
        upstream.lying.add(digest_of(layer))
        assert thief.ask("GET", "mine/app/manifests/1").status == 404
        upstream.lying.clear()  # who can send it has it anyway
        assert thief.ask("GET", "mine/app/manifests/1").status in (200, 404)


def test_a_cache_before_another_account_needs_the_right_to_its_layers(cloud: CloudThread) -> None:
    owner = cloud.client("ecr", key=VICTIM)
    owner.create_repository(repositoryName="halfway")
    wire(cloud, VICTIM).push("halfway", "1", "halfway")
    statement = {"Sid": "a", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{THIEF}:root"}, "Action": "ecr:BatchGetImage"}
    owner.set_repository_policy(repositoryName="halfway", policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    cloud.client("ecr", key=THIEF).create_pull_through_cache_rule(
        ecrRepositoryPrefix="theirs",
        upstreamRegistryUrl=f"{VICTIM}.dkr.ecr.us-east-1.amazonaws.com",
        customRoleArn=f"arn:aws:iam::{THIEF}:role/cache",
    )
    assert wire(cloud, THIEF).ask("GET", "theirs/halfway/manifests/1").status == 404
    assert wire(cloud, THIEF).ask("GET", f"theirs/halfway/blobs/{digest_of(b'layer halfway')}").status == 404


def test_a_descriptor_that_lies_about_a_size_changes_no_blob(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key=VICTIM)
    ecr.create_repository(repositoryName="sizes/app")
    rule = {
        "destinations": [{"region": "eu-west-1", "registryId": VICTIM}],
        "repositoryFilters": [{"filter": "sizes/", "filterType": "PREFIX_MATCH"}],
    }
    ecr.put_replication_configuration(replicationConfiguration={"rules": [rule]})
    owner = wire(cloud, VICTIM)
    for blob in (b"{}", b"layer of a wrong size"):
        owner.push_blob("sizes/app", blob)
    document = json.loads(image(b"{}", b"layer of a wrong size"))
    document["layers"][0]["size"] = 1 << 40
    pushed = json.dumps(document).encode()
    assert owner.push_manifest("sizes/app", "1", pushed).status == 201
    there = Wire(cloud, token_of(cloud.client("ecr", key=VICTIM, region="eu-west-1")))
    until = time.monotonic() + 20
    while there.ask("HEAD", f"sizes/app/manifests/{digest_of(pushed)}").status != 200:
        assert time.monotonic() < until, "it was never replicated"
        time.sleep(0.05)
    answer = there.ask("HEAD", f"sizes/app/blobs/{digest_of(b'layer of a wrong size')}")
    assert answer.headers["Content-Length"] == str(len(b"layer of a wrong size"))
    assert there.ask("GET", f"sizes/app/blobs/{digest_of(b'layer of a wrong size')}").body == b"layer of a wrong size"


# an upstream registry that means ill


class Evil:
    """Answers everything with what it is told; keeps what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        evil = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                evil.asked.append((self.path, dict(self.headers)))
                self.send_response(evil.status)
                for name, value in {**evil.headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_HEAD = do_GET
            do_POST = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.domain = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Evil:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def evil() -> Iterator[Evil]:
    with Evil() as running:
        yield running


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "us-east-1.localhost"])
@pytest.mark.parametrize("way", ["redirect", "realm"])
def test_a_registry_cannot_have_us_call_our_own_apis(cloud: CloudThread, evil: Evil, host: str, way: str) -> None:
    port = cloud.endpoint.rpartition(":")[2]
    name = f"evil-{way}-{sum(host.encode())}"
    url = f"http://{host}:{port}/?Action=CreateUser&Version=2010-05-08&UserName={name}"
    if way == "redirect":
        evil.status, evil.headers = 307, {"Location": url}
    else:
        evil.status, evil.headers = 401, {"WWW-Authenticate": f'Bearer realm="{url}",service="x"'}
    ecr = cloud.client("ecr", key=THIEF)
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix=name, upstreamRegistryUrl=evil.domain)
    assert wire(cloud, THIEF).ask("GET", f"{name}/app/manifests/1").status == 404
    assert evil.asked
    users = [each["UserName"] for each in cloud.client("iam").list_users()["Users"]]
    assert name not in users


# content made to do harm


def test_indexes_that_speak_of_each_other_many_times_are_measured_at_once(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key=VICTIM)
    ecr.create_repository(repositoryName="nested")
    owner = wire(cloud, VICTIM)
    child = owner.push("nested", "leaf")
    media_type, size = MANIFEST, 100
    for _ in range(8):
        each = {"mediaType": media_type, "digest": child, "size": size}
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [each] * 50}).encode()
        answer = owner.ask("PUT", f"nested/manifests/{digest_of(index)}", index, Content_Type=media_types.OCI_INDEX)
        assert answer.status == 201, answer
        child, media_type, size = digest_of(index), INDEX, len(index)
    details = ecr.describe_images(repositoryName="nested", imageIds=[{"imageDigest": child}])["imageDetails"]
    assert details[0]["imageSizeInBytes"] == len(b"layer leaf")


def test_indexes_within_each_other_are_replicated_however_deep_they_stand(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key=VICTIM)
    ecr.create_repository(repositoryName="deep/app")
    owner = wire(cloud, VICTIM)
    child, media_type, size = owner.push("deep/app", "leaf"), MANIFEST, 100
    for _ in range(1100):
        each = {"mediaType": media_type, "digest": child, "size": size}
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [each]}).encode()
        owner.ask("PUT", f"deep/app/manifests/{digest_of(index)}", index, Content_Type=media_types.OCI_INDEX)
        child, media_type, size = digest_of(index), INDEX, len(index)
    rule = {
        "destinations": [{"region": "eu-west-2", "registryId": VICTIM}],
        "repositoryFilters": [{"filter": "deep/", "filterType": "PREFIX_MATCH"}],
    }
    ecr.put_replication_configuration(replicationConfiguration={"rules": [rule]})
    assert owner.ask("PUT", "deep/app/manifests/top", index, Content_Type=media_types.OCI_INDEX).status == 201
    there = Wire(cloud, token_of(cloud.client("ecr", key=VICTIM, region="eu-west-2")))
    until = time.monotonic() + 30
    while there.ask("HEAD", "deep/app/manifests/top").status != 200:
        assert time.monotonic() < until, "it was never replicated"
        time.sleep(0.1)
    assert there.ask("GET", "deep/app/manifests/leaf").status == 404  # its tag was pushed before there was a rule


def test_a_response_of_very_many_long_manifests_is_refused(cloud: CloudThread) -> None:
    ecr = cloud.client("ecr", key=VICTIM)
    ecr.create_repository(repositoryName="long")
    owner = wire(cloud, VICTIM)
    assert owner.push_blob("long", b"{}").status == 201
    document = {**json.loads(image(b"{}")), "annotations": {"long": "x" * 4_000_000}}
    assert owner.push_manifest("long", "1", json.dumps(document).encode()).status == 201
    with pytest.raises(ecr.exceptions.LimitExceededException):
        ecr.batch_get_image(repositoryName="long", imageIds=[{"imageTag": "1"}] * 100)
    assert len(ecr.batch_get_image(repositoryName="long", imageIds=[{"imageTag": "1"}] * 8)["images"]) == 8


# everything at once


def test_deletions_take_nothing_from_pushes_and_leave_nothing_behind(cloud: CloudThread) -> None:
    account = "230000000009"
    ecr = cloud.client("ecr", key=account)
    names = ("storm/a", "storm/b")
    for name in names:
        ecr.create_repository(repositoryName=name)
    files = cloud.running.cloud.parts["engine"].images().content.root
    before = {path for path in files.rglob("*") if path.is_file()}
    pool = [f"layer {number} of the storm".encode() for number in range(4)]
    failures: list[str] = []
    over = threading.Event()

    def push(seed: int) -> None:
        some, pushing = random.Random(seed), wire(cloud, account)
        for _ in range(25):
            name, layers, config = some.choice(names), some.sample(pool, 2), b'{"n": %d}' % some.randrange(3)
            for blob in (*layers, config):
                if pushing.ask("HEAD", f"{name}/blobs/{digest_of(blob)}").status != 200 and pushing.push_blob(name, blob).status != 201:
                    failures.append("a blob")
            manifest = image(config, *layers)
            answer = pushing.push_manifest(name, f"t{some.randrange(4)}", manifest)
            if answer.status != 201:
                failures.append(str(answer))
            child = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
            index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).encode()
            status = pushing.ask("PUT", f"{name}/manifests/i{some.randrange(2)}", index, Content_Type=INDEX).status
            if status not in (201, 404):  # its image may be gone
                failures.append(f"an index: {status}")

    def delete(seed: int) -> None:
        some = random.Random(seed)
        client = cloud.client("ecr", key=account)
        while not over.is_set():
            name = some.choice(names)
            ids = client.list_images(repositoryName=name)["imageIds"]
            if ids:
                client.batch_delete_image(repositoryName=name, imageIds=some.sample(ids, min(2, len(ids))))

    pushers = [threading.Thread(target=push, args=(seed,)) for seed in range(4)]
    deleter = threading.Thread(target=delete, args=(9,))
    for thread in (*pushers, deleter):
        thread.start()
    for thread in pushers:
        thread.join()
    over.set()
    deleter.join()
    assert not failures
    reader = wire(cloud, account)
    for name in names:
        for tag in json.loads(reader.ask("GET", f"{name}/tags/list").body)["tags"]:
            found = json.loads(reader.ask("GET", f"{name}/manifests/{tag}").body)
            for child in found.get("manifests", ()):
                assert reader.ask("GET", f"{name}/manifests/{child['digest']}").status == 200
            for blob in (*found.get("layers", ()), *([found["config"]] if "config" in found else ())):
                assert digest_of(reader.ask("GET", f"{name}/blobs/{blob['digest']}").body) == blob["digest"]
        ecr.delete_repository(repositoryName=name, force=True)
    assert {path for path in files.rglob("*") if path.is_file()} <= before
