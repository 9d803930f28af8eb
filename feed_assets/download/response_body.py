"""One body from several responses: decode it, resume it, verify its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from logging import LoggerAdapter
from typing import TYPE_CHECKING, Any

from feed_assets.decompression import (
    HEAD,
    CorruptError,
    Decoder,
    Plain,
    TrailingBytesError,
    compression_of,
    decoder_for,
)
from feed_assets.download.body_file import BodyFile
from feed_assets.download.headers import printable
from feed_assets.download.response import BodyRequest, Response
from feed_assets.download.validators import Validators
from feed_assets.errors import NotJson, RequestRefused, Truncated, row_text
from feed_assets.urls import Url

if TYPE_CHECKING:
    from feed_assets.json_document.lines import JsonLines

_ENCODINGS = {"", "gzip", "x-gzip", "zstd", "bzip2", "x-bzip2"}


@dataclass
class _Progress:
    """State of a body that may be resumed; `total` and `received` count encoded bytes."""

    encoding: str
    validators: Validators
    total: int | None
    chunked: bool
    decoder: Decoder = field(default_factory=Plain)
    document: JsonLines | None = None
    received: int = 0
    decoded: int = 0
    refusal: NotJson | None = None
    """Why the body is not the declared document, unless a checksum shows that it is corrupt."""

    @property
    def end_is_marked(self) -> bool:
        if self.document is not None or self.decoder.compression:
            return True
        return self.total is not None or self.chunked


@dataclass(frozen=True)
class BodyEnd:
    """Facts about a complete body: its URL after redirects, and what names the next page.

    `link` is its Link header, `values` are the scalars of its JSON document that were wanted.
    """

    url: Url
    validators: Validators
    end_is_marked: bool
    link: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class ResponseBody:
    """Reader of the responses to the requests for one body, each of which may break off."""

    def __init__(
        self,
        url: str,
        file: BodyFile,
        log: LoggerAdapter[Any],
        if_changed_from: Validators | None = None,
        new_document: Callable[[], JsonLines] | None = None,
    ) -> None:
        """`url` is redacted. `new_document` makes the reader of a body that is a JSON document."""
        self._url, self._file, self._log = url, file, log
        self._if_changed_from, self._new_document = if_changed_from, new_document
        self._progress: _Progress | None = None
        self._begun = False
        self.end: BodyEnd | None = None
        """Set when the body is complete; None if it has not changed."""

    def next_request(self) -> BodyRequest:
        """Return the next request: for a changed body only, or for its missing bytes.

        Bytes are requested only if a strong ETag identifies the body.
        """
        if not self._file.started:
            return BodyRequest(self._if_changed_from)
        progress = self._progress
        if progress is None or not progress.received or progress.validators.strong is None:
            return BodyRequest()
        return BodyRequest(first=progress.received, version=progress.validators.strong)

    def restart(self) -> None:
        """Make the next request ask for the whole body, without a condition."""
        self._progress = self._if_changed_from = None

    def read(self, response: Response) -> None:
        """Read a response to the verified end. Raises DownloadError, DiskFailed and OSError."""
        if response.status == 304:
            self._file.unchanged()
            return
        if response.status not in {200, 206}:
            self._read_empty(response)
            return
        pieces = response.pieces
        if response.status == 200:
            progress, pieces = self._start(response)
        else:
            progress = self._resume(response)
            self._log.info(f"resuming at byte {progress.received:,}")
        try:
            for data in pieces:
                progress.received += len(data)
                for piece in progress.decoder.decode(data):
                    self._write(progress, piece)
        except CorruptError:
            self.restart()
            raise self._truncated(f"is not valid {progress.decoder.compression}") from None
        except TrailingBytesError as failure:
            kind = progress.decoder.compression
            raise RequestRefused(
                f"the response of {self._url} has bytes after the end of its {kind}"
                + row_text(f": {failure.args[0]!r}")
                + f"; configure its server to send only the {kind}",
                url=self._url,
            ) from None
        self._check_end(progress)
        self.end = BodyEnd(
            response.url,
            progress.validators,
            progress.end_is_marked,
            response.link,
            progress.document.values if progress.document else {},
        )

    def _write(self, progress: _Progress, piece: bytes) -> None:
        if progress.document is None:
            self._file.write(piece)
            return
        progress.decoded += len(piece)
        self._file.check_size(progress.decoded)
        if progress.refusal is not None:
            return
        try:
            for lines in progress.document.read(piece):
                self._file.write(lines)
        except NotJson as refusal:
            if not progress.decoder.compression:
                raise
            progress.refusal = refusal

    def _read_empty(self, response: Response) -> None:
        """Take one of the feed's `empty_statuses` as an empty body."""
        status = response.status
        if self._begun:
            raise self._truncated(f"broke off, and the next request was answered with {status}")
        self._log.info(f"the server answered {status}, which empty_statuses declares as no rows")
        self._file.start(0)
        self.end = BodyEnd(response.url, Validators(), end_is_marked=True)

    def _start(self, response: Response) -> tuple[_Progress, Iterator[bytes]]:
        encoding, total, pieces = response.encoding, response.total, response.pieces
        self._progress = progress = _Progress(
            encoding, response.validators, total, response.chunked
        )
        progress.document = self._new_document() if self._new_document else None
        self._begun = True
        self._file.start(total or 0)
        first = b""
        while len(first) < HEAD and (data := next(pieces, b"")):
            first += data
        if encoding not in _ENCODINGS and not compression_of(first):
            raise RequestRefused(
                f"{self._url} answered with the encoding {printable(encoding)}, "
                f"which the request does not accept",
                url=self._url,
            )
        progress.decoder = decoder_for(first)  # also for a compressed file without the header
        if progress.decoder.compression:
            self._file.mark_unverified()
        elif encoding and first:
            self._log.warning(
                f"the server names the encoding {encoding} and sends none; reading the body as it "
                f"is"
            )
        return progress, chain([first] if first else [], pieces)

    def _resume(self, response: Response) -> _Progress:
        """Check that the response continues the body where it broke off."""
        progress = self._progress
        assert progress is not None
        found = response.range
        if (
            found is None
            or found.first != progress.received
            or (progress.total is not None and found.total not in {progress.total, None})
            or response.encoding != progress.encoding
            or response.validators.etag not in {None, progress.validators.etag}
        ):
            self.restart()
            raise self._truncated("did not continue where it broke off")
        progress.total = progress.total if found.total is None else found.total
        return progress

    def _check_end(self, progress: _Progress) -> None:
        if progress.total is not None and progress.received != progress.total:
            raise self._truncated("broke off before its end")
        if progress.decoder.compression and not progress.decoder.ended:
            self.restart()
            raise self._truncated(f"broke off inside its {progress.decoder.compression}")
        if progress.document is not None:
            if progress.refusal is not None:
                raise progress.refusal
            progress.document.check_start()
            if not progress.document.ended:
                self.restart()
                after = f" after element {progress.document.elements}"
                raise self._truncated(f"broke off inside its JSON document,{after}")
        elif not progress.end_is_marked:
            if self._file.is_blank():
                raise self._truncated(
                    "has no rows and no end mark, so it may have broken off; if the feed is "
                    "empty, configure its server to send Content-Length"
                )
            if self._file.ends_inside_a_line():
                raise self._truncated("broke off inside a line")
            self._log.warning(
                "the server does not mark the end of its response, so a response cut after a "
                "complete line cannot be detected; configure it to send Content-Length, or gzip"
            )

    def _truncated(self, why: str) -> Truncated:
        return Truncated(f"the response of {self._url} {why}", url=self._url)
