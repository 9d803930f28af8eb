"""When a request is made once more, and when it is given up."""

from __future__ import annotations

import random
from logging import LoggerAdapter
from typing import Any

from feed_assets.download.transfer import Transfer
from feed_assets.errors import DownloadError
from feed_assets.feed import Feed

JITTER = 0.5  # of a wait, left to chance: servers are not asked by all at the same moment


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
        wait = feed.retry_wait * 2 ** (self._made - 1) * random.uniform(1 - JITTER, 1)  # noqa: S311  no secret
        wait = min(wait, feed.max_retry_wait)
        if failure.retry_after is not None:
            wait = max(wait, failure.retry_after)
        if wait > feed.max_retry_wait or wait >= self._transfer.remaining:
            raise failure
        self._made += 1
        self._log.warning(
            f"{failure.args[0]}; attempt {self._made} of {feed.max_attempts} in {wait:.1f} s"
        )
        self._transfer.wait(wait)
