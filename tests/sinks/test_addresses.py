"""Which addresses count as public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.addresses import why_not_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "168.63.129.15"]
PUBLIC += ["2606:4700:4700::1111", "2a00:1450:4001:830::200e", "2001:4860:4860::8888", "2620:0:2d0:200::7"]

NOT_PUBLIC = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.1.2.3": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.127.255.255": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "a cloud's metadata",
    "169.254.169.254": "a cloud's metadata",
    "169.254.170.2": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved",
    "192.168.0.1": "private",
    "198.18.0.1": "reserved",
    "203.0.113.7": "reserved",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:8.8.8.8": "IPv4-mapped",
    "::127.0.0.1": "IPv4-compatible",
    "64:ff9b::a00:1": "NAT64",
    "64:ff9b:1::a00:1": "NAT64",
    "100::1": "reserved",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "reserved",
    "2001:db8::1": "reserved",
    "2002:7f00:1::1": "6to4",
    "3fff::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "a cloud's metadata",
    "fd12:3456::1": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "private",
    "ff02::1": "multicast",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert why_not_public(ip_address(text)) is None


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_called_by_its_kind(text: str) -> None:
    assert why_not_public(ip_address(text)) == NOT_PUBLIC[text]


addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**128 - 1).map(IPv6Address),
    # Most of IPv6 is far from anything special.
    st.tuples(
        st.sampled_from(["::", "::ffff:0", "64:ff9b::", "2001::", "2002::", "fe80::", "fc00::"]), st.integers(0, 2**64)
    ).map(lambda pair: IPv6Address((int(IPv6Address(pair[0])) + pair[1]) % 2**128)),
)


@given(addresses)
def test_nothing_is_public_that_python_does_not_call_global(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert why_not_public(address) is not None


@given(st.integers(0, 2**32 - 1).map(IPv4Address), st.sampled_from(["::", "::ffff:0:0", "64:ff9b::", "2002::"]))
def test_no_ipv6_address_that_embeds_an_ipv4_address_is_public(inner: IPv4Address, prefix: str) -> None:
    shift = 80 if prefix == "2002::" else 0
    assert why_not_public(IPv6Address(int(IPv6Address(prefix)) | int(inner) << shift)) is not None
