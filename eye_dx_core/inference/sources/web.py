"""Photographs on web servers: the listed ones only, by HTTPS unless listed otherwise, within limits of time and size."""

import logging
import ssl
import time
from collections.abc import Iterable
from pathlib import Path

import httpcore2
import httpx2

from eye_dx_core.dataset.photo_file import MAX_BYTES
from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.inference.sources.allowed import WebHost, web_host
from eye_dx_core.inference.sources.dialling import CheckedNetwork, Resolve, ask_resolver
from eye_dx_core.inference.sources.patience import DEFAULT_PATIENCE, Patience, Rests, ServerSilent, seconds_left

_REDIRECTS, _MOST_REDIRECTS = {301, 302, 303, 307, 308}, 3
_GONE, _FORBIDDEN, _BUSY = {404, 410}, {401, 403}, {408, 425, 429}
# Without an offer of compression an honest server compresses nothing, and nothing is unpacked here: no small answer becomes a large one.
_HEADERS = [(b"Accept", b"image/*, */*;q=0.1"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"eye-dx")]


class WebPhotos:
    """The port `PhotoSource` over http and https.

    Each photograph has a connection of its own, so no address outlives its check, and no proxy, cookie or password of this
    machine goes along. What is read is what the URL was parsed to: there is no second parser that could see another host.

    Args:
        hosts: servers at public addresses.
        private_hosts: servers that may also lie in the house's own network.
        ca_file: certificates of authorities to trust beside the system's.
        patience: how long they may take.
        resolve: who knows the addresses of names.
        network: who dials.

    Raises:
        OSError: `ca_file` cannot be read, or holds no certificate.
    """

    def __init__(
        self,
        hosts: Iterable[WebHost],
        *,
        private_hosts: Iterable[WebHost] = (),
        ca_file: Path | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        resolve: Resolve = ask_resolver,
        network: httpcore2.NetworkBackend | None = None,
    ) -> None:
        self._private = frozenset(private_hosts)
        self._hosts = frozenset(hosts) | self._private
        self._patience, self._resolve, self._network = patience, resolve, network or httpcore2.SyncBackend()
        self._tls = _trust(ca_file) if any(host.scheme == "https" for host in self._hosts) else None
        self._rests = Rests()
        # When told to say everything, it writes headers to the log, and with them where a server redirects to.
        logging.getLogger("httpcore2").setLevel(logging.INFO)

    def find_photo(self, location: str) -> bytes:
        """See the port. Besides: `host_not_allowed`, `private_address`, `redirected_elsewhere`, `unexpected_answer`."""
        url = _parse(location)
        first = _host_of(url)
        if first not in self._hosts:
            raise BadPhoto("host_not_allowed", "neither EYE_DX_PHOTO_HOSTS nor EYE_DX_PHOTO_PRIVATE_HOSTS lists the photograph's host")
        deadline = time.monotonic() + self._patience.total
        for _ in range(_MOST_REDIRECTS + 1):
            with self._rests.asking(str(_host_of(url))):
                answer = self._ask(url, deadline)
            if isinstance(answer, bytes):
                return answer
            url = answer
            if _host_of(url) not in self._hosts or _host_of(url).host != first.host:
                raise BadPhoto("redirected_elsewhere", "the photograph's server sends us to another one")
        raise BadPhoto("redirected_elsewhere", f"the photograph's server sends us on more than {_MOST_REDIRECTS} times")

    def _ask(self, url: httpx2.URL, deadline: float) -> bytes | httpx2.URL:
        """The photograph, or where the server says it is."""
        host = _host_of(url)
        network = CheckedNetwork(indoors=host in self._private, deadline=deadline, resolve=self._resolve, network=self._network)
        target = httpcore2.URL(scheme=host.scheme, host=host.host, port=host.port, target=url.raw_path)
        patience = {"connect": self._patience.connect, "read": self._patience.silence, "write": self._patience.silence}
        try:
            with (
                httpcore2.ConnectionPool(ssl_context=self._tls, max_connections=1, network_backend=network) as pool,
                pool.stream("GET", target, headers=[(b"Host", url.netloc), *_HEADERS], extensions={"timeout": patience}) as response,
            ):
                return _read(response, url, deadline)
        except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                raise ServerSilent("the certificate of the photograph's server does not hold; EYE_DX_PHOTO_CA adds an authority") from None
            raise ServerSilent(f"the photograph's server did not answer ({type(error).__name__})") from None
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
            raise ServiceUnavailable(f"the photograph's server broke off, or speaks no HTTP ({type(error).__name__})") from None


def _parse(location: str) -> httpx2.URL:
    try:
        url = httpx2.URL(location)
        url.raw_path.decode("ascii")
    except (httpx2.InvalidURL, ValueError, TypeError):
        raise BadPhoto("unsupported_location", "the photograph's address cannot be read") from None
    if url.scheme not in ("http", "https") or not url.raw_host or url.userinfo:
        raise BadPhoto("unsupported_location", "only addresses such as https://host/path are read, without user and password")
    return url


def _host_of(url: httpx2.URL) -> WebHost:
    return web_host(url.scheme, url.raw_host.decode("ascii"), url.port)


def _read(response: httpcore2.Response, url: httpx2.URL, deadline: float) -> bytes | httpx2.URL:
    headers = {name.lower(): value for name, value in response.headers}
    if response.status in _REDIRECTS:
        return _follow(url, headers.get(b"location", b""))
    if response.status != 200:
        raise _of_status(response.status)
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise BadPhoto("unexpected_answer", "the photograph's server compresses it although nobody asked")
    if int(headers.get(b"content-length", b"0")) > MAX_BYTES:
        raise _too_large()
    content = bytearray()
    for piece in response.iter_stream():
        content += piece
        if len(content) > MAX_BYTES:
            raise _too_large()
        seconds_left(deadline)
    return bytes(content)


def _follow(url: httpx2.URL, target: bytes) -> httpx2.URL:
    try:
        return _parse(str(url.join(target.decode("ascii"))))
    except (BadPhoto, httpx2.InvalidURL, ValueError):
        raise BadPhoto("redirected_elsewhere", "the photograph's server sends us where we cannot go") from None


def _of_status(status: int) -> BadPhoto | ServiceUnavailable:
    if status >= 500 or status in _BUSY:
        return ServiceUnavailable(f"the photograph's server answered with HTTP {status}")
    if status in _GONE:
        return BadPhoto("missing", "the photograph is not there")
    if status in _FORBIDDEN:
        return BadPhoto("forbidden", "the photograph's server does not let us read it")
    return BadPhoto("unexpected_answer", f"the photograph's server answered with HTTP {status}")


def _too_large() -> BadPhoto:
    return BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = httpcore2.default_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
