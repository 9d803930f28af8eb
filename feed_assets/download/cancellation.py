"""Cancel a download from another thread, by cutting the connection it uses."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from feed_assets.download.headers import content_length
from feed_assets.errors import TooSlow

MAX_INTERIM_RESPONSES = 1000
"""Interim responses (1xx) accepted before the final one; busy servers send some as they work."""
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")
_this_thread = threading.local()


def _nothing() -> None:
    """Interrupt no call."""


class DownloadCancelled(Exception):
    """The download was cancelled, because no reader needs it."""


class TunnelError(OSError):
    """The proxy opened no tunnel to the feed's server. `status` is its HTTP status, if any."""

    def __init__(self, failure: OSError | HTTPException) -> None:
        super().__init__(str(failure))
        found = _TUNNEL_STATUS.match(str(failure))
        self.status = int(found[1]) if found else None
        self.timed_out = isinstance(failure, TimeoutError)


class HandshakeTimeoutError(OSError):
    """The server accepted a connection and did not start TLS in time."""


class Transfer:
    """One download, from its first request until it is cancelled.

    The downloading thread enters it. A timeout or `cancel` ends it, also while that thread waits
    for the server: the connection is then cut.
    """

    def __init__(self, url: str, seconds: float) -> None:
        """`url` is redacted. `seconds` is the time limit for the whole download."""
        self._url, self._seconds = url, seconds
        self._started = 0.0
        self._cancelled = threading.Event()
        self.first_response = threading.Event()
        """Set when the first request has a response, or can no longer get one."""
        self._connection: _TrackedConnection | None = None
        self._socket: socket.socket | None = None
        self._interrupt: Callable[[], object] = _nothing
        self._timer = threading.Timer(seconds, self._disconnect)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._timer.start()
        _this_thread.transfer = self
        return self

    def __exit__(self, *failure: object) -> None:
        self._timer.cancel()
        _this_thread.transfer = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def remaining(self) -> float:
        """Seconds until the time limit."""
        return self._seconds - self.elapsed

    def check(self) -> None:
        """Raise DownloadCancelled if cancelled, TooSlow if over the time limit."""
        if self._cancelled.is_set():
            raise DownloadCancelled
        if self.remaining <= 0:
            raise TooSlow(
                f"{self._url} took longer than {self._seconds:g} s (download_timeout)",
                url=self._url,
            )

    def wait(self, seconds: float) -> None:
        """Sleep, unless cancelled; raise as `check` does."""
        self._cancelled.wait(seconds)
        self.check()

    def cancel(self) -> None:
        """Release the download: nothing reads it any more."""
        self._cancelled.set()
        self._disconnect()

    def wait_until_cancelled(self) -> None:
        """Block until no reader needs the file."""
        self._cancelled.wait()

    def attach(self, connection: _TrackedConnection) -> None:
        """Remember the connection in use, so that it can be cut."""
        connection.transfer = self
        self._connection, self._socket = connection, connection.sock
        self.check()

    def detach(self) -> None:
        """Forget the connection, which another download may now use."""
        self._connection = self._socket = None

    @contextmanager
    def interrupting(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call `interrupt` if the transfer ends in the block; raise as `check` does."""
        self._interrupt = interrupt
        try:
            self.check()
            yield
        finally:
            self._interrupt = _nothing

    def _disconnect(self) -> None:
        """Interrupt the thread's network call; `check` then raises the reason."""
        self._interrupt()
        connection = self._connection
        if connection is None or connection.transfer is not self:  # another download uses it
            return
        # when the end of the connection ends the body, only the response still has the socket
        if (sock := connection.sock or self._socket) is not None:
            with suppress(OSError):  # SSLSocket's shutdown would let ciphertext be read
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _FinalResponse(HTTPResponse):
    """The final response of a server; a Content-Length that cannot be trusted is removed."""

    def _read_status(self) -> tuple[str, int, str]:
        """Skip all interim responses; http.client skips only 100."""
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # it is private
            if not 100 <= status < 200:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException(f"got more than {MAX_INTERIM_RESPONSES} interim responses")

    def begin(self) -> None:
        """Parse the length strictly; http.client accepts 1_0, and the first of two lengths."""
        super().begin()
        length = content_length(",".join(self.headers.get_all("Content-Length", [])))
        del self.headers["Content-Length"]
        if self.chunked or self.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            return
        self.length = length
        if length is None:
            self.will_close = True
        else:
            self.headers["Content-Length"] = str(length)


class _TrackedConnection(HTTPConnection):
    response_class = _FinalResponse
    transfer: Transfer | None = None

    def connect(self) -> None:
        self._attach()
        super().connect()
        self._attach()  # now with its socket

    def request(self, *args: Any, **options: Any) -> None:
        self._attach()  # a reused connection does not connect again
        super().request(*args, **options)

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, HTTPException) as failure:
            raise TunnelError(failure) from failure

    def _attach(self) -> None:
        transfer: Transfer | None = getattr(_this_thread, "transfer", None)
        if transfer is not None:
            transfer.attach(self)


class _TrackedTLSConnection(_TrackedConnection, HTTPSConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError as failure:  # a TCP timeout is urllib3's ConnectTimeoutError
            raise HandshakeTimeoutError from failure


class _Pool(HTTPConnectionPool):
    ConnectionCls = _TrackedConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TrackedTLSConnection


class Adapter(HTTPAdapter):
    """Adapter for `requests` whose connections a Transfer can cut."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Use the tracked connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Use the tracked connections through a proxy, too."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager
