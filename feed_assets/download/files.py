"""Read a file as the body of a response: its size is known, and its change time is its version."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.download.headers import ContentRange
from feed_assets.download.response import BodyRequest, Response
from feed_assets.download.validators import Validators
from feed_assets.errors import AccessRefused, NotFound, RequestRefused, Truncated, Unreachable
from feed_assets.urls import Url

PIECE = 4 << 20
"""Bytes read at a time."""
SETTLED = 60.0
"""Age in seconds of a change time that can be trusted; before, a second change may get the same
one, and the clock of a server may differ."""
_MISSING = {errno.ENOENT, errno.ENOTDIR}


@dataclass(frozen=True)
class FileState:
    """Size and change of a regular file, as its file system reports them."""

    size: int
    mtime: float
    tag: str

    @property
    def validators(self) -> Validators:
        """The file's version, unless it changed a moment ago."""
        settled = time.time() - self.mtime >= SETTLED
        return Validators(f'"{self.tag}"' if settled else None)


def path_of(url: Url) -> str:
    """Return the path in a file's URL."""
    return unquote(url.path)


def response_of_file(
    url: Url,
    request: BodyRequest,
    state: Callable[[], FileState],
    read: Callable[[int, int], bytes],
    transfer: Transfer,
) -> Response:
    """Return the whole file, its missing bytes, or status 304.

    `read` takes a position and a size. A file that changes meanwhile is Truncated.
    """
    found = state()
    validators, before = found.validators, request.if_changed_from
    if before is not None and validators and before.etag == validators.etag:
        return Response(url, 304)
    resumed = request.version is not None and request.version == validators.etag

    def pieces(position: int) -> Iterator[bytes]:
        while position < found.size:
            transfer.check()
            data = read(position, min(PIECE, found.size - position))
            if not data:
                break
            position += len(data)
            yield data
        if state() != found:
            raise Truncated(
                f"{url} changed while it was read; have it written under another name, and "
                f"renamed when it is complete",
                url=str(url),
            )

    first = request.first if resumed else 0
    return Response(
        url,
        206 if resumed else 200,
        pieces(first),
        validators,
        found.size,
        range=ContentRange(first, found.size) if resumed else None,
    )


def missing(feed: Feed, url: Url) -> Response:
    """Return a feed without rows, if a missing file means that. Raises NotFound."""
    if 404 in feed.empty_statuses:
        return Response(url, 404)
    day = ", and that it has this day" if feed.partition_by_date else ""
    raise NotFound(f"{url} does not exist; check the feed's url{day}", url=str(url))


def no_file(url: Url) -> RequestRefused:
    """Return the error for a folder, a pipe or a device."""
    return RequestRefused(
        f"{url} is not a file, but a folder, a pipe or a device; correct the feed's url",
        url=str(url),
    )


@contextmanager
def open_local_file(
    feed: Feed, url: Url, request: BodyRequest, transfer: Transfer
) -> Iterator[Response]:
    """Open a file of this machine."""
    transfer.check()
    try:
        # without O_NONBLOCK the open of a named pipe would wait for its writer
        descriptor = os.open(path_of(url), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as failure:
        if failure.errno in _MISSING:
            yield missing(feed, url)
            return
        raise _unreadable(url, failure) from None

    def state() -> FileState:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise no_file(url)
        tag = f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"
        return FileState(found.st_size, found.st_mtime, tag)

    def read(position: int, size: int) -> bytes:
        try:
            return os.pread(descriptor, size, position)
        except OSError as failure:
            raise _unreadable(url, failure) from None

    try:
        yield response_of_file(url, request, state, read, transfer)
    finally:
        os.close(descriptor)


def _unreadable(url: Url, failure: OSError) -> AccessRefused | Unreachable:
    shown = f"{url} cannot be read: {failure.strerror}"
    if failure.errno in {errno.EACCES, errno.EPERM}:
        return AccessRefused(f"{shown}; give the user of the import the right to", url=str(url))
    return Unreachable(shown, url=str(url))
