"""A download under way, which others may end at once, and the connections it goes over."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from feed_assets.download.headers import content_length
from feed_assets.errors import TooSlow

MOST_INTERIM = 1000
"""Interim responses (1xx) before an answer, some of which a busy server sends as it works."""
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")
_this_thread = threading.local()


class UnwantedError(Exception):
    """Nobody will read what is being downloaded."""


class TunnelError(OSError):
    """A proxy made no tunnel to the feed's server; `status` is its answer's, if it gave one."""

    def __init__(self, failure: OSError | HTTPException) -> None:
        super().__init__(str(failure))
        found = _TUNNEL_STATUS.match(str(failure))
        self.status = int(found[1]) if found else None
        self.timed_out = isinstance(failure, TimeoutError)


class HandshakeTimeoutError(OSError):
    """A server accepted a connection and did not begin TLS in time."""


class Transfer:
    """One download, from its first request to the moment that nobody reads it any more.

    To be entered by the thread that downloads. It ends when its time is over or somebody leaves,
    also while that thread waits for the server, whose connection is then cut.
    """

    def __init__(self, url: str, seconds: float) -> None:
        """`url` is fit to be shown; `seconds` are for all of it."""
        self._url, self._seconds = url, seconds
        self._began = 0.0
        self._left = threading.Event()
        self.answered = threading.Event()
        """Set once the server has answered a first request, or once there will be no answer."""
        self._connection: _Noticed | None = None
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._timer.start()
        _this_thread.transfer = self
        return self

    def __exit__(self, *failure: object) -> None:
        self._timer.cancel()
        _this_thread.transfer = None

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def remaining(self) -> float:
        """Seconds until its time is over."""
        return self._seconds - self.elapsed

    def check(self) -> None:
        """Raises UnwantedError, or TooSlow, once it has ended."""
        if self._left.is_set():
            raise UnwantedError
        if self.remaining <= 0:
            raise TooSlow(
                f"{self._url} took longer than {self._seconds:g} s (download_timeout)",
                url=self._url,
            )

    def wait(self, seconds: float) -> None:
        """Waits; raises as `check` does."""
        self._left.wait(seconds)
        self.check()

    def leave(self) -> None:
        """Says that nobody will read it any more."""
        self._left.set()
        self._cut()

    def wait_until_left(self) -> None:
        """Returns once its file may be closed."""
        self._left.wait()

    def takes(self, connection: _Noticed) -> None:
        """Remembers the connection it goes over."""
        connection.transfer = self
        self._connection, self._socket = connection, connection.sock
        self.check()

    def lets_go(self) -> None:
        """Forgets the connection, which is another's to use."""
        self._connection = self._socket = None

    def _cut(self) -> None:
        """Ends what the thread waits for; `check` then says why."""
        connection = self._connection
        if connection is None or connection.transfer is not self:  # by now another's
            return
        # of an answer that ends with its connection, only the answer itself has the socket left
        if (sock := connection.sock or self._socket) is not None:
            with suppress(OSError):  # not SSLSocket's, after which ciphertext could be read
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Response(HTTPResponse):
    """The final response of a server, with a Content-Length that can be trusted or none."""

    def _read_status(self) -> tuple[str, int, str]:
        """As its parent; skips interim responses, of which http.client skips only 100."""
        for _ in range(MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # it is private
            if not 100 <= status < 200:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException(f"got more than {MOST_INTERIM} interim responses")

    def begin(self) -> None:
        """As its parent, which takes 1_0 for a length, and of two lengths the first."""
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


class _Noticed(HTTPConnection):
    response_class = _Response
    transfer: Transfer | None = None

    def connect(self) -> None:
        self._notice()
        super().connect()
        self._notice()  # what was not there could not be cut

    def request(self, *args: Any, **options: Any) -> None:
        self._notice()  # one that is used again
        super().request(*args, **options)

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, HTTPException) as failure:
            raise TunnelError(failure) from failure

    def _notice(self) -> None:
        transfer: Transfer | None = getattr(_this_thread, "transfer", None)
        if transfer is not None:
            transfer.takes(self)


class _NoticedTLS(_Noticed, HTTPSConnection):
    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError as failure:  # of the TCP connection, urllib3 raises another
            raise HandshakeTimeoutError from failure


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Noticed


class _PoolTLS(HTTPSConnectionPool):
    ConnectionCls = _NoticedTLS


class Adapter(HTTPAdapter):
    """Has the requests of `requests` go over connections that a Transfer can cut."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As its parent."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """As its parent."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}
        return manager
