"""Pure: which network addresses are public, so that a request to a name that somebody else controls may go there."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

# IANA's special-purpose address registries and RFC 6890; the first network that holds an address names it.
_NOT_PUBLIC_4 = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),  # of Azure, and looks public
        ("169.254.169.254/32", "a cloud's metadata"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
# Those that embed an IPv4 address lead to it by way of a gateway, past what is said above.
_NOT_PUBLIC_6 = tuple(
    (ip_network(network), what)
    for network, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "reserved"),
        ("fd00:ec2::254/128", "a cloud's metadata"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
    )
)
_UNICAST_6 = ip_network("2000::/3")
"""All of IPv6 that has ever been given out for public use."""


def why_not_public(address: IPv4Address | IPv6Address) -> str | None:
    """What kind of address it is if it is not public, in a word or two; None for a public one."""
    networks = _NOT_PUBLIC_4 if isinstance(address, IPv4Address) else _NOT_PUBLIC_6
    for network, what in networks:
        if address in network:
            return what
    return None if isinstance(address, IPv4Address) or address in _UNICAST_6 else "reserved"
