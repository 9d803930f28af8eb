"""When a request is made once more, and when it is given up."""

from __future__ import annotations

from logging import LoggerAdapter
from typing import Any

from feed_assets.backoff import backoff
from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.errors import DownloadError


class Attempts:
    """The requests made for one download."""

    def __init__(self, feed: Feed, transfer: Transfer, log: LoggerAdapter[Any]) -> None:
        self._feed, self._transfer, self._log = feed, transfer, log
        self._made = 1

    def again(self, failure: DownloadError) -> None:
        """Waits until it is time for the next; where there will be none, raises the failure.

        The waits double, as servers that are busy need more of it; one that says how long it wants
        to be left alone (Retry-After) is obeyed, if it does not want more than `max_retry_wait`.
        """
        feed, failure.attempts = self._feed, self._made
        if not failure.transient or self._made == feed.max_attempts:
            raise failure
        wait = backoff(feed.retry_wait, self._made, longest=feed.max_retry_wait)
        wait = max(wait, failure.retry_after or 0)
        if wait > feed.max_retry_wait or wait >= self._transfer.remaining:
            raise failure
        self._made += 1
        self._log.warning(
            f"{failure.args[0]}; attempt {self._made} of {feed.max_attempts} in {wait:.1f} s"
        )
        self._transfer.answered.set()
        self._transfer.wait(wait)
