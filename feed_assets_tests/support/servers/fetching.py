"""One feed's download by itself: its whole body, or the error that a reader gets."""

from __future__ import annotations

import hashlib
import sys
from datetime import date
from typing import Any

from feed_assets.byte_source import BodyReplaced
from feed_assets.config.feed import Feed
from feed_assets.download import Download
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import FeedAssetsError


def feed(url: str, **attributes: Any) -> Feed:
    return Feed(**{"name": "orders", "url": url, "dataset": "crm", "retry_wait": 0, **attributes})


def fetched(declared: Feed, day: date | None = None) -> bytes:
    """Return the whole body, or raise the error that its reader would get."""
    for _, delivery in prefetch_days(declared, [day]):
        if isinstance(delivery, FeedAssetsError):
            raise delivery
        assert isinstance(delivery, PendingDay)
        body = _read(delivery.download)
        assert delivery.download.info.result().bytes == len(body)
        assert delivery.download.info.result().sha256 == hashlib.sha256(body).hexdigest()
        return body
    raise AssertionError


def _read(download: Download) -> bytes:
    while True:
        source = download.source
        try:
            return source.read(0, source.wait_for(sys.maxsize))
        except BodyReplaced:
            continue
