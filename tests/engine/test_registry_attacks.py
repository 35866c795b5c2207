"""Content and addresses made to do harm to a registry, or to those who trust it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images import digests, ingest
from cloudstead.engine.images.transport import split_url
from cloudstead.engine.registry import manifests
from cloudstead.engine.registry.errors import ManifestInvalid
from cloudstead.engine.registry.http import paths
from protocol.registry_support import RegistryThread

DIGEST = digests.of(b"{}")
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": 2}
TEXT = json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": [LAYER], "annotations": {"Layers": "3", "layers": "4"}})

# addresses


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "169.254.170.2:80", "2852039166", "0xa9fea9fe", "169.254.43518", "[fe80::1]", "[fe80::1%25eth0]", "[::ffff:169.254.169.254]",
     "[fd00:ec2::254]"],
)  # fmt: skip
def test_what_a_machine_is_told_about_itself_is_not_asked_for(host: str) -> None:
    with pytest.raises(InvalidArgument):
        split_url(f"http://{host}/latest/meta-data/", True)


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "registry.test", "10.0.0.1", "[::1]:5000", "localhost", "2130706433", "169.254.test"])
def test_other_addresses_may_have_a_registry(host: str) -> None:
    assert split_url(f"http://{host}/v2/", True)[1] == "/v2/"


@pytest.mark.parametrize(
    "path", ["/123app/tags/list", "/v3/app/tags/list", "/v2app/tags/list", "/app/manifests/1", "/", "", "//v2/app/tags/list"]
)
def test_the_api_lies_below_v2_only(path: str) -> None:
    assert paths.split(path).kind == ""


# manifests


def test_members_of_annotations_may_have_any_name() -> None:
    assert manifests.read(TEXT.encode()).layers


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace('"layers": [', '"layers": [], "layers": [', 1),
        TEXT.replace('"layers": [', '"Layers": [], "layers": [', 1),
        TEXT.replace('"layers": [', '"layer\u017f": [], "layers": [', 1),
        TEXT.replace('"config": {', '"CONFIG": {}, "config": {', 1),
        TEXT.replace('"size": 2', '"size": 2, "size": 3', 1),
        TEXT.replace('"digest": ', f'"Digest": "{DIGEST}", "digest": ', 1),
        TEXT.replace('"annotations": {', '"annotations": {"a": "1", "a": "2", ', 1),
        TEXT.replace('"annotations": {', '"x": [{"b": {"a": 1, "a": 2}}], "annotations": {', 1),
    ],
)
def test_what_two_readers_would_understand_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid, match="member"):
        manifests.read(text.encode())


# a disk that is full


def test_a_chunk_that_found_no_room_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RegistryThread(tmp_path / "data", "app") as registry, registry.client() as client:
        upload = client.ask("POST", "/v2/app/blobs/uploads/").location
        assert client.ask("PATCH", upload, b"first").status == 202
        with monkeypatch.context() as full:
            full.setattr(ingest, "RESERVE", 1 << 62)
            refused = client.ask("PATCH", upload, b"second")
            assert (refused.status, refused.code) == (507, "UNKNOWN")
            assert client.ask("POST", "/v2/app/blobs/uploads/", b"whole", digest=digests.of(b"whole")).status == 507
            assert client.ask("PUT", upload, b"second", digest=digests.of(b"firstsecond")).status == 507
        assert client.ask("GET", upload).get("Range") == "0-4"
        assert client.ask("PATCH", upload, b"second").get("Range") == "0-10"
        assert client.ask("PUT", upload, digest=digests.of(b"firstsecond")).status == 201
        assert client.ask("GET", f"/v2/app/blobs/{digests.of(b'firstsecond')}").body == b"firstsecond"
