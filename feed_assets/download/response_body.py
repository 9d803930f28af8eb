"""The answers of a server as one body: decoded, resumed, and verified at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from logging import LoggerAdapter
from typing import Any

import requests
import urllib3.exceptions

from feed_assets.download.body_file import Received
from feed_assets.download.cancellation import Transfer
from feed_assets.download.decoders import (
    GZIP,
    PIECE,
    CorruptError,
    Gzip,
    Plain,
    TrailingBytesError,
)
from feed_assets.download.headers import content_range, printable
from feed_assets.download.validators import Validators
from feed_assets.errors import RequestRefused, Truncated


@dataclass
class _Answer:
    """What is being sent: `total` and `received` count its bytes as sent."""

    encoding: str
    validators: Validators
    total: int | None
    chunked: bool
    decoder: Plain | Gzip = field(default_factory=Plain)
    received: int = 0

    @property
    def marked(self) -> bool:
        """Whether the server tells where its end is."""
        return self.total is not None or self.chunked or isinstance(self.decoder, Gzip)


class Answers:
    """The answers to requests for one body, of which each may break off."""

    def __init__(
        self, url: str, received: Received, transfer: Transfer, log: LoggerAdapter[Any]
    ) -> None:
        """`url` is fit to be shown."""
        self._url, self._received, self._transfer, self._log = url, received, transfer, log
        self._answer: _Answer | None = None

    def rest(self) -> Mapping[str, str]:
        """Headers that ask for what is missing, where the server can tell if it is still that."""
        answer = self._answer
        if answer is None or not answer.received or answer.validators.strong is None:
            return {}
        return {"Range": f"bytes={answer.received}-", "If-Range": answer.validators.strong}

    def forget(self) -> None:
        """Has the next request ask for the whole body."""
        self._answer = None

    def take(self, response: requests.Response) -> None:
        """Returns when the body is whole. Raises DownloadError, DiskFailed and OSError."""
        sent = self._sent(response)
        if response.status_code == 200:
            answer, sent = self._first(response, sent)
        else:
            answer = self._continued(response)
            self._log.info(f"goes on at byte {answer.received:,}")
        try:
            for data in sent:
                answer.received += len(data)
                for piece in answer.decoder.decode(data):
                    self._received.take(piece)
        except CorruptError:
            self.forget()
            raise self._truncated("is no sound gzip") from None
        except TrailingBytesError as failure:
            raise RequestRefused(
                f"the answer of {self._url} goes on after the end of its gzip, with "
                f"{failure.args[0]!r}; have its server send the gzip alone",
                url=self._url,
            ) from None
        self._check_end(answer)
        self._received.end(answer.validators, marked=answer.marked)

    def _first(
        self, response: requests.Response, sent: Iterator[bytes]
    ) -> tuple[_Answer, Iterator[bytes]]:
        encoding = _encoding(response)
        if encoding not in {"", "gzip", "x-gzip"}:
            raise RequestRefused(
                f"{self._url} answered in the encoding {printable(encoding)}, "
                f"which was not asked for",
                url=self._url,
            )
        total = response.raw.length_remaining
        answer = _Answer(encoding, Validators.of(response.headers), total, response.raw.chunked)
        self._answer = answer
        self._received.begin(total or 0)
        start = b""
        while len(start) < len(GZIP) and (data := next(sent, b"")):
            start += data
        if encoding and start and not start.startswith(GZIP):
            self.forget()
            raise self._truncated("is no sound gzip")
        if encoding or start.startswith(GZIP):  # the feed may be a gzip file
            answer.decoder = Gzip()
            self._received.distrust()
        return answer, chain([start] if start else [], sent)

    def _continued(self, response: requests.Response) -> _Answer:
        """The answer that broke off, if this is the rest of it."""
        answer = self._answer
        assert answer is not None
        found = content_range(response.headers.get("Content-Range"))
        now = response.headers.get("ETag")
        if (
            response.status_code != 206
            or found is None
            or found.first != answer.received
            or (answer.total is not None and found.total not in {answer.total, None})
            or _encoding(response) != answer.encoding
            or now not in {None, answer.validators.etag}
        ):
            self.forget()
            raise self._truncated("did not go on where it broke off")
        answer.total = answer.total if found.total is None else found.total
        return answer

    def _sent(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it is sent, each part as soon as it is there."""
        try:
            while data := response.raw.read1(PIECE, decode_content=False):
                yield data
        except urllib3.exceptions.HTTPError as failure:
            self._transfer.check()  # it may have been cut
            waited = isinstance(failure, urllib3.exceptions.TimeoutError)
            why = "stopped for longer than read_timeout" if waited else "broke off before its end"
            raise self._truncated(why) from None
        self._transfer.check()  # a cut could look like an end

    def _check_end(self, answer: _Answer) -> None:
        if answer.total is not None and answer.received != answer.total:
            raise self._truncated("broke off before its end")
        if isinstance(answer.decoder, Gzip):
            empty = not answer.received and (answer.chunked or answer.total == 0)
            if not answer.decoder.ended and not empty:
                self.forget()
                raise self._truncated("broke off inside its gzip")
        elif not answer.marked:
            if self._received.is_blank():
                raise self._truncated(
                    "has no row and does not tell where it ends, as if it had broken off; if it is "
                    "empty, have its server send Content-Length"
                )
            if self._received.breaks_off_in_a_line():
                raise self._truncated("broke off inside a line")
            self._log.warning(
                "the server does not tell where its answer ends, so that one cut short at the end "
                "of a line would look the same; have it send Content-Length, or gzip"
            )

    def _truncated(self, why: str) -> Truncated:
        return Truncated(f"the answer of {self._url} {why}", url=self._url)


def _encoding(response: requests.Response) -> str:
    listed = response.headers.get("Content-Encoding", "").lower().split(",")
    return ", ".join(name for each in listed if (name := each.strip()) not in {"", "identity"})
