"""Read files of an SFTP server, over one connection for all days of a run."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.download.extras import extra
from feed_assets.download.files import FileState, missing, no_file, path_of, response_of_file
from feed_assets.download.headers import printable
from feed_assets.download.response import BodyRequest, Open, Response
from feed_assets.errors import (
    AccessRefused,
    DownloadError,
    ServerFailed,
    SettingError,
    Truncated,
    Unreachable,
)
from feed_assets.urls import Url

if TYPE_CHECKING:
    from asyncssh import SFTPClient, SSHClientConnection

_T = TypeVar("_T")
_SERVER_KEY_SECONDS = 5.0


@contextmanager
def sftp_session(feed: Feed) -> Iterator[Open]:
    """Run the connection's event loop in a thread. Raises SettingError if a package is missing."""
    with extra("sftp", "sftp"):
        import asyncssh  # noqa: F401
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # each call's caller gets its failure
    thread = threading.Thread(target=loop.run_forever, name="sftp", daemon=True)
    thread.start()
    server = _Server(feed, loop)
    try:
        yield server.open
    finally:
        asyncio.run_coroutine_threadsafe(server.end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Server:
    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self._feed, self._loop = feed, loop
        self._lock = asyncio.Lock()
        self._connection: SSHClientConnection | None = None
        self._client: SFTPClient | None = None

    @contextmanager
    def open(self, url: Url, request: BodyRequest, transfer: Transfer) -> Iterator[Response]:
        """Open a file."""
        import asyncssh

        try:
            file = self._wait(self._opened(url), url, transfer)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            yield missing(self._feed, url)
            return

        def state() -> FileState:
            found = self._wait(file.stat(), url, transfer)
            if found.permissions is not None and not stat.S_ISREG(found.permissions):
                raise no_file(url)
            if found.size is None or found.mtime is None:
                raise ServerFailed(f"{url} has no size or no time of its last change", url=str(url))
            return FileState(found.size, found.mtime, f"{found.size}-{found.mtime}")

        def read(position: int, size: int) -> bytes:
            try:
                data: bytes = self._wait(file.read(size, position), url, transfer)
                return data
            except Unreachable:
                raise Truncated(
                    f"the response of {url} broke off before its end", url=str(url)
                ) from None

        try:
            yield response_of_file(url, request, state, read, transfer)
        finally:
            with suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(_closed(file), self._loop)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()

    async def end(self) -> None:
        """Close the connection, and end what still waits for it."""
        await self.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wait(self, call: Coroutine[Any, Any, _T], url: Url, transfer: Transfer) -> _T:
        """Return the result of a call; end it when the transfer ends, or after `read_timeout`."""
        import asyncssh

        missing = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
        seconds = max(min(self._feed.read_timeout, transfer.remaining), 0.001)
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(call, seconds), self._loop)
        try:
            with transfer.interrupting(future.cancel):
                return future.result()
        except CancelledError:
            transfer.check()
            raise
        except missing:
            raise
        except (asyncssh.Error, OSError, TimeoutError) as failure:
            transfer.check()
            raise self._failed(failure, url) from None
        finally:
            future.cancel()

    async def _opened(self, url: Url) -> Any:
        async with self._lock:
            if self._client is None or self._connection is None or self._connection.is_closed():
                await self.close()
                self._connection = await self._connected(url)
                self._client = await self._connection.start_sftp_client()
        return await self._client.open(path_of(url), "rb")

    async def _connected(self, url: Url) -> SSHClientConnection:
        """Connect with the feed's credentials; without any, as `sftp` does: ~/.ssh, its agent."""
        import asyncssh

        declared, seconds = self._feed.sftp, self._feed.connect_timeout
        options: dict[str, Any] = {}
        if declared is not None:
            username, password, key, passphrase = declared.credentials()
            if username is not None:
                options |= {"username": username, "agent_path": None, "client_keys": None}
            if password is not None:
                options["password"] = password
            if key is not None:
                options["client_keys"] = [_private_key(declared.private_key_env, key, passphrase)]
            if declared.host_key is not None:
                options["known_hosts"] = ([asyncssh.import_public_key(declared.host_key)], [], [])
        try:
            return await asyncssh.connect(
                url.host, url.port, connect_timeout=seconds, login_timeout=seconds, **options
            )
        except asyncssh.HostKeyNotVerifiable:
            raise await _unknown_key(url) from None
        except TimeoutError:
            raise Unreachable(
                f"{url.without_day} did not accept a connection within {seconds:g} s "
                f"(connect_timeout)",
                url=url.without_day,
            ) from None
        except (asyncssh.ConfigParseError, asyncssh.KeyImportError) as mistake:
            raise SettingError(f"~/.ssh cannot be used for {url.without_day}: {mistake}") from None

    def _failed(self, failure: Exception, url: Url) -> DownloadError:
        import asyncssh

        shown, declared = url.without_day, self._feed.secret_variables
        if isinstance(failure, asyncssh.PermissionDenied):
            variables = " and ".join(declared)
            check = (
                f"check what the environment has in {variables}"
                if variables
                else "the feed declares no credentials (sftp), and no key in ~/.ssh fits"
            )
            return AccessRefused(f"{shown} refused the login; {check}", url=shown, status=401)
        if isinstance(failure, asyncssh.SFTPPermissionDenied):
            return AccessRefused(
                f"{url} cannot be read: permission denied; ask who runs the server", url=str(url)
            )
        if isinstance(failure, asyncssh.SFTPError) and not isinstance(
            failure, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection
        ):
            reason = printable(failure.reason)
            return ServerFailed(f"{url} cannot be read: {reason}", url=str(url))
        if isinstance(failure, TimeoutError):
            return Unreachable(
                f"{shown} sent nothing for {self._feed.read_timeout:g} s (read_timeout)", url=shown
            )
        why = "" if isinstance(failure, OSError) else f" ({type(failure).__name__})"
        return Unreachable(
            f"{shown} cannot be reached{why}; check that its server runs and the host name is "
            f"right",
            url=shown,
        )


def _private_key(variable: str | None, text: str, passphrase: str | None) -> Any:
    """Return the key from a file, or from the variable itself if that has it."""
    import asyncssh

    try:
        if text.lstrip().startswith("-----BEGIN"):
            return asyncssh.import_private_key(text, passphrase)
        return asyncssh.read_private_key(text, passphrase)
    except (OSError, ValueError) as mistake:  # asyncssh's errors are ValueErrors
        why = (
            f"cannot be read: {mistake.strerror}"
            if isinstance(mistake, OSError)
            else "is not a private key that its passphrase decrypts"
        )
        raise SettingError(
            f"the environment variable {variable} names a private key that {why}; have it name the "
            f"key's file, and passphrase_env the variable of its passphrase"
        ) from None


async def _unknown_key(url: Url) -> SettingError:
    """Return the error for a host key that nobody has confirmed, with the key."""
    import asyncssh

    shown = f"{url.scheme}://{url.host}"
    key = None
    with suppress(asyncssh.Error, OSError, TimeoutError):
        asked = asyncssh.get_server_host_key(url.host, url.port)
        key = await asyncio.wait_for(asked, _SERVER_KEY_SECONDS)
    if key is None:
        return SettingError(
            f"{shown} has a host key that ~/.ssh/known_hosts does not have; add it there, or as "
            f"host_key to the feed's sftp"
        )
    text = " ".join(key.export_public_key().decode().split()[:2])
    return SettingError(
        f"{shown} has the host key {key.get_fingerprint()}, which is not known; if who runs the "
        f"server confirms it, add host_key: {text} to the feed's sftp, or add it to "
        f"~/.ssh/known_hosts"
    )


async def _closed(file: Any) -> None:
    import asyncssh

    with suppress(asyncssh.Error, OSError):
        await file.close()
