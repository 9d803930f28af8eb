"""A small feed server: NDJSON behind HTTP Basic Auth, on loopback."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from feed_assets.demo import crm
from feed_assets.schema.table import parse_day

HOST, PORT = "127.0.0.1", 8020
USERNAME, PASSWORD = "crm", "example"
Rows = Iterable[dict[str, Any]]
Feeds = dict[str, Callable[[date | None], Rows]]
"""Feeds by path: a function from the requested day (None: snapshot) to rows."""

CRM: Feeds = {"/feed.ndjson": lambda day: crm.now() if day is None else crm.updated_on(day)}


class _Handler(BaseHTTPRequestHandler):
    server_version = "feed_assets-example-crm"
    protocol_version = "HTTP/1.1"
    feeds: Feeds = CRM

    def do_GET(self) -> None:
        """Serve a feed; `date=YYYYMMDD` in the query requests a day."""
        parts = urlsplit(self.path)
        days = parse_qs(parts.query).get("date", [])
        feed = self.feeds.get(parts.path)
        day = parse_day(days[0]) if days else None
        if not self._authorized():
            self._answer(401, "wrong user name or password", {"WWW-Authenticate": "Basic"})
        elif feed is None:
            self._answer(404, "no such feed")
        elif days and day is None:
            self._answer(400, "date must be YYYYMMDD")
        else:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in feed(day))
            self._answer(200, "".join(lines), {"Content-Type": "application/x-ndjson"})

    def _authorized(self) -> bool:
        expected = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        return hmac.compare_digest(self.headers.get("Authorization", ""), f"Basic {expected}")

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        headers = {"Content-Type": "text/plain; charset=utf-8"} | (headers or {})
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Log nothing; the importing run logs its requests."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing; clients may close the connection early."""


@contextmanager
def serving(feeds: Feeds = CRM, port: int = 0) -> Iterator[str]:
    """Serve feeds on loopback; yield the root URL. Port 0 means any free port."""
    handler = type("Handler", (_Handler,), {"feeds": feeds})
    with _Server((HOST, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
