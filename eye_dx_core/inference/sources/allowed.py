"""What an installation allows: web hosts, buckets, and which addresses a host's name may stand for. Rules only, no I/O."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"https": 443, "http": 80}
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
# What a resolver may take for an IPv4 address: 127.1, 0x7f.1, 2130706433.
_LIKE_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Where a house keeps its servers: itself, RFC 1918, RFC 6598 (overlay networks), RFC 4193. Not link-local, where clouds keep credentials.
_INDOORS = tuple(map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")))
_NAT64 = ip_network("64:ff9b::/96")


class WebHost(NamedTuple):
    """One web server: equal only when scheme, host and port are."""

    scheme: str
    host: str
    """In lower case; an address in its shortest form, without brackets."""
    port: int

    def __str__(self) -> str:
        """As it is listed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class BucketPrefix(NamedTuple):
    """Part of an object store: a bucket, or what lies under a prefix of it."""

    bucket: str
    prefix: str
    """Empty, or with a slash at its end."""

    def holds(self, bucket: str, key: str) -> bool:
        """Whether an object, or a prefix, lies in this part."""
        return bucket == self.bucket and key.startswith(self.prefix)


def web_host(scheme: str, host: str, port: int | None) -> WebHost:
    """A web server in the one form by which servers are compared."""
    address = find_address(host)
    return WebHost(scheme, str(address) if address else host, _PORTS.get(scheme, 0) if port is None else port)


def parse_web_host(text: str) -> WebHost:
    """A server as a setting lists it: `host`, `host:port`, or the same after `http://` for one that speaks no TLS.

    Raises:
        ValueError: it is no such thing. A name outside ASCII must be written as its `xn--` form, so that nobody has to guess
            which of two letters that look alike is meant.
    """
    parts = urlsplit(text if "://" in text else f"https://{text}")
    host = parts.hostname or ""
    is_bare = not (parts.path or parts.query or parts.fragment or parts.username is not None)
    is_name = _HOST_NAME.fullmatch(host) is not None and not _LIKE_A_NUMBER.fullmatch(host)
    if parts.scheme not in _PORTS or not is_bare or not (is_name or find_address(host)) or parts.port == 0:
        raise ValueError("list hosts such as pacs.example.org, img.example.org:8443, http://10.0.0.5")
    return web_host(parts.scheme, host, parts.port)


def parse_bucket(text: str) -> BucketPrefix:
    """A bucket as a setting lists it: `bucket` or `bucket/prefix`.

    Raises:
        ValueError: it is no such thing.
    """
    bucket, _, prefix = text.partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket) or ".." in prefix.split("/"):
        raise ValueError("list buckets such as fundus or fundus/screening")
    return BucketPrefix(bucket, f"{prefix}/" if prefix else "")


def find_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, or None for a name."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet at large: no house's network, no machine itself, no metadata service."""
    seen = _undisguised(address)
    if seen is None or (isinstance(seen, IPv6Address) and (seen.sixtofour or seen.teredo)):
        return False
    return seen.is_global and not (seen.is_multicast or seen.is_reserved or seen.is_link_local or seen.is_unspecified)


def is_indoors(address: str) -> bool:
    """Whether an address belongs to this machine or to a house's own network."""
    seen = _undisguised(address)
    return seen is not None and any(seen in network for network in _INDOORS)


def _undisguised(address: str) -> IPv4Address | IPv6Address | None:
    """The IPv4 address inside an IPv6 one that stands for it (RFC 4291, RFC 6052), else the address itself."""
    seen = find_address(address)
    if not isinstance(seen, IPv6Address):
        return seen
    return seen.ipv4_mapped or (IPv4Address(int(seen) & 0xFFFFFFFF) if seen in _NAT64 else seen)
