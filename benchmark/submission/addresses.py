"""Which addresses a stranger may make this program fetch: public https ones, never this machine or its network."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmark.errors import UserError
from benchmark.results.fields import is_plain_url

MAX_URL = 4096  # characters; signed addresses, to which a host redirects, have a thousand
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is routed: not the translations of IPv4 (NAT64, mapped)
# Inside the public ranges, but each leads to another address that it contains (6to4, Teredo, PCP), or to none.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "192.0.0.0/24", "192.88.99.0/24")
)


class Endpoint(NamedTuple):
    """One address of a host, as the resolver gives it: what `socket.connect` takes, and nothing to resolve again."""

    family: int
    address: tuple[Any, ...]  # the IP address, the port and, for IPv6, flow and scope


def resolve(host: str) -> list[Endpoint]:
    """Return all addresses of a host for https.

    Raises:
        OSError: if it has none.
    """
    entries = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Endpoint(family, address) for family, _, _, _, address in entries]


def check_url(url: str) -> str:
    """Return the host of an address that is plain https.

    Raises:
        UserError: if it is not.
    """
    try:
        if len(url) > MAX_URL or not re.fullmatch(r"[!-~]+", url):
            raise ValueError(f"it is not 1 to {MAX_URL} printable ASCII characters")
        return urlsplit(is_plain_url(url)).netloc
    except ValueError as error:
        raise UserError(f"{url[:100]!a} is refused: {error}") from None


def check_public(url: str, endpoints: Sequence[Endpoint]) -> None:
    """Refuse a host unless all its addresses are public.

    Raises:
        UserError: naming the URL, never the private address.
    """
    if not endpoints or not all(is_public(str(endpoint.address[0])) for endpoint in endpoints):
        raise UserError(f"{url[:100]!a} is not on a public host")


def is_public(address: str) -> bool:
    """Return whether an IP address, of either version, is that of a single machine on the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or (ip.version == 6 and ip not in _UNICAST):
        return False
    return not any(ip in network for network in _NOT_PUBLIC)
