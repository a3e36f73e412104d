"""Which addresses nobody reaches: the ranges, the disguises, and what getaddrinfo makes of spellings."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cluster.egress.addresses import refusal
from cluster.egress.resolver import look_up

PUBLIC = st.ip_addresses(v=4).filter(lambda address: address.is_global)


def rule(text: str) -> str | None:
    found = refusal(text)
    return found[0] if found else None


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e"]
)
def test_the_public_internet_is_reached(text):
    assert refusal(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.169.254", "link_local"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "carrier_grade"),
        ("10.0.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("192.0.0.192", "reserved"),
        ("198.18.0.1", "reserved"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::127.0.0.1", "ipv4_mapped"),
        ("::ffff:10.0.0.1", "ipv4_mapped"),
        ("::ffff:1.1.1.1", "ipv4_mapped"),
        ("64:ff9b::7f00:1", "nat64"),
        ("64:ff9b:1::1", "nat64"),
        ("2002:a00:1::", "six_to_four"),
        ("2001:0:1::1", "teredo"),
        ("fe80::1%eth0", "link_local"),
        ("fd00:ec2::254", "private"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "reserved"),
        ("2600::5efe:a00:1", "isatap"),
        ("4000::1", "reserved"),
        ("not an address", "reserved"),
    ],
)
def test_what_is_not_public_is_refused_by_name(text, expected):
    assert rule(text) == expected


def test_an_operator_refuses_more():
    networks = (ip_network("1.1.1.0/24"), ip_network("2606:4700::/32"))
    assert refusal("1.1.1.1", networks) == ("operator", "is refused by the server's settings")
    assert refusal("2606:4700::1111", networks) is not None
    assert refusal("1.1.2.1", networks) is None


@given(st.ip_addresses(v=4))
def test_nothing_that_is_not_global_gets_through(address: IPv4Address):
    if not address.is_global or address.is_multicast:
        assert refusal(str(address)) is not None


@given(st.ip_addresses(v=6))
def test_nothing_of_ipv6_that_is_not_global_gets_through(address: IPv6Address):
    if not address.is_global or address.is_multicast or address.ipv4_mapped:
        assert refusal(str(address)) is not None


@given(PUBLIC)
def test_public_addresses_in_disguise_are_refused_as_such(address: IPv4Address):
    number = int(address)
    for high in (
        0xFFFF << 32,
        0x0064FF9B << 96,
        (0x2002 << 112) | (number << 80),
        0x20010000 << 96,
    ):
        assert refusal(str(IPv6Address(high | number))) is not None


def spellings(address: IPv4Address) -> list[str]:
    number, parts = int(address), address.packed
    return [
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(hex(part) for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"0x{parts[0]:x}.0{number & 0xFFFFFF:o}",
    ]


@given(st.ip_addresses(v=4).filter(lambda address: int(address) > 0))
def test_every_spelling_comes_to_the_address_that_is_judged(address: IPv4Address):
    for spelled in spellings(address):
        try:
            found = look_up(spelled, 80)
        except socket.gaierror:
            assume(False)
        assert found == [str(address)], spelled
