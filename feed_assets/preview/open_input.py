"""Open and read the input of a preview: a URL, a file, or standard input."""

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
from feed_assets.errors import FeedAssetsError, NotFound, RequestRefused, SettingError
from feed_assets.masking import MaskedLog, SecretMask
from feed_assets.preview.progress_bar import ProgressBar
from feed_assets.preview.request import STDIN, PreviewRequest

_PIECE = 1 << 20
EXAMPLE_DAY = "2020-01-20"


@dataclass(frozen=True)
class PreviewInput:
    """The rows, the bytes they were read from, and the source's name with secrets redacted."""

    shown: str
    source: ByteSource
    reading: ndjson.Reading
    end_is_marked: bool = True
    """True if the response has a marked end, so that a truncated one would be noticed."""


@contextmanager
def open_input(
    request: PreviewRequest, feed: Feed, options: ndjson.Options, bar: ProgressBar, mask: SecretMask
) -> Iterator[PreviewInput]:
    """Open the source and read all rows. Raises FeedAssetsError."""
    opened = (
        _of_url(request, feed, options, bar, mask)
        if request.is_url
        else _of_file(request, feed, options, bar)
    )
    try:
        with opened as rows:
            yield rows
    except OSError as failure:
        shown = feed.address if request.is_url else request.source
        if request.is_url or failure.errno in NO_ROOM:  # other errors of a server are no OSError
            raise disk_failed(f"{shown} could not be written to disk", failure) from None
        raise SettingError(f"{shown} cannot be read: {failure.strerror or failure}") from None


@contextmanager
def _of_url(
    request: PreviewRequest, feed: Feed, options: ndjson.Options, bar: ProgressBar, mask: SecretMask
) -> Iterator[PreviewInput]:
    from feed_assets.download.prefetch import PendingDay, prefetch_days
    from feed_assets.importing.read_download import read_download

    log = logging.getLogger(__name__)
    log.propagate, log.handlers = False, [bar.log]
    with closing(prefetch_days(feed, [request.day], log=MaskedLog(log, mask))) as days:
        _, delivered = next(days)
        if isinstance(delivered, NotFound | RequestRefused) and request.day is None:
            hint = f"{delivered.args[0]}; for a feed by date, add --date {EXAMPLE_DAY}"
            raise type(delivered)(hint, url=delivered.url, status=delivered.status)
        if isinstance(delivered, FeedAssetsError):
            raise delivered
        assert isinstance(delivered, PendingDay)  # the request was not conditional
        download = delivered.download
        bar.expect(lambda: 0 if download.unverified else download.expected_bytes)
        try:
            reading = read_download(download, options, on_progress=bar.update)
            yield PreviewInput(
                download.url, download.source, reading, download.info.result().end_is_marked
            )
        finally:  # end threads that still read
            download.source.end(InterruptedError())


@contextmanager
def _of_file(
    request: PreviewRequest, feed: Feed, options: ndjson.Options, bar: ProgressBar
) -> Iterator[PreviewInput]:
    document = None
    if feed.format == "json":
        from feed_assets.json_document.lines import JsonLines

        document = JsonLines(feed.records)
    shown = "standard input" if request.source == STDIN else request.source
    with (
        _opened(request.source) as file,
        _complete(file, bar) as whole,
        ndjson.open_decompressed(whole, document) as source,
    ):
        if not isinstance(source, GrowingByteSource):
            bar.expect(lambda: source.wait_for(sys.maxsize))
        yield PreviewInput(
            shown, source, ndjson.read(source, options=options, on_progress=bar.update)
        )


def _opened(path: str) -> AbstractContextManager[IO[bytes]]:
    if path != STDIN:
        return open(path, "rb")
    if sys.stdin is None:
        raise SettingError("standard input is closed; pipe a feed into it")
    return nullcontext(sys.stdin.buffer)


@contextmanager
def _complete(file: IO[bytes], bar: ProgressBar) -> Iterator[IO[bytes]]:
    """Yield a file that can be read twice: the file itself, or a copy of a pipe.

    Copies the whole pipe first: only the main thread can be interrupted while it waits.
    """
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.tell() == 0:
        yield file
        return
    with unnamed_temp_file() as copy:
        while piece := os.read(file.fileno(), _PIECE):
            copy.write(piece)
            bar.update(0, copy.tell())
        copy.flush()
        yield copy
