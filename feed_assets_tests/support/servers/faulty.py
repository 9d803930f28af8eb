"""A feed's server that does everything a server should not, each fault by its name.

It speaks HTTP over plain sockets, as no library would let a response be broken like that.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

BODY = "".join(
    f'{{"id": "N{number}", "total": {number / 4}, "text": "{"ä" * 20}"}}\n'
    for number in range(2000)
).encode()
"""The feed, of 2,000 rows."""
IN_A_LINE = len(BODY) // 2
AT_A_LINE = BODY.index(b"\n", IN_A_LINE) + 1
ZIPPED = gzip.compress(BODY)
CORRUPT = ZIPPED[:5000] + bytes(byte ^ 0x55 for byte in ZIPPED[5000:5010]) + ZIPPED[5010:]


@dataclass(frozen=True)
class Request:
    """A client's request, header names in lower case."""

    path: str
    headers: dict[str, str]

    @property
    def first_byte(self) -> int:
        """Return the start of the requested range."""
        return int(self.headers["range"].removeprefix("bytes=").removesuffix("-"))


@dataclass
class Wire:
    """A connection to a client; it is closed after one answer."""

    socket: socket.socket
    over: threading.Event

    def head(self, status: str, **headers: str | int) -> None:
        """Send status and headers of an answer; underscores in names become hyphens."""
        named = {"Content-Type": "application/x-ndjson", "Connection": "close"}
        named |= {name.replace("_", "-"): str(value) for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        self.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def reset(self) -> None:
        """Reset the connection once the client has read everything."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def stall(self) -> None:
        """Send nothing until the end of the test."""
        self.over.wait()


Answer = Callable[[Wire, Request], None]


def whole(wire: Wire, request: Request) -> None:
    """Answer with the whole feed."""
    wire.head("200 OK", Content_Length=len(BODY), ETag='"1"')
    wire.send(BODY)


def zipped(wire: Wire, request: Request) -> None:
    """The same, gzip-encoded."""
    wire.head("200 OK", Content_Length=len(ZIPPED), Content_Encoding="gzip", ETag='"z"')
    wire.send(ZIPPED)


def status(line: str, body: bytes = b"", **headers: str | int) -> Answer:
    """An answer of any status."""

    def answer(wire: Wire, request: Request) -> None:
        wire.head(line, Content_Length=len(body), **headers)
        wire.send(body)

    return answer


def partly(data: bytes, **headers: str | int) -> Answer:
    """An answer with just these headers and bytes, after which the connection is closed."""

    def answer(wire: Wire, request: Request) -> None:
        wire.head("200 OK", **headers)
        wire.send(data)

    return answer


def raw(data: bytes) -> Answer:
    """An answer of just these bytes, its status line included."""
    return lambda wire, request: wire.send(data)


def cut(at: int, body: bytes = BODY, **headers: str | int) -> Answer:
    """An answer whose body is shorter than its Content-Length."""
    return partly(body[:at], Content_Length=len(body), **headers)


def rest(
    body: bytes = BODY, *, shift: int = 0, until: int | None = None, **headers: str | int
) -> Answer:
    """Answer a Range; with `shift` a different part, with `until` not all of it."""

    def answer(wire: Wire, request: Request) -> None:
        first = request.first_byte + shift
        wire.head(
            "206 Partial Content",
            Content_Range=f"bytes {first}-{len(body) - 1}/{len(body)}",
            Content_Length=len(body) - first,
            **headers,
        )
        wire.send(body[first:until])

    return answer


def chunked(*chunks: bytes, ends: bool = True, **headers: str | int) -> Answer:
    """A chunked body, with its end or without."""

    def answer(wire: Wire, request: Request) -> None:
        wire.head("200 OK", Transfer_Encoding="chunked", **headers)
        for chunk in chunks:
            wire.chunk(chunk)
        wire.send(b"0\r\n\r\n" if ends else b"")

    return answer


def reset(at: int) -> Answer:
    """A connection that is reset after so many bytes of the body."""

    def answer(wire: Wire, request: Request) -> None:
        wire.head("200 OK", Content_Length=len(BODY))
        wire.send(BODY[:at])
        wire.reset()

    return answer


def refuse(wire: Wire, request: Request) -> None:
    """Close the connection without an answer."""


def stall(at: int) -> Answer:
    """A body that stops after so many bytes, the connection left open."""

    def answer(wire: Wire, request: Request) -> None:
        wire.head("200 OK", Content_Length=len(BODY))
        wire.send(BODY[:at])
        wire.stall()

    return answer


def drip(wire: Wire, request: Request) -> None:
    """One byte after the other, slowly enough never to end."""
    wire.head("200 OK", Content_Length=len(BODY))
    _slowly(wire, BODY)


def drip_headers(wire: Wire, request: Request) -> None:
    """The same before the body."""
    wire.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _slowly(wire, b"a" * 10_000)


def _slowly(wire: Wire, data: bytes) -> None:
    for byte in data:
        if wire.over.wait(0.02):
            return
        wire.send(bytes([byte]))


def endless(wire: Wire, request: Request) -> None:
    """Send rows without end."""
    wire.head("200 OK", Transfer_Encoding="chunked")
    while not wire.over.is_set():
        wire.chunk(BODY)


@dataclass
class FaultyServer:
    """The i-th request gets the i-th answer, and those after them the last."""

    url: str
    answers: Sequence[Answer] = (whole,)
    requests: list[Request] = field(default_factory=list)

    def arm(self, *answers: Answer) -> None:
        """Set the answers of the next requests, and count from here."""
        self.answers = answers
        self.requests.clear()


@contextmanager
def faulty_server(
    host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[FaultyServer]:
    """A server on a free port; with `tls`, over https under the name localhost."""
    over, threads = threading.Event(), list[threading.Thread]()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
        shown = "localhost" if tls else f"[{host}]" if ":" in host else host
        server = FaultyServer(f"{'https' if tls else 'http'}://{shown}:{port}/feed")

        def serve(connection: socket.socket) -> None:
            # ignore clients that disconnect or do not trust the certificate
            with suppress(OSError), connection:
                wire = tls.wrap_socket(connection, server_side=True) if tls else connection
                with wire:
                    request = _request(wire)
                    if request is None:
                        return
                    server.requests.append(request)
                    place = min(len(server.requests), len(server.answers)) - 1
                    server.answers[place](Wire(wire, over), request)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _request(connection: socket.socket) -> Request | None:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(1 << 16)
        received += more
        if not more or received.startswith(b"\x16"):  # or one that begins TLS
            return None
    first, *lines = received.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    headers = (line.split(": ", 1) for line in lines)
    return Request(first.split()[1], {name.lower(): value for name, value in headers})
