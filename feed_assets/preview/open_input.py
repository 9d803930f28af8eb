"""Where a preview's rows come from: a feed's server, a file, or what is piped into it."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO

from feed_assets import ndjson
from feed_assets.byte_source import ByteSource, GrowingByteSource, unnamed_temp_file
from feed_assets.config.feed import Feed
from feed_assets.disk import NO_ROOM, disk_failed
from feed_assets.errors import FeedAssetsError, SettingError
from feed_assets.masking import MaskedLog, SecretMask
from feed_assets.preview.progress_bar import Bar
from feed_assets.preview.request import STDIN, Asked

_PIECE = 1 << 20


@dataclass(frozen=True)
class Rows:
    """What was read, the bytes it was read from, and where they are from, fit to be shown."""

    shown: str
    source: ByteSource
    reading: ndjson.Reading
    marked: bool = True
    """Whether the server told where the end is."""


@contextmanager
def rows_of(
    asked: Asked, feed: Feed, options: ndjson.Options, bar: Bar, mask: SecretMask
) -> Iterator[Rows]:
    """The rows, read to their end. Raises FeedAssetsError."""
    made = (
        _of_url(asked, feed, options, bar, mask) if asked.is_url else _of_file(asked, options, bar)
    )
    try:
        with made as rows:
            yield rows
    except OSError as failure:
        shown = feed.address if asked.is_url else asked.source
        if asked.is_url or failure.errno in NO_ROOM:  # a server's failures have other sentences
            raise disk_failed(f"{shown} could not be written to disk", failure) from None
        raise SettingError(f"{shown} cannot be read: {failure.strerror or failure}") from None


@contextmanager
def _of_url(
    asked: Asked, feed: Feed, options: ndjson.Options, bar: Bar, mask: SecretMask
) -> Iterator[Rows]:
    from feed_assets.download.prefetch import PendingDay, prefetch_days
    from feed_assets.importing.read_download import read_download

    log = logging.getLogger(__name__)
    log.propagate, log.handlers = False, [bar.log]
    with closing(prefetch_days(feed, [asked.day], log=MaskedLog(log, mask))) as deliveries:
        _, delivered = next(deliveries)
        if isinstance(delivered, FeedAssetsError):
            raise delivered
        assert isinstance(delivered, PendingDay)  # it was not asked whether it has changed
        download = delivered.download
        bar.expect(lambda: 0 if download.unverified else download.expected_bytes)
        try:
            reading = read_download(download, options, on_progress=bar.told)
            yield Rows(download.url, download.source, reading, download.info.result().end_is_marked)
        finally:  # of which threads that still read would else not hear
            download.source.end(InterruptedError())


@contextmanager
def _of_file(asked: Asked, options: ndjson.Options, bar: Bar) -> Iterator[Rows]:
    shown = "standard input" if asked.source == STDIN else asked.source
    with (
        _opened(asked.source) as file,
        _complete(file, bar) as whole,
        ndjson.open_decompressed(whole) as source,
    ):
        if not isinstance(source, GrowingByteSource):
            bar.expect(lambda: source.wait_for(sys.maxsize))
        yield Rows(shown, source, ndjson.read(source, options=options, on_progress=bar.told))


def _opened(path: str) -> AbstractContextManager[IO[bytes]]:
    if path != STDIN:
        return open(path, "rb")
    if sys.stdin is None:
        raise SettingError("standard input is closed; pipe a feed into it")
    return nullcontext(sys.stdin.buffer)


@contextmanager
def _complete(file: IO[bytes], bar: Bar) -> Iterator[IO[bytes]]:
    """A file that can be read twice: that one, or of a pipe a copy.

    It is complete before it is read, as only the main thread can be interrupted while it waits.
    """
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.tell() == 0:
        yield file
        return
    with unnamed_temp_file() as copy:
        while piece := os.read(file.fileno(), _PIECE):
            copy.write(piece)
            bar.told(0, copy.tell())
        copy.flush()
        yield copy
