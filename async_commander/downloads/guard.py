"""Which addresses may be connected to: public ones, and those that the project names as its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Literal

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Reach = Literal["public", "internal", "refused"]

# The IANA registries of special-purpose addresses, written out: `ipaddress.is_global` differs between Python releases.
_SPECIAL_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; some clouds keep their metadata here
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public number that is a cloud's own host agent
        "169.254.0.0/16",  # link-local: metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def is_public(address: Address) -> bool:
    """Whether the address is reachable by everybody and belongs to nobody's inside."""
    address = meant(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _SPECIAL_V6)


def meant(address: Address) -> Address:
    """The IPv4 address behind an IPv4-mapped or NAT64 one; any other address as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_dotted_quad(host: str) -> bool:
    """Whether this is an IPv4 address in its one modern spelling."""
    try:
        return str(IPv4Address(host)) == host
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Decides about each address at the last moment: when the socket for it is opened.

    Redirects, other spellings, and names that resolve to something else the second time all end here, because what is
    judged is the address that is connected to. `internal_hosts` are names (`.example.org` for all below it), addresses
    and networks that are allowed although they are not public; a name allows whatever it resolves to.
    """

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, internal_hosts: Iterable[str]) -> AddressGuard:
        """The guard that lets these hosts through; ValueError for an entry that is none of the three kinds."""
        networks: list[Network] = []
        names: set[str] = set()
        for entry in internal_hosts:
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                names.add(_name(entry))
        return cls(tuple(networks), frozenset(names))

    def reach(self, host: str, address: str) -> Reach:
        """Where a connection to `address` leads, for a URL that says `host`. "internal" is allowed, too."""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:  # an unusual spelling, which the system would read in its own way
            return "refused"
        if is_public(found):
            return "public"
        labels = host.lower().rstrip(".").split(".")
        parents = (f".{'.'.join(labels[start:])}" for start in range(1, len(labels)))
        is_named = ".".join(labels) in self.names or any(parent in self.names for parent in parents)
        is_within = any(found in network or meant(found) in network for network in self.networks)
        return "internal" if is_named or is_within else "refused"


def _name(entry: str) -> str:
    dot = "." if entry.startswith(".") else ""
    try:
        host = httpx.URL(scheme="http", host=entry.strip(".")).raw_host.decode("ascii").lower()
    except httpx.InvalidURL:
        host = ""
    if not _HOST.fullmatch(host):
        raise ValueError(
            f"internal host {entry!r}: give a host name, a domain with a leading dot, an IP address or a network (CIDR)"
        )
    return dot + host
