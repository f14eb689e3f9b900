"""A web server on this machine that hands out photographs, and does whatever else a test wants of it."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator

Pieces = Callable[[], Iterable[bytes]]


def answer(status: int, body: bytes = b"", **headers: object) -> Pieces:
    """A whole answer; `Content-Length` is that of the body unless told otherwise, and absent when it is None."""
    told = {"Content-Length": len(body)} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in told.items() if value is not None), "", ""]
    return lambda: ["\r\n".join(lines).encode("latin-1"), body]


class PhotoServer:
    """Answers by path; what it has no answer for is not there. `requests` holds the heads of what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Pieces] = {}
        self.requests: list[str] = []
        self._tls, self._listener = tls, socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def wait(self, seconds: float) -> Iterable[bytes]:
        """Say nothing for a while, but no longer than the server lives."""
        self._closing.wait(seconds)
        return ()

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(client)
            client.settimeout(5)
            if self._tls is not None:
                client = stack.enter_context(self._tls.wrap_socket(client, server_side=True))
            head = b""
            while b"\r\n\r\n" not in head:
                if not (more := client.recv(65536)):
                    return
                head += more
            self.requests.append(head.decode("latin-1"))
            for piece in self.answers.get(head.split()[1].decode(), answer(404))():
                if self._closing.is_set():
                    return
                client.sendall(piece)


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[PhotoServer]:
    server = PhotoServer(tls)
    try:
        yield server
    finally:
        server.close()
