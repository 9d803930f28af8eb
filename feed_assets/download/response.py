"""A request for a body and its response, whatever serves it: HTTP, a bucket, a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from feed_assets.download.cancellation import Transfer
from feed_assets.download.headers import ContentRange
from feed_assets.download.validators import Validators
from feed_assets.urls import Url


@dataclass(frozen=True)
class BodyRequest:
    """Request for a body, for one that has changed, or for the missing bytes of one.

    `version` is the strong ETag of the body whose bytes from `first` are missing.
    """

    if_changed_from: Validators | None = None
    first: int = 0
    version: str | None = None

    def headers(self) -> Mapping[str, str]:
        """Return the headers that say so in HTTP."""
        if self.version is not None:
            return {"Range": f"bytes={self.first}-", "If-Range": self.version}
        return self.if_changed_from.conditional_headers() if self.if_changed_from else {}


@dataclass(frozen=True)
class Response:
    """A response whose body is not read yet.

    `status` is 200, 206 for the missing bytes, 304 for an unchanged body, or one of the feed's
    `empty_statuses`. `url` is the URL after redirects, `total` the encoded size of the body,
    `range` the bytes of a 206. `pieces` raises DownloadError and DownloadCancelled.
    """

    url: Url
    status: int
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))
    validators: Validators = field(default_factory=Validators)
    total: int | None = None
    chunked: bool = False
    encoding: str = ""
    range: ContentRange | None = None
    link: str = ""


Open = Callable[[Url, BodyRequest, Transfer], AbstractContextManager[Response]]
"""Sends one request of a feed. Raises DownloadError and SettingError."""
