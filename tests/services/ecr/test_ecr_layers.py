"""Layers through a boto3 client: uploaded in parts, asked for, read from a URL."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from image_calls import digest_of, have, manifest_of, push, put, refused, upload

from cloudstead.engine.images.media_types import LAYER_GZIP, OCI_CONFIG
from cloudstead.kernel import quotas
from registry_client import wire_of
from support import CloudThread, Daemon

ACCOUNT = "220000000003"
SMALLEST = 5 << 20


@pytest.fixture(scope="module")
def ecr(cloud: CloudThread) -> Any:
    return cloud.client("ecr", key=ACCOUNT)


def begin(ecr: Any, repository: str) -> str:
    return str(ecr.initiate_layer_upload(repositoryName=repository)["uploadId"])


def send(ecr: Any, repository: str, upload_id: str, first: int, content: bytes, **more: Any) -> Any:
    last = more.pop("last", first + len(content) - 1)
    return ecr.upload_layer_part(
        repositoryName=repository, uploadId=upload_id, partFirstByte=first, partLastByte=last, layerPartBlob=content, **more
    )


def complete(ecr: Any, repository: str, upload_id: str, *digests: str) -> Any:
    return ecr.complete_layer_upload(repositoryName=repository, uploadId=upload_id, layerDigests=list(digests))


def read(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# uploading


def test_a_layer_is_put_together_from_parts(ecr: Any, repository: str) -> None:
    begun = ecr.initiate_layer_upload(repositoryName=repository)
    assert begun["partSize"] == 10 << 20
    parts = [os.urandom(SMALLEST), os.urandom(SMALLEST + 1), b"the end"]
    at = 0
    for part in parts:
        told = send(ecr, repository, begun["uploadId"], at, part)
        at += len(part)
        assert told["lastByteReceived"] == at - 1
    assert (told["registryId"], told["repositoryName"], told["uploadId"]) == (ACCOUNT, repository, begun["uploadId"])
    digest = digest_of(b"".join(parts))
    done = complete(ecr, repository, begun["uploadId"], digest)
    assert (done["layerDigest"], done["registryId"], done["uploadId"]) == (digest, ACCOUNT, begun["uploadId"])
    layer = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[digest])["layers"][0]
    assert (layer["layerAvailability"], layer["layerSize"]) == ("AVAILABLE", at)
    again = {"repositoryName": repository, "uploadId": begun["uploadId"], "layerDigests": [digest]}
    refused(ecr.complete_layer_upload, "UploadNotFoundException", **again)


def test_the_largest_part_is_taken_and_one_byte_more_is_not(ecr: Any, repository: str) -> None:
    upload_id, content = begin(ecr, repository), bytes(20971520)
    assert send(ecr, repository, upload_id, 0, content)["lastByteReceived"] == 20971519
    with pytest.raises(ClientError) as refusal:
        send(ecr, repository, upload_id, 20971520, content + b"1")
    assert refusal.value.response["Error"]["Code"] == "InvalidParameterException"
    complete(ecr, repository, upload_id, digest_of(content))


@pytest.mark.parametrize(("first", "last"), [(5, 9), (3, 8), (4, 7), (4, 9), (8, 4), (0, 3)])
def test_a_part_that_does_not_go_on_where_the_upload_stands_is_refused(ecr: Any, repository: str, first: int, last: int) -> None:
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, 0, b"0123")
    with pytest.raises(ClientError) as refusal:
        send(ecr, repository, upload_id, first, b"45678", last=last)
    answer = refusal.value.response
    assert answer["Error"]["Code"] == "InvalidLayerPartException"
    told = {name: answer[name] for name in ("registryId", "repositoryName", "uploadId", "lastValidByteReceived")}
    assert told == {"registryId": ACCOUNT, "repositoryName": repository, "uploadId": upload_id, "lastValidByteReceived": 3}
    send(ecr, repository, upload_id, 4, b"45678")


def test_the_first_part_begins_at_the_beginning(ecr: Any, repository: str) -> None:
    upload_id = begin(ecr, repository)
    with pytest.raises(ClientError) as refusal:
        send(ecr, repository, upload_id, 1, b"1")
    assert refusal.value.response["Error"]["Code"] == "InvalidLayerPartException"
    assert "lastValidByteReceived" not in refusal.value.response
    with pytest.raises(ClientError) as refusal:
        send(ecr, repository, upload_id, 0, b"", last=0)
    assert refusal.value.response["Error"]["Code"] == "InvalidLayerPartException"


def test_only_the_last_part_may_be_small(ecr: Any, repository: str) -> None:
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, 0, b"small")
    send(ecr, repository, upload_id, 5, b"and more")
    sentence = refused(
        ecr.complete_layer_upload,
        "LayerPartTooSmallException",
        repositoryName=repository,
        uploadId=upload_id,
        layerDigests=[digest_of(b"smalland more")],
    )
    assert sentence == "All layer parts except the last part should be at least 5MB"


def test_an_upload_has_so_many_parts_at_most(ecr: Any, repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quotas._declared, ("ecr", "layer_parts"), quotas.Quota("ecr", "layer_parts", "Layer parts", 2, adjustable=False))
    upload_id = begin(ecr, repository)
    for at in range(2):
        send(ecr, repository, upload_id, at, b"x")
    arguments = {"repositoryName": repository, "uploadId": upload_id, "partFirstByte": 2, "partLastByte": 2, "layerPartBlob": b"x"}
    assert "maximum number of layer parts of 2" in refused(ecr.upload_layer_part, "LimitExceededException", **arguments)


def test_an_upload_without_parts_is_empty(ecr: Any, repository: str) -> None:
    upload_id = begin(ecr, repository)
    sentence = refused(
        ecr.complete_layer_upload, "EmptyUploadException", repositoryName=repository, uploadId=upload_id, layerDigests=[digest_of(b"")]
    )
    assert sentence == (
        f"The upload with id '{upload_id}' in the repository with name '{repository}' in registry with id '{ACCOUNT}' "
        f"cannot be completed because it does not have any parts"
    )


def test_a_layer_that_is_there_need_not_be_uploaded_again(ecr: Any, repository: str) -> None:
    upload(ecr, repository, b"twice")
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, 0, b"twice")
    arguments = {"repositoryName": repository, "uploadId": upload_id, "layerDigests": [digest_of(b"twice")]}
    assert digest_of(b"twice") in refused(ecr.complete_layer_upload, "LayerAlreadyExistsException", **arguments)
    refused(ecr.complete_layer_upload, "UploadNotFoundException", **arguments)


def test_content_that_is_not_what_its_digest_says_is_refused(ecr: Any, repository: str) -> None:
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, 0, b"true")
    arguments = {"repositoryName": repository, "uploadId": upload_id}
    refused(ecr.complete_layer_upload, "InvalidParameterException", **arguments, layerDigests=["sha256:abc"])
    refused(ecr.complete_layer_upload, "InvalidParameterException", **arguments, layerDigests=["md5:" + "0" * 32])
    refused(ecr.complete_layer_upload, "InvalidParameterException", **arguments, layerDigests=[digest_of(b"a"), digest_of(b"b")])
    refused(ecr.complete_layer_upload, "InvalidLayerException", **arguments, layerDigests=[digest_of(b"false")])
    assert ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[digest_of(b"true")])["layers"] == [
        {"layerDigest": digest_of(b"true"), "layerAvailability": "UNAVAILABLE"}
    ]


def test_the_same_digest_may_be_given_twice(ecr: Any, repository: str) -> None:
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, 0, b"twice the same")
    assert complete(ecr, repository, upload_id, *[digest_of(b"twice the same")] * 2)["layerDigest"] == digest_of(b"twice the same")


def test_an_upload_belongs_to_its_repository(ecr: Any, repository: str) -> None:
    ecr.create_repository(repositoryName=f"{repository}/other")
    upload_id = begin(ecr, f"{repository}/other")
    for unknown in (upload_id, str(uuid.uuid4())):
        arguments = {"repositoryName": repository, "uploadId": unknown}
        sentence = refused(
            ecr.upload_layer_part, "UploadNotFoundException", **arguments, partFirstByte=0, partLastByte=0, layerPartBlob=b"1"
        )
        assert sentence == (
            f"Upload with id '{unknown}' could not be found for the repository with name '{repository}' in the registry with id '{ACCOUNT}'"
        )
        refused(ecr.upload_layer_part, "UploadNotFoundException", **arguments, partFirstByte=7, partLastByte=7, layerPartBlob=b"1")
        refused(ecr.complete_layer_upload, "UploadNotFoundException", **arguments, layerDigests=[digest_of(b"1")])
    refused(ecr.complete_layer_upload, "InvalidParameterException", repositoryName=repository, uploadId="../../x", layerDigests=["a:b"])
    ecr.delete_repository(repositoryName=f"{repository}/other")


def test_of_two_who_send_the_same_part_at_once_one_is_taken(ecr: Any, repository: str) -> None:
    upload_id, content = begin(ecr, repository), os.urandom(SMALLEST)

    def attempt(_: int) -> str:
        try:
            send(ecr, repository, upload_id, 0, content)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "taken"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(attempt, range(4)))
    assert answers[-1] == "taken"
    assert set(answers[:-1]) <= {"InvalidLayerPartException", "InvalidParameterException"}
    assert complete(ecr, repository, upload_id, digest_of(content))["layerDigest"] == digest_of(content)


def test_an_upload_survives_the_end_of_the_daemon(tmp_path: Path) -> None:
    first, rest = os.urandom(SMALLEST), b"after the crash"
    with Daemon(tmp_path / "data") as daemon:
        ecr = daemon.client("ecr")
        ecr.create_repository(repositoryName="app")
        upload_id = begin(ecr, "app")
        send(ecr, "app", upload_id, 0, first)
        daemon.kill()
        daemon.start()
        ecr = daemon.client("ecr")
        with pytest.raises(ClientError) as refusal:
            send(ecr, "app", upload_id, 0, b"from the start")
        at = refusal.value.response["lastValidByteReceived"] + 1
        assert at == len(first)
        send(ecr, "app", upload_id, at, rest)
        assert complete(ecr, "app", upload_id, digest_of(first + rest))["layerDigest"] == digest_of(first + rest)
        url = _url_of(ecr, "app", first + rest)
        daemon.kill()
        daemon.start()
        url = daemon.endpoint + url.removeprefix(url.partition("/_")[0])
        assert read(url) == (200, first + rest), "a URL is good for the cloud that comes back, too"


# asking


def test_each_layer_is_told_whether_it_is_here(ecr: Any, repository: str) -> None:
    pushed = push(ecr, repository, "v1")
    config, layer = b'{"made for": "v1"}', b"layer of v1"
    upload(ecr, repository, b"no image has it")
    asked = [*map(digest_of, (config, layer, b"no image has it", b"not here")), "", "sha256:short"]
    answer = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=asked)
    assert answer["layers"] == [
        {"layerDigest": asked[0], "layerAvailability": "AVAILABLE", "layerSize": len(config), "mediaType": OCI_CONFIG},
        {"layerDigest": asked[1], "layerAvailability": "AVAILABLE", "layerSize": len(layer), "mediaType": LAYER_GZIP},
        {"layerDigest": asked[2], "layerAvailability": "AVAILABLE", "layerSize": 15},
        {"layerDigest": asked[3], "layerAvailability": "UNAVAILABLE"},
    ]
    assert [(each["layerDigest"], each["failureCode"]) for each in answer["failures"]] == [
        ("", "MissingLayerDigest"),
        ("sha256:short", "InvalidLayerDigest"),
    ]
    missing = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[pushed.digest])["layers"]
    assert missing[0]["layerAvailability"] == "UNAVAILABLE", "a manifest is no layer"


# reading


def _url_of(ecr: Any, repository: str, content: bytes) -> str:
    """Of a layer, in an image made for it."""
    have(ecr, repository, content, b"{}")
    put(ecr, repository, manifest_of(b"{}", content))
    return str(ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest_of(content))["downloadUrl"])


def test_a_url_gives_the_layer_to_whoever_has_it(cloud: CloudThread, ecr: Any, repository: str) -> None:
    content = bytes(range(256)) * 8000
    url = _url_of(ecr, repository, content)
    assert url.startswith(cloud.endpoint)
    assert read(url) == (200, content)
    assert read(url, "HEAD") == (200, b"")
    assert read(url, Range="bytes=10-19") == (206, content[10:20])
    assert read(url, Range="bytes=-5") == (206, content[-5:])
    assert read(url, Range=f"bytes={len(content)}-")[0] == 416
    assert read(url, "DELETE")[0] == 405


def test_a_url_that_was_changed_gives_nothing(ecr: Any, repository: str) -> None:
    url = _url_of(ecr, repository, b"not for everybody")
    page, _, token = url.partition("?token=")
    for wrong in (
        page,
        f"{page}?token=",
        f"{page}?token={token[:-2]}",
        f"{page}?token=A{token[1:]}",
        f"{page}?other={token}",
        f"{url}&a=b",
    ):
        assert read(wrong)[0] == 403, wrong


def test_a_url_ends_with_its_layer(ecr: Any, repository: str) -> None:
    url = _url_of(ecr, repository, b"soon gone")
    listed = ecr.list_images(repositoryName=repository)["imageIds"]
    ecr.batch_delete_image(repositoryName=repository, imageIds=listed)
    assert read(url)[0] == 404


def test_there_is_no_url_for_a_layer_that_no_image_has(ecr: Any, repository: str) -> None:
    upload(ecr, repository, b"alone")
    arguments = {"repositoryName": repository, "layerDigest": digest_of(b"alone")}
    assert digest_of(b"alone") in refused(ecr.get_download_url_for_layer, "LayerInaccessibleException", **arguments)
    arguments["layerDigest"] = digest_of(b"not here")
    sentence = refused(ecr.get_download_url_for_layer, "LayersNotFoundException", **arguments)
    assert sentence == (
        f"The layer with digest '{digest_of(b'not here')}' does not exist within the repository with name '{repository}' "
        f"in the registry with id '{ACCOUNT}'"
    )


def test_what_the_registry_took_the_api_gives_a_url_for(cloud: CloudThread, ecr: Any, repository: str) -> None:
    wire_of(cloud, ACCOUNT).push(repository, "wire")
    url = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest_of(b"layer wire"))["downloadUrl"]
    assert read(url) == (200, b"layer wire")
