"""Temporary credentials whose token holds their session: nobody else can make or change one."""

from __future__ import annotations

import base64
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.kernel.identity import Identity
from cloudstead.kernel.sessions import Sessions

KEY, OTHER = b"k" * 32, b"o" * 32
ROLE = Identity(
    account="111122223333",
    arn="arn:aws:sts::111122223333:assumed-role/r/s",
    user_id="AROAX:s",
    kind="assumed-role",
    principal_arn="arn:aws:iam::111122223333:role/r",
    session_policies=("{}",),
    session_tags=(("team", "a"),),
    issued_at=1.0,
)


def sealed(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


def test_a_token_gives_back_who_it_was_made_for_also_after_a_restart() -> None:
    made = Sessions(KEY).issue(ROLE, 1000.0)
    found = Sessions(KEY).find(made.access_key_id, made.session_token)
    assert found == made
    assert found.identity == msgspec.structs.replace(ROLE, access_key_id=made.access_key_id)
    assert found.expires_at == 1000.0


def test_the_secret_key_is_not_in_the_token() -> None:
    made = Sessions(KEY).issue(ROLE, 1000.0)
    record = sealed(made.session_token)[32:]
    assert made.secret_access_key.encode() not in record + zlib.decompress(record)
    assert made.secret_access_key != Sessions(OTHER).issue(ROLE, 1000.0).secret_access_key


def test_a_token_of_another_cloud_or_of_another_key_is_none_here() -> None:
    made, foreign = Sessions(KEY).issue(ROLE, 1000.0), Sessions(OTHER).issue(ROLE, 1000.0)
    sessions = Sessions(KEY)
    assert sessions.find(foreign.access_key_id, foreign.session_token) is None
    assert sessions.find(foreign.access_key_id, made.session_token) is None
    assert sessions.find(made.access_key_id, made.session_token) is not None
    assert sessions.find(foreign.access_key_id, made.session_token) is None, "also when the token has been opened before"


def test_a_record_that_somebody_else_sealed_is_not_believed() -> None:
    """As the root user, for ever: with no seal, with the old one, with one of another purpose."""
    sessions = Sessions(KEY)
    made = sessions.issue(ROLE, 1000.0)
    root = msgspec.structs.replace(made.identity, kind="root", arn="arn:aws:iam::111122223333:root", session_policies=())
    record = zlib.compress(msgspec.msgpack.encode([root, 9e9]))
    for seal in (bytes(32), sealed(made.session_token)[:32], sealed(sessions.seal("authorization-message", record))[:32]):
        forged = base64.urlsafe_b64encode(seal + record).decode()
        assert sessions.find(made.access_key_id, forged) is None


@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_of_a_token_can_be_changed(at: int, bit: int) -> None:
    made = Sessions(KEY).issue(ROLE, 1000.0)
    data = bytearray(sealed(made.session_token))
    data[at % len(data)] ^= 1 << bit
    assert Sessions(KEY).find(made.access_key_id, base64.urlsafe_b64encode(data).decode()) is None


@given(text=st.text())
def test_nonsense_is_no_token(text: str) -> None:
    assert Sessions(KEY).find("ASIAX", text) is None
    assert Sessions(KEY).unseal("session", text) is None


@pytest.mark.parametrize("content", [b"", b"not compressed", zlib.compress(b"not a session"), zlib.compress(bytes(1 << 20))])
def test_what_an_older_version_sealed_in_another_form_is_refused(content: bytes) -> None:
    sessions = Sessions(KEY)
    assert sessions.find("ASIAX", sessions.seal("session", content)) is None


def test_what_is_sealed_for_one_purpose_opens_for_no_other() -> None:
    sessions = Sessions(KEY)
    text = sessions.seal("authorization-message", b"details")
    assert sessions.unseal("authorization-message", text) == b"details"
    assert sessions.unseal("session", text) is None
