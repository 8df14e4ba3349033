"""Listeners other than ClickHouse: one with a fixed response, and a TLS proxy before a real server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CERTIFICATES = Path(__file__).parent / "certificates"
_CHUNK = 65536


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Listen on a free port and give ``answer`` to every connection's first bytes, then close; gives the port."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(_CHUNK)
            connection.sendall(answer)
            # Closed at once, with something unread, the connection would be reset, and the answer lost on its way.
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(_CHUNK):
                pass

    with _listening(serve) as port:
        yield port


@dataclass
class TlsProxy:
    """A TLS listener before a plain one.

    Attributes:
        port: Where it listens.
        captured: Every byte of the network on its side, both ways, as somebody on the way would see it.
    """

    port: int = 0
    captured: bytearray = field(default_factory=bytearray)


@contextmanager
def tls_proxy(plain_port: int, *, host: str = "127.0.0.1", wants_client: bool = False) -> Iterator[TlsProxy]:
    """Speak TLS on a free port and pass everything on to ``plain_port`` of this machine.

    Args:
        plain_port: Port of the server behind.
        host: Address to listen on.
        wants_client: Whether a client must show a certificate of the tests' authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    if wants_client:
        context.load_verify_locations(CERTIFICATES / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    proxy = TlsProxy()

    def serve(connection: socket.socket) -> None:
        with connection, socket.create_connection(("127.0.0.1", plain_port)) as server:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            _Session(connection, server, tls, incoming, outgoing, proxy.captured).run()

    with _listening(serve, host) as port:
        proxy.port = port
        yield proxy


class _Session:
    """One connection through the proxy: TLS in memory, so that the bytes on the wire can be kept."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        captured: bytearray,
    ) -> None:
        self.client, self.server, self.tls = client, server, tls
        self.incoming, self.outgoing, self.captured = incoming, outgoing, captured

    def run(self) -> None:
        """Shake hands, then copy both ways until one side closes."""
        self._complete(self.tls.do_handshake)
        sockets = {self.client: self._from_client, self.server: self._from_server}
        import select

        if not self._forward():
            return
        while True:
            ready, _, _ = select.select(list(sockets), [], [])
            if not all(sockets[one]() for one in ready):
                return

    def _from_client(self) -> bool:
        return self._receive() and self._forward()

    def _forward(self) -> bool:
        """Pass on what has arrived: a client may send its request together with the end of its handshake."""
        while True:
            try:
                text = self.tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                return True
            if not text:
                return False
            self.server.sendall(text)

    def _from_server(self) -> bool:
        text = self.server.recv(_CHUNK)
        if text:
            self.tls.write(text)
            self._send()
        return bool(text)

    def _complete(self, step: Callable[[], None]) -> None:
        while True:
            try:
                step()
                break
            except ssl.SSLWantReadError:
                self._send()
                if not self._receive():
                    raise ConnectionError("the client has gone") from None
            except ssl.SSLError:
                self._send()  # the alert that tells the client why
                raise
        self._send()

    def _receive(self) -> bool:
        raw = self.client.recv(_CHUNK)
        self.captured += raw
        self.incoming.write(raw)
        return bool(raw)

    def _send(self) -> None:
        raw = self.outgoing.read()
        self.captured += raw
        if raw:
            self.client.sendall(raw)


@contextmanager
def _listening(serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    listener = socket.create_server((host, 0))

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):  # closing the listener ends it
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
