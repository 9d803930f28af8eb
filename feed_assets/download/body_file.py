"""The decoded body in a temporary file that is read while it grows."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from logging import LoggerAdapter
from typing import IO, Any, Self

from feed_assets.byte_source import (
    BodyReplaced,
    GrowingByteSource,
    free_disk_space,
    unnamed_temp_file,
)
from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.download.validators import Validators
from feed_assets.errors import DiskFailed, TooLarge

LOG_INTERVAL = 10.0  # seconds between two progress lines
DISK_RESERVE = 64 << 20  # bytes left free on the disk
CHUNK = 16 << 20  # bytes written between two checks of the free space, and read at a time


class _Writer:
    """Write to a new temporary file, and leave DISK_RESERVE bytes of its disk free."""

    def __init__(self, file: IO[bytes], url: str) -> None:
        self._file, self._url = file, url
        self.source = GrowingByteSource(file)
        self._unchecked = 0

    def write(self, data: bytes) -> None:
        """Append. Raises DiskFailed and OSError."""
        self._unchecked += len(data)
        if self._unchecked >= CHUNK:
            self.check_space(len(data))
        self.source.write(data)

    def check_space(self, more: int) -> None:
        """Raise DiskFailed if the disk has no space for `more` bytes."""
        self._unchecked = 0
        free = free_disk_space(self._file)
        if free - more < DISK_RESERVE:
            raise DiskFailed(
                f"{self._url} could not be written to disk: {free:,} bytes are free in the folder "
                f"for temporary files; free some space, or set TMPDIR to another folder"
            )


@dataclass(frozen=True)
class BodyInfo:
    """Facts about a complete body: decoded size, its hash, and the seconds its download took.

    `end_is_marked` is True if the server marks the end of the body (Content-Length, chunks or
    gzip). Otherwise a body cut after a complete line looks complete.
    """

    bytes: int
    sha256: str
    seconds: float
    validators: Validators
    end_is_marked: bool


@dataclass
class Download:
    """A decoded body that can be read while it arrives, and its redacted URL.

    If the body stays incomplete, readers raise the DownloadError. If the server replaces the body
    meanwhile, readers raise BodyReplaced; `source` is then already the new one.
    """

    url: str
    source: GrowingByteSource
    expected_bytes: int = 0
    """Content-Length of the response; 0 if unknown."""
    info: Future[BodyInfo] = field(default_factory=Future)
    unverified: bool = False
    """True while a checksum at the end may still show that the bytes so far are corrupt."""


@dataclass(frozen=True)
class Unchanged:
    """The server's reply that the feed has not changed. `url` is redacted."""

    url: str


class BodyFile:
    """Writer of a body. A context manager: its end deletes the file."""

    def __init__(
        self,
        feed: Feed,
        url: str,
        transfer: Transfer,
        on_start: Callable[[Download | Unchanged], None],
        log: LoggerAdapter[Any],
    ) -> None:
        """Call `on_start` once, with the first response that has status 200 or 304."""
        self._feed, self._url, self._transfer, self._log = feed, url, transfer, log
        self._on_start, self._files = on_start, ExitStack()
        self._digest = hashlib.sha256()
        self._position = self._page = 0
        self._last_logged = 0.0
        self._download: Download | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """Free the disk. Threads that still read get an error."""
        self._files.close()

    @property
    def started(self) -> bool:
        """True once readers have the download."""
        return self._download is not None

    def unchanged(self) -> None:
        """Report that the server has no new body."""
        self._on_start(Unchanged(self._url))

    def start(self, expected_bytes: int) -> None:
        """Expect the body, or its next page, from its first byte, also after a retry.

        Raises TooLarge or DiskFailed if `expected_bytes` do not fit.
        """
        self._position = self._page
        self.check_size(self._page + expected_bytes)
        if self._download is None:
            source = self._new_file()
            self._writer.check_space(expected_bytes)
            known = 0 if self._feed.pages else expected_bytes
            self._download = Download(self._url, source, known)
            self._on_start(self._download)
        else:
            self._writer.check_space(self._page + expected_bytes - self._source.size)

    def mark_unverified(self) -> None:
        """Mark the body as unverified until `finish`."""
        self._current.unverified = True

    def write(self, piece: bytes) -> None:
        """Append the bytes that the file lacks; after a retry, compare the others with it.

        Raises TooLarge, DiskFailed, TooSlow, DownloadCancelled and OSError.
        """
        self._transfer.check()
        existing = self._source.read_available(self._position, len(piece))
        if not piece.startswith(existing):
            self._replace()
            existing = b""
        self._position += len(piece)
        self._append(piece[len(existing) :])

    def end_page(self) -> bytes:
        """End a page with a whole line. Return the hash of its bytes, or b"" if it has no rows."""
        if self._position < self._source.size:  # it is shorter than before the retry
            self._replace()
        digest, blank, last = hashlib.sha256(), True, b"\n"
        for start in range(self._page, self._position, CHUNK):
            piece = self._source.read_available(start, min(CHUNK, self._position - start))
            digest.update(piece)
            blank, last = blank and not piece.strip(), piece[-1:]
        if last != b"\n":
            self.write(b"\n")
        self._page = self._position
        return b"" if blank else digest.digest()

    def finish(self, validators: Validators, *, end_is_marked: bool) -> None:
        """Mark the body as complete and verified."""
        if self._position < self._source.size:  # the new body is shorter
            self._replace()
        size, digest = self._source.size, self._digest.hexdigest()
        self._current.unverified = False
        self._current.info.set_result(
            BodyInfo(size, digest, self._transfer.elapsed, validators, end_is_marked)
        )
        self._source.end()

    def fail(self, failure: Exception) -> None:
        """Mark the body as incomplete; its readers raise the failure."""
        self._source.end(failure)

    def ends_inside_a_line(self) -> bool:
        """Check that the file ends neither with a newline nor with a complete JSON object."""
        end = self._source.size
        start, tail = end, b""
        while start > 0 and b"\n" not in tail and end - start <= self._feed.max_line_bytes:
            start = max(0, start - CHUNK)
            tail = self._source.read_available(start, end - start)
        last = tail.rpartition(b"\n")[2].strip()
        try:
            return bool(last) and not isinstance(json.loads(last), dict)
        except (ValueError, RecursionError):
            return True

    def is_blank(self) -> bool:
        """Check that the file has only white space."""
        source, start = self._source, 0
        while piece := source.read_available(start, CHUNK):
            if piece.removeprefix(b"" if start else codecs.BOM_UTF8).strip():
                return False
            start += len(piece)
        return True

    @property
    def _current(self) -> Download:
        assert self._download is not None
        return self._download

    @property
    def _source(self) -> GrowingByteSource:
        return self._current.source

    def _new_file(self) -> GrowingByteSource:
        self._writer = _Writer(self._files.enter_context(unnamed_temp_file()), self._url)
        self._files.callback(self._writer.source.close)
        return self._writer.source

    def _replace(self) -> None:
        """Continue in a new file with a copy of the bytes so far; readers keep the old file."""
        self._log.warning("the server has a new body; reading it from the start")
        old, end = self._source, self._position
        self._current.source = self._new_file()
        self._digest = hashlib.sha256()
        for start in range(0, end, CHUNK):
            self._append(old.read_available(start, min(CHUNK, end - start)))
        old.end(BodyReplaced())

    def _append(self, data: bytes) -> None:
        if not data:
            return
        size = self._source.size + len(data)
        self.check_size(size)
        self._digest.update(data)
        self._writer.write(data)
        elapsed = self._transfer.elapsed
        if elapsed - self._last_logged >= LOG_INTERVAL:
            self._last_logged = elapsed
            self._log.info(f"{size:,} bytes so far, {size / elapsed / 1e6:.1f} MB/s")

    def check_size(self, size: int) -> None:
        """Raise TooLarge for a body of more than `max_feed_bytes`."""
        if size > self._feed.max_feed_bytes:
            raise TooLarge(
                f"{self._url} is larger than {self._feed.max_feed_bytes:,} bytes; if that is "
                f"right, raise max_feed_bytes",
                url=self._url,
            )
