from __future__ import annotations

from ipaddress import ip_address

import pytest

from async_commander.downloads.guard import AddressGuard, is_dotted_quad, is_public


def allows(guard: AddressGuard, host: str, address: str) -> bool:
    return guard.reach(host, address) != "refused"


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "168.63.129.17",
        "2606:4700:4700::1111",
        "2a00:1450:4001:830::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.170",
        "192.168.0.1",
        "198.19.0.1",
        "224.0.0.251",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


def test_what_is_not_an_address_is_not_allowed() -> None:
    guard = AddressGuard.of(["127.0.0.1"])
    assert not allows(guard, "x", "127.1")
    assert not allows(guard, "x", "")
    assert not allows(guard, "x", "fe80::1%eth0")


def test_networks_addresses_and_names_are_told_apart() -> None:
    guard = AddressGuard.of(["10.0.0.0/8", "192.168.1.1", "[fd00::1]", "Intranet", ".corp.example", "bücher.example"])
    assert allows(guard, "anything", "10.9.9.9")
    assert allows(guard, "anything", "::ffff:10.9.9.9")
    assert allows(guard, "anything", "192.168.1.1")
    assert allows(guard, "anything", "fd00::1")
    assert allows(guard, "intranet", "172.16.0.1")
    assert allows(guard, "INTRANET.", "172.16.0.1")
    assert allows(guard, "wiki.corp.example", "172.16.0.1")
    assert allows(guard, "xn--bcher-kva.example", "172.16.0.1")
    for host in ("corp.example", "evilcorp.example", "intranet.example.org", "wiki.corp.example.org", ""):
        assert not allows(guard, host, "172.16.0.1"), host
    assert not allows(guard, "anything", "192.168.1.2")


@pytest.mark.parametrize(
    "entry", ["", ".", "10.0.0.0/99", "http://example.org", "a b", "*.example.org", "host:8000", "user@host"]
)
def test_an_entry_that_makes_no_sense_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="internal host"):
        AddressGuard.of([entry])


def test_one_spelling_of_an_address_is_good() -> None:
    assert is_dotted_quad("127.0.0.1")
    for host in ("127.1", "2130706433", "127.0.0.01", "256.0.0.1", "1.2.3.4.5", "٣"):
        assert not is_dotted_quad(host)
