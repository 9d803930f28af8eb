"""The days of a feed, downloaded while those before are stored."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Any

from feed_assets.config.feed import Feed
from feed_assets.download import (
    Download,
    Transfer,
    Unchanged,
    Validators,
    download,
    expected,
    session,
)
from feed_assets.errors import AccessRefused, FeedAssetsError

LOG = logging.getLogger("feed_assets")


@dataclass(frozen=True)
class Delivery:
    """A feed, or one day of it, that has begun to arrive and is not yet stored."""

    feed: Feed
    day: date | None
    download: Download


Delivered = Delivery | Unchanged | FeedAssetsError


Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class _Named(logging.LoggerAdapter[Any]):
    """Lines that say which feed and day they are about."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        return f"{self.extra['of']}: {msg}" if self.extra else msg, kwargs


def deliver(
    feed: Feed,
    days: Sequence[date | None],
    *,
    log: Log = LOG,
    unless: Validators | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Generator[tuple[date | None, Delivered]]:
    """Downloads the days in their order, `feed.parallel_requests` of them ahead and at once.

    A day that fails is delivered as its error, and the others go on; but once the server has
    refused the credentials, it is not asked again: the other days wait for its first answer, so
    that a wrong password is sent once. Each can be read until the next is asked for.
    A snapshot that still has the validators `unless` is not downloaded. `waiting` is called
    before it waits for the server.
    """
    refused: list[AccessRefused] = []
    first: Transfer | None = None

    def fetch(day: date | None, transfer: Transfer, delivered: Future[Delivered]) -> None:
        def begun(got: Download | Unchanged) -> None:
            delivered.set_result(got if isinstance(got, Unchanged) else Delivery(feed, day, got))

        named = _Named(log, {"of": f"{feed.name} {day}" if day else feed.name})
        try:
            if first is not None and transfer is not first:
                first.answered.wait()
            if refused:
                raise refused[0]
            download(http, feed, day, transfer, begun, log=named, unless=unless)
        except Exception as failure:  # noqa: BLE001  (it ends this day, and not the others)
            error = expected(failure, "the download", named)
            if isinstance(error, AccessRefused) and error.status == HTTPStatus.UNAUTHORIZED:
                refused.append(error)  # 403 may be meant for the one day
            delivered.set_result(error)
        finally:
            transfer.answered.set()

    with session(feed) as http, ThreadPoolExecutor(feed.parallel_requests, "download") as pool:
        under_way: deque[tuple[date | None, Transfer, Future[Delivered]]] = deque()
        try:
            for day in days:
                if len(under_way) == feed.parallel_requests:
                    yield from _taken(under_way, waiting)
                transfer = Transfer(str(feed.url_for(day)), feed.download_timeout)
                if first is None and feed.secret_variables:
                    first = transfer
                under_way.append((day, transfer, Future()))
                pool.submit(fetch, *under_way[-1])
            while under_way:
                yield from _taken(under_way, waiting)
        finally:
            for _, transfer, _ in under_way:  # nobody takes these
                transfer.leave()
            pool.shutdown(cancel_futures=True)


def _taken(
    under_way: deque[tuple[date | None, Transfer, Future[Delivered]]], waiting: Callable[[], None]
) -> Iterator[tuple[date | None, Delivered]]:
    """The first of them, for as long as it is wanted."""
    day, transfer, delivered = under_way.popleft()
    try:
        if not delivered.done():
            waiting()
        yield day, delivered.result()
    finally:
        transfer.leave()
