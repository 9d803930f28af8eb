"""Feed and day in, a body to its verified end out, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from logging import Logger, LoggerAdapter
from traceback import format_tb
from typing import Any

import requests

from feed_assets.config.feed import Feed
from feed_assets.disk import disk_failed
from feed_assets.download.body_file import Download as Download
from feed_assets.download.body_file import Received
from feed_assets.download.cancellation import Transfer as Transfer
from feed_assets.download.cancellation import UnwantedError
from feed_assets.download.http import ConditionRefused, answered
from feed_assets.download.http import session as session
from feed_assets.download.response_body import Answers
from feed_assets.download.retry import Attempts
from feed_assets.download.validators import Validators as Validators
from feed_assets.errors import DownloadError, FeedAssetsError, UnexpectedFailure


@dataclass(frozen=True)
class Unchanged:
    """The server says that a feed is as it was. `url` is redacted."""

    url: str


def download(
    http: requests.Session,
    feed: Feed,
    day: date | None,
    transfer: Transfer,
    begun: Callable[[Download | Unchanged], None],
    *,
    log: LoggerAdapter[Any],
    unless: Validators | None = None,
) -> None:
    """Fetches a feed, for a feed by date that of one day, and returns when it is over.

    `begun` gets the download as soon as the server has agreed to answer, or that the feed still
    has the validators `unless`. Before that it raises SettingError where a credential is missing,
    DownloadError where the server gave no such answer after as many attempts as the feed allows,
    DiskFailed where there is no room. After that, who reads gets the error.
    """
    url = feed.url_for(day)
    shown = str(url)
    attempts = Attempts(feed, transfer, log)
    with transfer, Received(feed, shown, transfer, begun, log) as received:
        answers = Answers(shown, received, transfer, log)
        while True:
            asked = answers.rest() if received.begun else unless.unless_same() if unless else {}
            try:
                try:
                    with answered(http, feed, url, asked, transfer) as response:
                        transfer.answered.set()
                        if response.status_code == 304:
                            begun(Unchanged(shown))
                            return
                        answers.take(response)
                        break
                except DownloadError as failure:
                    if isinstance(failure, ConditionRefused):
                        answers.forget()
                        unless = None
                    attempts.again(failure)
                except OSError as failure:
                    raise disk_failed(f"{shown} could not be written to disk", failure) from None
            except UnwantedError:
                return
            except Exception as failure:
                if not received.begun:
                    raise
                # who reads would else wait for ever
                received.fail(expected(failure, "the download", log))
                break
        transfer.wait_until_left()


def expected(failure: Exception, what: str, log: Logger | LoggerAdapter[Any]) -> FeedAssetsError:
    """The failure, if it has a sentence of its own; else one that names its type.

    The debug log then has where it happened, without values, which could be secrets.
    """
    if isinstance(failure, FeedAssetsError):
        return failure
    log.debug(f"{type(failure).__name__}\n{''.join(format_tb(failure.__traceback__))}")
    return UnexpectedFailure(what, failure)
