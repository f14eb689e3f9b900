"""A port in front of RabbitMQ that can be cut, can refuse at first, and can speak TLS with a certificate of ours."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

BROKER = ("127.0.0.1", 5672)


class Forwarder:
    """Hands every connection on to the broker until it is cut; counts how many came."""

    def __init__(self, tls: ssl.SSLContext | None = None, refuse_first: int = 0) -> None:
        self._tls, self._refuse_first, self.connections = tls, refuse_first, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def cut(self) -> None:
        """End all connections and take no more."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
        for one in (self._listener, *self._open):
            one.close()

    def _start(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._open.append(client)
                if self.connections <= self._refuse_first:
                    client.close()
                    continue
                self._start(self._forward, client)

    def _forward(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if self._tls is not None:
                client = stack.enter_context(self._tls.wrap_socket(client, server_side=True))
                self._open.append(client)
            broker = stack.enter_context(socket.create_connection(BROKER))
            self._open.append(broker)
            sinks = {client: broker, broker: client}
            while True:
                for source in select.select([client, broker], [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    sinks[source].sendall(data)


@contextlib.contextmanager
def forwarding(tls: ssl.SSLContext | None = None, refuse_first: int = 0) -> Iterator[Forwarder]:
    forwarder = Forwarder(tls, refuse_first)
    try:
        yield forwarder
    finally:
        forwarder.cut()


class Authority(NamedTuple):
    """Who signs certificates, with its own certificate as a PEM file."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    file: Path


def an_authority(folder: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    file = folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return Authority(key, certificate, file)


def a_server_context(authority: Authority, folder: Path, host: str) -> ssl.SSLContext:
    """What a TLS server needs that shows a certificate for `host`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ip_address(host))
    builder = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), authority.certificate.subject, key)
    certificate = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False).sign(authority.key, hashes.SHA256())
    file = folder / f"{host}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
