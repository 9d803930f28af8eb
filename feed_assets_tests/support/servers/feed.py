"""A feed's server whose answer to each request a test decides."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ndjson_type = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True)
class Answer:
    """An answer: `headers` as given, plus a true Content-Length unless one is given."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FeedServer:
    """Requests are recorded in `requests` as (path with query, headers).

    `connections` has the client's port of each; with `keep_alive`, one serves several requests.
    """

    url: str = ""
    keep_alive: bool = False
    connections: list[int] = field(default_factory=list)
    answer: Callable[[str], Answer] = lambda path: Answer()
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    token: Callable[[], Answer] = lambda: Answer(status=405)
    """Answer of the token endpoint: any POST, recorded in `posts` as (path, headers, body)."""
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


def lines(*rows: Any) -> Answer:
    """The rows as an NDJSON feed; a string is a line of its own, unchanged."""
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    return Answer(text.encode(), headers=ndjson_type)


def zipped(answer: Answer, cut: int = 0) -> Answer:
    """Return the answer gzip-encoded, without its last `cut` bytes."""
    body = gzip.compress(answer.body)
    return Answer(
        body[: len(body) - cut], answer.status, {**answer.headers, "Content-Encoding": "gzip"}
    )


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread of its own; yield its URL, and stop it at the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def feed_server() -> Iterator[FeedServer]:
    """Run a server on a free port of this machine."""
    feed = FeedServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            feed.requests.append((self.path, dict(self.headers)))
            feed.connections.append(self.client_address[1])
            self.protocol_version = "HTTP/1.1" if feed.keep_alive else "HTTP/1.0"
            self.close_connection = not feed.keep_alive
            self.reply(feed.answer(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            feed.posts.append((self.path, dict(self.headers), body))
            self.reply(feed.token())

        def reply(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server, running(server) as address:
        feed.url = f"{address}/feed"
        yield feed
