"""Which addresses a subnet gives out, and which cidr is free."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.engine.errors import Conflict, InvalidArgument, NoSpace
from cloudstead.engine.network.addresses import AddressPool, free_cidr, gateway_of, mac_of
from cloudstead.engine.network.api import Subnet


def pool(cidr: str = "10.0.0.0/24", **options: object) -> AddressPool:
    return AddressPool(Subnet(id="s", cidr=cidr, **options))  # type: ignore[arg-type]


def test_the_gateway_is_the_first_address_and_pods_have_those_after_it() -> None:
    subnet = pool()
    assert [str(subnet.gateway), subnet.take(), subnet.take()] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_a_gateway_elsewhere_is_passed_over() -> None:
    subnet = pool(gateway="10.0.0.2")
    assert [subnet.take(), subnet.take()] == ["10.0.0.1", "10.0.0.3"]


def test_reserved_addresses_are_nobodys() -> None:
    subnet = pool(reserved=4)
    assert subnet.take() == "10.0.0.4"
    with pytest.raises(InvalidArgument, match=r"10\.0\.0\.3 is reserved"):
        subnet.take_this("10.0.0.3")


def test_a_range_limits_what_is_given_out_and_not_what_is_asked_for() -> None:
    subnet = pool(range="10.0.0.128/30")
    given_out = [subnet.take() for _ in range(4)]
    assert given_out == ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"]
    with pytest.raises(NoSpace):
        subnet.take()
    assert subnet.take_this("10.0.0.7") == "10.0.0.7"
    subnet.give_back("10.0.0.7")
    with pytest.raises(NoSpace):
        subnet.take()


def test_the_address_that_was_freed_last_is_given_out_last() -> None:
    subnet = pool("10.0.0.0/29")
    taken = [subnet.take() for _ in range(5)]
    for ip in ("10.0.0.4", "10.0.0.2", "10.0.0.6"):
        subnet.give_back(ip)
    assert taken == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert [subnet.take() for _ in range(3)] == ["10.0.0.4", "10.0.0.2", "10.0.0.6"]


def test_addresses_that_were_never_used_come_before_those_that_were() -> None:
    subnet = pool()
    subnet.give_back(subnet.take())
    assert [subnet.take(), subnet.take()] == ["10.0.0.3", "10.0.0.4"]


def test_a_full_subnet_says_so() -> None:
    subnet = pool("10.0.0.0/29")
    for _ in range(5):
        subnet.take()
    with pytest.raises(NoSpace, match=r"no available IPv4 addresses on this network's address pools: s \(10\.0\.0\.0/29\)"):
        subnet.take()
    assert subnet.available == 0


@pytest.mark.parametrize(
    ("ip", "kind"),
    [
        ("10.0.0.0", InvalidArgument),
        ("10.0.0.255", InvalidArgument),
        ("10.0.1.1", InvalidArgument),
        ("10.0.0.300", InvalidArgument),
        ("::1", InvalidArgument),
        ("10.0.0.1", Conflict),
        ("10.0.0.9", Conflict),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(ip: str, kind: type[Exception]) -> None:
    subnet = pool()
    subnet.take_this("10.0.0.9")
    with pytest.raises(kind):
        subnet.take_this(ip)


def test_an_address_given_back_twice_is_free_once() -> None:
    subnet = pool("10.0.0.0/29")
    subnet.give_back(subnet.take())
    subnet.give_back("10.0.0.2")
    assert len({subnet.take() for _ in range(5)}) == 5


def test_the_hardware_address_is_dockers() -> None:
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
    assert gateway_of(Subnet(id="s", cidr="10.1.0.0/16")) == IPv4Address("10.1.0.1")


@given(st.lists(st.one_of(st.just("take"), st.integers(0, 15)), max_size=60))
def test_no_address_is_ever_two_pods(steps: list[str | int]) -> None:
    subnet = pool("10.0.0.0/28", reserved=2)
    held: list[str] = []
    for step in steps:
        if step == "take":
            if subnet.available:
                ip = subnet.take()
                assert ip not in held
                assert ip not in ("10.0.0.0", "10.0.0.1", "10.0.0.15")
                held.append(ip)
            else:
                with pytest.raises(NoSpace):
                    subnet.take()
        elif held:
            subnet.give_back(held.pop(int(step) % len(held)))
    assert subnet.available == 13 - len(held)


def test_the_first_free_network_is_found() -> None:
    assert free_cidr("172.16.0.0/12", 16, []) == "172.16.0.0/16"
    assert free_cidr("172.16.0.0/12", 16, ["172.16.0.0/16", "172.17.3.0/24", "10.0.0.0/8"]) == "172.18.0.0/16"
    assert free_cidr("172.16.0.0/12", 24, ["172.16.0.0/30"]) == "172.16.1.0/24"


def test_when_no_network_is_free_it_is_said() -> None:
    with pytest.raises(NoSpace, match="non-overlapping IPv4 address pool"):
        free_cidr("172.16.0.0/12", 16, ["172.0.0.0/8"])
    with pytest.raises(InvalidArgument):
        free_cidr("172.16.0.0/12", 8, [])
    with pytest.raises(InvalidArgument):
        free_cidr("fd00::/8", 16, [])


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(20, 32)), max_size=12), st.integers(20, 28))
def test_a_free_network_overlaps_with_none(taken: list[tuple[int, int]], prefix: int) -> None:
    used = [str(IPv4Network((int(IPv4Address("10.0.0.0")) + number * 64, bits), strict=False)) for number, bits in taken]
    try:
        found = IPv4Network(free_cidr("10.0.0.0/18", prefix, used))
    except NoSpace:
        return
    assert found.subnet_of(IPv4Network("10.0.0.0/18"))
    assert not any(found.overlaps(IPv4Network(other)) for other in used)
