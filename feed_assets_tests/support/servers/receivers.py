"""Receivers of alerts: a webhook and a mail server, both real and on loopback."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from feed_assets_tests.support.servers.feed import running


@dataclass
class Webhook:
    """Target of Apprise's `json://`. It answers with `status` and stores the messages."""

    url: str = ""
    status: int = 200
    received: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.received]


@dataclass
class Mailbox:
    """A mail that an SMTP server received."""

    url: str = ""
    received: list[EmailMessage] = field(default_factory=list)


@contextmanager
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if hook.status == 200:
                hook.received.append(body)
            else:
                hook.refused += 1
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, running(server) as url:
        hook.url = f"{url.replace('http', 'json')}/hunter2"
        yield hook


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    box = Mailbox()

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
            box.received.append(parsed)
            return "250 OK"

    class AnyPort(Controller):
        def _trigger_server(self) -> None:  # it connects to the requested port
            assert isinstance(self.server, asyncio.Server)
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()  # type: ignore[no-untyped-call]

    controller = AnyPort(Handler(), hostname="127.0.0.1", port=0)
    controller.start()
    box.url = f"mailto://127.0.0.1:{controller.port}?from=feeds@example.com&to=oncall@example.com"
    try:
        yield box
    finally:
        controller.stop()
