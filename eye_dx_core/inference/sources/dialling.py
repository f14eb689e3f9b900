"""How a web server is reached: its name is asked once, every address is checked, and only a checked one is dialled, in time."""

import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from threading import Thread
from typing import Any

import httpcore2

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.sources.allowed import find_address, is_indoors, is_public
from eye_dx_core.inference.sources.patience import ServerSilent, seconds_left

Resolve = Callable[[str, int], Sequence[str]]
"""From a host's name and port to its addresses; raises `OSError` when there are none."""


def ask_resolver(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host as this machine's resolver knows them."""
    return tuple(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class CheckedNetwork(httpcore2.NetworkBackend):
    """Dials only addresses that a host may have, and lets nothing take longer than the whole may take.

    The library is given the name, so that `Host` and the certificate are about the name; the address behind it is chosen here.
    A host that is listed by its address is dialled at it.

    Args:
        indoors: whether the host may lie in the house's own network too.
        deadline: when everything must be over, on the monotonic clock.
        resolve: who knows addresses.
        network: who dials them.
    """

    def __init__(self, *, indoors: bool, deadline: float, resolve: Resolve, network: httpcore2.NetworkBackend) -> None:
        self._indoors, self._deadline, self._resolve, self._network = indoors, deadline, resolve, network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """See the library.

        Raises:
            BadPhoto: `private_address`, if only one of the host's addresses is: whoever answers for the name can choose.
        """
        addresses = (host,) if find_address(host) else self._find_addresses(host, port)
        for address in addresses:
            try:
                seconds = seconds_left(self._deadline, timeout)
                stream = self._network.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return _TimedStream(stream, self._deadline)
        raise httpcore2.ConnectError

    def _find_addresses(self, host: str, port: int) -> Sequence[str]:
        addresses = _in_time(lambda: self._resolve(host, port), seconds_left(self._deadline))
        if not all(is_public(one) or (self._indoors and is_indoors(one)) for one in addresses):
            raise BadPhoto(
                "private_address", "the host lies in a private network; if that is right, EYE_DX_PHOTO_PRIVATE_HOSTS must list it"
            )
        return addresses


class _TimedStream(httpcore2.NetworkStream):
    """A connection on which nothing is waited for beyond the deadline: a server may send one byte a second for hours."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, seconds_left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, seconds_left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, seconds_left(self._deadline, timeout)), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the library's signature
        return self._stream.get_extra_info(info)


def _in_time(ask: Callable[[], Sequence[str]], seconds: float) -> Sequence[str]:
    """What the resolver says within some seconds; it has no limit of its own, so it is asked by a thread that may be left behind.

    Raises:
        ServerSilent: it knows no address, or says nothing.
    """
    told: list[Sequence[str]] = []

    def listen() -> None:
        try:
            told.append(ask())
        except (OSError, UnicodeError):
            told.append(())

    thread = Thread(target=listen, daemon=True)
    thread.start()
    thread.join(seconds)
    if not told or not told[0]:
        raise ServerSilent("no address was found for the photograph's host")
    return told[0]
