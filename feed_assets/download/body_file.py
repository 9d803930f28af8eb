"""What has been received of a feed, in a file that is read meanwhile."""

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

PROGRESS = 10.0  # seconds between two lines in the log
RESERVE = 64 << 20  # bytes left free on the disk
LOOK = 16 << 20  # bytes written between two looks at what is free, and read at a time


class _Writer:
    """Writes what arrives to a new temporary file, and leaves RESERVE bytes free on its disk."""

    def __init__(self, file: IO[bytes], url: str) -> None:
        self._file, self._url = file, url
        self.source = GrowingByteSource(file)
        self._unchecked = 0

    def write(self, data: bytes) -> None:
        """Appends. Raises DiskFailed and OSError."""
        self._unchecked += len(data)
        if self._unchecked >= LOOK:
            self.check_room(len(data))
        self.source.write(data)

    def check_room(self, more: int) -> None:
        """Raises DiskFailed where there is no room for so many bytes."""
        self._unchecked = 0
        free = free_disk_space(self._file)
        if free - more < RESERVE:
            raise DiskFailed(
                f"{self._url} could not be written to disk: {free:,} bytes are free where "
                f"temporary files are; free some, or have TMPDIR name another folder"
            )


@dataclass(frozen=True)
class Whole:
    """A body that has arrived to its end: its size decoded, its hash, and how long it took.

    `marked` says whether the server told where the end is; else a cut at the end of a line would
    look the same.
    """

    bytes: int
    sha256: str
    seconds: float
    validators: Validators
    marked: bool


@dataclass
class Download:
    """A feed's body, decoded, and the redacted URL it is from.

    It may be read while it arrives: if its end is not reached, the reader gets the DownloadError.
    Where the server turns out to have another body by now, the reader gets BodyReplaced, and
    `source` is already that other one.
    """

    url: str
    source: GrowingByteSource
    expected: int = 0
    """The bytes that will come, as sent; 0 if the server does not tell."""
    whole: Future[Whole] = field(default_factory=Future)
    unverified: bool = False
    """Whether a checksum at the end may yet tell that what has arrived is garbled."""


class Received:
    """The decoded body. To be entered for as long as somebody reads it."""

    def __init__(
        self,
        feed: Feed,
        url: str,
        transfer: Transfer,
        begun: Callable[[Download], None],
        log: LoggerAdapter[Any],
    ) -> None:
        """`begun` gets the download as soon as the server has agreed to answer."""
        self._feed, self._url, self._transfer, self._log = feed, url, transfer, log
        self._begun, self._files = begun, ExitStack()
        self._digest = hashlib.sha256()
        self._at = 0
        self._told = 0.0
        self._download: Download | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """Frees the disk. Threads that still read get an error."""
        self._files.close()

    @property
    def begun(self) -> bool:
        """Whether the server has agreed to answer."""
        return self._download is not None

    def begin(self, expected: int) -> None:
        """From the first byte on, for the first time or once more; at least so many will come.

        Raises TooLarge or DiskFailed where there is no room for them.
        """
        self._at = 0
        self._check_size(expected)
        if self._download is None:
            source = self._new_file()
            self._writer.check_room(expected)
            self._download = Download(self._url, source, expected)
            self._begun(self._download)
        else:
            self._writer.check_room(expected - self._source.size)

    def distrust(self) -> None:
        """Has what comes count only once it has been verified at its end."""
        self._current.unverified = True

    def take(self, piece: bytes) -> None:
        """The next bytes: new ones, or the same once more, or what is there instead by now.

        Raises TooLarge, DiskFailed, TooSlow, UnwantedError and OSError.
        """
        self._transfer.check()
        before = self._source.read_available(self._at, len(piece))
        if not piece.startswith(before):
            self._supersede()
            before = b""
        self._at += len(piece)
        self._write(piece[len(before) :])

    def end(self, validators: Validators, *, marked: bool) -> None:
        """It is whole."""
        if self._at < self._source.size:  # there is less by now
            self._supersede()
        size, digest = self._source.size, self._digest.hexdigest()
        self._current.unverified = False
        self._current.whole.set_result(
            Whole(size, digest, self._transfer.elapsed, validators, marked)
        )
        self._source.end()

    def fail(self, failure: Exception) -> None:
        """It will not be whole."""
        self._source.end(failure)

    def breaks_off_in_a_line(self) -> bool:
        """Whether what is there ends with neither a newline nor a whole JSON object."""
        end = self._source.size
        start, tail = end, b""
        while start > 0 and b"\n" not in tail and end - start <= self._feed.max_line_bytes:
            start = max(0, start - LOOK)
            tail = self._source.read_available(start, end - start)
        last = tail.rpartition(b"\n")[2].strip()
        try:
            return bool(last) and not isinstance(json.loads(last), dict)
        except (ValueError, RecursionError):
            return True

    def is_blank(self) -> bool:
        """Whether there is nothing but blanks and newlines."""
        source, start = self._source, 0
        while piece := source.read_available(start, LOOK):
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

    def _supersede(self) -> None:
        """Goes on in a new file, which begins as the one so far did; that stays for its readers."""
        self._log.warning("the server has another body by now, which is read from its start")
        old, end = self._source, self._at
        self._current.source = self._new_file()
        self._digest = hashlib.sha256()
        for start in range(0, end, LOOK):
            self._write(old.read_available(start, min(LOOK, end - start)))
        old.end(BodyReplaced())

    def _write(self, data: bytes) -> None:
        if not data:
            return
        size = self._source.size + len(data)
        self._check_size(size)
        self._digest.update(data)
        self._writer.write(data)
        elapsed = self._transfer.elapsed
        if elapsed - self._told >= PROGRESS:
            self._told = elapsed
            self._log.info(f"{size:,} bytes so far, {size / elapsed / 1e6:.1f} MB/s")

    def _check_size(self, size: int) -> None:
        if size > self._feed.max_feed_bytes:
            raise TooLarge(
                f"{self._url} is larger than {self._feed.max_feed_bytes:,} bytes; if that is "
                f"right, set max_feed_bytes to what it may have",
                url=self._url,
            )
