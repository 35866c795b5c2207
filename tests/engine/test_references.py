"""Names of images: Docker's grammar, its familiar forms, its sentences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images.images import registry_host
from cloudstead.engine.images.references import parse, try_parse

D = "sha256:" + "0123456789abcdef" * 4

# Cases of the grammar's own tests (github.com/distribution/reference, normalize_test.go and reference_test.go), and what people type.
GOOD = [
    ("debian", "docker.io/library/debian", "debian"),
    ("debian:12", "docker.io/library/debian:12", "debian:12"),
    ("library/debian", "docker.io/library/debian", "debian"),
    ("docker.io/debian", "docker.io/library/debian", "debian"),
    ("index.docker.io/debian:x", "docker.io/library/debian:x", "debian:x"),
    ("docker.io/library/debian", "docker.io/library/debian", "debian"),
    ("user/app", "docker.io/user/app", "user/app"),
    ("docker.io/user/app:1", "docker.io/user/app:1", "user/app:1"),
    ("library/a/b", "docker.io/library/a/b", "library/a/b"),
    ("localhost/app", "localhost/app", "localhost/app"),
    ("localhost:5000/app:tag", "localhost:5000/app:tag", "localhost:5000/app:tag"),
    ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
    ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
    ("[fe80::1]/app:1", "[fe80::1]/app:1", "[fe80::1]/app:1"),
    ("REGISTRY/app", "REGISTRY/app", "REGISTRY/app"),
    ("Registry.example/app", "Registry.example/app", "Registry.example/app"),
    ("quay.io/a/b@" + D, "quay.io/a/b@" + D, "quay.io/a/b@" + D),
    ("debian:12@" + D, "docker.io/library/debian:12@" + D, "debian:12@" + D),
    ("000000000000.dkr.ecr.us-east-1.localhost:4566/app", "000000000000.dkr.ecr.us-east-1.localhost:4566/app", None),
    ("x/a-b.c_d__e/f--g:A.b-C_1", "docker.io/x/a-b.c_d__e/f--g:A.b-C_1", None),
    ("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080", "foo_bar.com:8080"),
    ("test:" + "t" * 128, "docker.io/library/test:" + "t" * 128, None),
    ("a" * 247, "docker.io/library/" + "a" * 247, None),
    ("0123", "docker.io/library/0123", "0123"),
    ("sha256:abc", "docker.io/library/sha256:abc", "sha256:abc"),
]

BAD = [
    "",
    ":justtag",
    "@" + D,
    "repo@sha256:" + "f" * 34,
    "validname@invaliddigest:" + "f" * 128,
    "debian:",
    "debian@",
    "debian:a@b",
    "a//b",
    "/a",
    "a/",
    "-a",
    "a-",
    "a..b",
    "a___b",
    "a._b",
    "a b",
    "a\n",
    "a:b\n",
    "debian:" + "t" * 129,
    "debian:-x",
    "docker.io/",
    "localhost:x/a",
    "localhost:5000",  # is the repository "localhost" with the tag 5000: good, see below
    "https://github.com/docker/docker",
    "../etc/passwd",
    "a/../b",
    "a/./b",
    "a\0b",
    "débian",
    "[::1/app",
    "-docker/app.example:80x/y",
    "xn--n3h.com/-x",
    "a" * 256,
    "docker///docker",
    "_docker/_docker",
    "docker.io/x:\u0663",
]
BAD.remove("localhost:5000")


@pytest.mark.parametrize(("text", "full", "familiar"), GOOD)
def test_a_name_is_understood_in_full_and_shown_as_people_know_it(text: str, full: str, familiar: str | None) -> None:
    reference = parse(text)
    assert reference.full == full
    assert reference.familiar == (familiar or text)
    assert parse(reference.full) == reference
    assert parse(reference.familiar) == reference


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(text)
    assert try_parse(text) is None
    message = refused.value.message
    assert message.startswith(("invalid reference format", "repository name must not be more", "invalid checksum", "unsupported digest")), (
        message
    )


def test_the_sentences_are_dockers() -> None:
    for text, sentence in (
        ("a b", "invalid reference format"),
        ("Debian", "invalid reference format: repository name (library/Debian) must be lowercase"),
        ("x.io/User/app:T", "invalid reference format: repository name (User/app) must be lowercase"),
        ("f" * 64, f"invalid repository name ({'f' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        ("a@sha256:" + "g" * 64, "invalid reference format"),
        ("a@sha256:" + "F" * 64, "invalid checksum digest format"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            parse(text)
        assert refused.value.message == sentence


def test_a_tag_is_latest_unless_said_and_nothing_beside_a_digest() -> None:
    assert parse("debian").with_default_tag().full == "docker.io/library/debian:latest"
    assert parse("debian@" + D).with_default_tag().tag == ""
    assert parse("debian:12@" + D).key == "docker.io/library/debian@" + D
    assert parse("debian").key == "docker.io/library/debian:latest"
    assert parse("debian:12@" + D).target == D
    assert parse("localhost:5000").full == "docker.io/library/localhost:5000"


def test_a_registry_is_known_by_what_login_calls_it() -> None:
    for address, host in (
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://quay.io/v2/", "quay.io"),
    ):
        assert registry_host(address) == host


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="ab0._-/:@A[]", max_size=40))
def test_whatever_is_understood_is_understood_the_same_again(text: str) -> None:
    reference = try_parse(text)
    if reference is not None:
        assert parse(reference.full) == reference
        assert parse(reference.familiar) == reference
        assert ".." not in reference.path.split("/")
