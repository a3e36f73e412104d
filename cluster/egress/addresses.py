"""Judges addresses: no session reaches what is not the public internet, whatever it is called. Pure.

Only what getaddrinfo(3) made of a name or of a number in any spelling is judged, and a connection goes to
exactly the address that was judged; so spellings, rebinding and redirects lead nowhere. Forms that carry an
address of IPv4 inside one of IPv6 are refused as such, whatever they carry: no route needs them here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_TABLE = (
    ("unspecified", "0.0.0.0/8", "is no address of a host"),
    ("loopback", "127.0.0.0/8", "is the server itself"),
    ("link_local", "169.254.0.0/16", "is link-local, where clouds keep their metadata"),
    ("metadata", "168.63.129.16/32", "is a cloud's metadata service"),
    ("carrier_grade", "100.64.0.0/10", "is shared by carriers (RFC 6598)"),
    ("private", "10.0.0.0/8", "is private"),
    ("private", "172.16.0.0/12", "is private"),
    ("private", "192.168.0.0/16", "is private"),
    ("six_to_four", "192.88.99.0/24", "is a relay of 6to4"),
    ("multicast", "224.0.0.0/4", "is multicast"),
    ("reserved", "192.0.0.0/24", "is reserved"),
    ("reserved", "192.0.2.0/24", "is for documentation"),
    ("reserved", "198.18.0.0/15", "is for measurements"),
    ("reserved", "198.51.100.0/24", "is for documentation"),
    ("reserved", "203.0.113.0/24", "is for documentation"),
    ("reserved", "240.0.0.0/4", "is reserved"),
    ("unspecified", "::/128", "is no address of a host"),
    ("loopback", "::1/128", "is the server itself"),
    ("ipv4_mapped", "::ffff:0:0/96", "is an address of IPv4 in disguise"),
    ("ipv4_mapped", "::ffff:0:0:0/96", "is an address of IPv4 in disguise"),
    ("ipv4_mapped", "::/96", "is an address of IPv4 in disguise"),
    ("nat64", "64:ff9b::/96", "is an address of IPv4 behind NAT64"),
    ("nat64", "64:ff9b:1::/48", "is an address of IPv4 behind NAT64"),
    ("teredo", "2001::/32", "is an address of IPv4 behind Teredo"),
    ("six_to_four", "2002::/16", "is an address of IPv4 behind 6to4"),
    ("link_local", "fe80::/10", "is link-local"),
    ("private", "fc00::/7", "is private"),
    ("private", "fec0::/10", "is private"),
    ("multicast", "ff00::/8", "is multicast"),
)
_RANGES = tuple((rule, ip_network(network), words) for rule, network, words in _TABLE)
_GLOBAL_UNICAST = ip_network("2000::/3")
_ISATAP = (0x00005EFE, 0x02005EFE)


def refusal(text: str, more: tuple[Network, ...] = ()) -> tuple[str, str] | None:
    """Return why an address is refused, as a rule's name and words; None: it is public.

    ``text`` is as getaddrinfo(3) gives it, ``more`` what the operator refuses, too.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "reserved", "is no address"
    for rule, network, words in _RANGES:
        if address in network:
            return rule, words
    if any(address in network for network in more):
        return "operator", "is refused by the server's settings"
    if isinstance(address, IPv6Address) and _carries_ipv4(address):
        return "isatap", "is an address of IPv4 behind ISATAP"
    return None if _is_public(address) else ("reserved", "is reserved")


def _carries_ipv4(address: IPv6Address) -> bool:
    return (int(address) >> 32) & 0xFFFFFFFF in _ISATAP


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    unicast = isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST
    return unicast and address.is_global
