"""The names that AWS makes up."""

from __future__ import annotations

import os
import re
import threading

import pytest

from cloudstead.kernel import ids

FORMS = [
    (ids.request_id, r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    (lambda: ids.hex_id("i"), r"i-[0-9a-f]{17}"),
    (lambda: ids.hex_id("vpc", 8), r"vpc-[0-9a-f]{8}"),
    (lambda: ids.hex_digits(32), r"[0-9a-f]{32}"),
    (lambda: ids.lower_id(), r"[a-z0-9]{10}"),
    (lambda: ids.unique_id(ids.ROLE), r"AROA[A-Z2-7]{17}"),
    (lambda: ids.access_key_id("123456789012"), r"AKIA[A-Z2-7]{16}"),
    (lambda: ids.access_key_id("123456789012", temporary=True), r"ASIA[A-Z2-7]{16}"),
    (ids.secret_access_key, r"[A-Za-z0-9+/]{40}"),
    (ids.session_token, r"FwoGZXIvYXdz[A-Za-z0-9+/]+=*"),
]


@pytest.mark.parametrize(("make", "form"), FORMS)
def test_a_name_has_the_form_of_awss(make, form):
    made = [make() for _ in range(600)]  # more than a block of request ids
    assert all(re.fullmatch(form, name) for name in made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("account", ["000000000000", "123456789012", "999999999999"])
def test_an_access_key_spells_its_account(account):
    assert ids.account_of_access_key(ids.access_key_id(account)) == account


def test_a_key_of_awss_own_is_read_as_they_write_it():
    # the example of https://hackingthe.cloud/aws/enumeration/get-account-id-from-keys/
    assert ids.account_of_access_key("ASIAY34FZKBOKMUTVV7A") == "609629065308"


@pytest.mark.parametrize("key", ["", "test", "AKIAIOSFODNN7EXAMPLE", "AKIA0189", "AIDAY34FZKBOKMUTVV7A", "AKIAé234FZKBOKMUTVV7"])
def test_a_key_that_spells_no_account_is_told_apart(key):
    assert ids.account_of_access_key(key) is None


def test_the_same_seed_makes_the_same_names():
    def draw(seed):
        with ids.seeded(seed):
            return [make() for make, _ in FORMS for _ in range(3)]

    assert draw(7) == draw(7) != draw(8)


def test_after_a_seeded_block_names_are_unguessable_again():
    with ids.seeded(1):
        inside = {ids.request_id() for _ in range(300)}
    with ids.seeded(1):
        pass
    assert not inside & {ids.request_id() for _ in range(300)}


def test_threads_never_share_a_request_id():
    made: list[list[str]] = [[] for _ in range(8)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(ids.request_id() for _ in range(2000))) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for mine in made for name in mine}) == 16_000


def test_a_forked_child_makes_other_request_ids():
    ids.request_id()  # the rest of its block is waiting now
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ids.request_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() not in {ids.request_id() for _ in range(300)}
