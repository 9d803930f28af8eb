"""Decide whether to repeat a failed request, and when."""

from __future__ import annotations

from logging import LoggerAdapter
from typing import Any

from feed_assets.backoff import backoff
from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.errors import DownloadError, NotReady


class Attempts:
    """Count the requests of one download."""

    def __init__(self, feed: Feed, transfer: Transfer, log: LoggerAdapter[Any]) -> None:
        self._feed, self._transfer, self._log = feed, transfer, log
        self._count, self._polls = 1, 0

    def wait_before_next(self, failure: DownloadError) -> None:
        """Sleep until the next attempt, or raise the failure if there is none.

        Waits double from attempt to attempt. A longer `Retry-After` is obeyed; one longer than
        `max_retry_wait` ends the download. An answer that the feed is not ready yet is no attempt:
        the request is repeated until the time limit.
        """
        if isinstance(failure, NotReady):
            self._wait_until_ready(failure)
            return
        feed, failure.attempts = self._feed, self._count
        if not failure.transient or self._count == feed.max_attempts:
            raise failure
        wait = backoff(feed.retry_wait, self._count, longest=feed.max_retry_wait)
        wait = max(wait, failure.retry_after or 0)
        if wait > feed.max_retry_wait or wait >= self._transfer.remaining:
            raise failure
        self._count += 1
        self._log.warning(
            f"{failure.args[0]}; attempt {self._count} of {feed.max_attempts} in {wait:.1f} s"
        )
        self._transfer.first_response.set()
        self._transfer.wait(wait)

    def _wait_until_ready(self, failure: NotReady) -> None:
        self._polls += 1
        wait = failure.retry_after
        if wait is None:
            wait = backoff(self._feed.retry_wait, self._polls, longest=self._feed.max_retry_wait)
        if wait >= self._transfer.remaining:
            failure.attempts = self._polls
            failure.args = (
                f"{failure.args[0]}, and download_timeout ({self._feed.download_timeout:g} s) is "
                f"over before the next request",
            )
            raise failure
        self._log.info(f"{failure.args[0]}; asking again in {wait:.1f} s")
        self._transfer.first_response.set()
        self._transfer.wait(wait)
