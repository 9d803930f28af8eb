"""Download the next days of a feed while earlier ones are stored."""

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
    as_feed_assets_error,
    download,
    session,
)
from feed_assets.errors import AccessRefused, FeedAssetsError

LOG = logging.getLogger("feed_assets")


@dataclass(frozen=True)
class PendingDay:
    """One day of a feed whose download has started and that is not stored yet.

    A snapshot is a single PendingDay without a `day`.
    """

    feed: Feed
    day: date | None
    download: Download


PrefetchedDay = PendingDay | Unchanged | FeedAssetsError
"""Outcome of a day's first request."""

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class _PrefixedLog(logging.LoggerAdapter[Any]):
    """Log whose lines start with the feed and the day."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        return f"{self.extra['prefix']}: {msg}" if self.extra else msg, kwargs


def prefetch_days(
    feed: Feed,
    days: Sequence[date | None],
    *,
    log: Log = LOG,
    if_changed_from: Validators | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Generator[tuple[date | None, PrefetchedDay]]:
    """Download the days in order, `feed.parallel_requests` at a time, and yield each once started.

    A yielded body can be read until the next day is requested from the generator. A day that fails
    is yielded as its error, and the others continue. After a 401 no other day is requested; the
    first response is awaited before the second request, so a wrong password is sent only once.

    A snapshot that still has the validators `if_changed_from` is yielded as Unchanged. `on_wait` is
    called before each wait for the server.
    """
    refused: list[AccessRefused] = []
    first: Transfer | None = None

    def fetch(day: date | None, transfer: Transfer, outcome: Future[PrefetchedDay]) -> None:
        def on_start(started: Download | Unchanged) -> None:
            outcome.set_result(
                started if isinstance(started, Unchanged) else PendingDay(feed, day, started)
            )

        day_log = _PrefixedLog(log, {"prefix": f"{feed.name} {day}" if day else feed.name})
        try:
            if first is not None and transfer is not first:
                first.first_response.wait()
            if refused:
                raise refused[0]
            download(
                open_body,
                feed,
                day,
                transfer,
                on_start,
                log=day_log,
                if_changed_from=if_changed_from,
            )
        except Exception as failure:  # noqa: BLE001  (it fails this day only)
            error = as_feed_assets_error(failure, "the download", day_log)
            if isinstance(error, AccessRefused) and error.status == HTTPStatus.UNAUTHORIZED:
                refused.append(error)  # unlike a 403, which may concern one day only
            outcome.set_result(error)
        finally:
            transfer.first_response.set()

    with session(feed) as open_body, ThreadPoolExecutor(feed.parallel_requests, "download") as pool:
        queue: deque[tuple[date | None, Transfer, Future[PrefetchedDay]]] = deque()
        try:
            for day in days:
                if len(queue) == feed.parallel_requests:
                    yield from _next(queue, on_wait)
                transfer = Transfer(str(feed.url_for(day)), feed.download_timeout)
                if first is None and feed.secret_variables:
                    first = transfer
                queue.append((day, transfer, Future()))
                pool.submit(fetch, *queue[-1])
            while queue:
                yield from _next(queue, on_wait)
        finally:
            for _, transfer, _ in queue:  # the caller has closed the generator
                transfer.cancel()
            pool.shutdown(cancel_futures=True)


def _next(
    queue: deque[tuple[date | None, Transfer, Future[PrefetchedDay]]], on_wait: Callable[[], None]
) -> Iterator[tuple[date | None, PrefetchedDay]]:
    """Yield the oldest day, and cancel its transfer when the caller is done with it."""
    day, transfer, outcome = queue.popleft()
    try:
        if not outcome.done():
            on_wait()
        yield day, outcome.result()
    finally:
        transfer.cancel()
