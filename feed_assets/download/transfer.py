"""A download under way, which others may end at once, and the connections it goes over."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from feed_assets.errors import TooSlow

_this_thread = threading.local()


class UnwantedError(Exception):
    """Nobody will read what is being downloaded."""


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


class _Noticed(HTTPConnection):
    transfer: Transfer | None = None

    def connect(self) -> None:
        self._notice()
        super().connect()
        self._notice()  # what was not there could not be cut

    def request(self, *args: Any, **options: Any) -> None:
        self._notice()  # one that is used again
        super().request(*args, **options)

    def _notice(self) -> None:
        transfer: Transfer | None = getattr(_this_thread, "transfer", None)
        if transfer is not None:
            transfer.takes(self)


class _NoticedTLS(_Noticed, HTTPSConnection):
    pass


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
