"""Download the feed of a day: a verified body, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from logging import Logger, LoggerAdapter
from traceback import format_tb
from typing import TYPE_CHECKING, Any

import requests

from feed_assets.config.feed import Feed
from feed_assets.disk import disk_failed
from feed_assets.download.body_file import BodyFile
from feed_assets.download.body_file import Download as Download
from feed_assets.download.body_file import Unchanged as Unchanged
from feed_assets.download.cancellation import DownloadCancelled
from feed_assets.download.cancellation import Transfer as Transfer
from feed_assets.download.http import ConditionRefused, open_response
from feed_assets.download.http import session as session
from feed_assets.download.response_body import ResponseBody
from feed_assets.download.retry import Attempts
from feed_assets.download.validators import Validators as Validators
from feed_assets.errors import DownloadError, FeedAssetsError, UnexpectedFailure
from feed_assets.urls import Url

if TYPE_CHECKING:
    from feed_assets.json_document.lines import JsonLines


def download(
    http: requests.Session,
    feed: Feed,
    day: date | None,
    transfer: Transfer,
    on_start: Callable[[Download | Unchanged], None],
    *,
    log: LoggerAdapter[Any],
    if_changed_from: Validators | None = None,
) -> None:
    """Download a feed, by date that of one day; return when the transfer is cancelled.

    `on_start` gets the download as soon as its first response arrives, or Unchanged if the feed
    still has the validators `if_changed_from`. Errors before that are raised: SettingError if a
    credential is missing, DownloadError after `max_attempts`, DiskFailed without disk space.
    Later errors are raised by the readers of the body.
    """
    url = feed.url_for(day)
    attempts = Attempts(feed, transfer, log)
    with transfer, BodyFile(feed, str(url), transfer, on_start, log) as file:
        body = ResponseBody(
            str(url), file, transfer, log, if_changed_from, new_document=_document_reader(feed)
        )
        try:
            while (failed := _attempt(http, feed, url, body, transfer)) is not None:
                attempts.wait_before_next(failed)
        except DownloadCancelled:
            return
        except Exception as failure:
            if not file.started:
                raise
            file.fail(as_feed_assets_error(failure, "the download", log))  # else readers hang
        transfer.wait_until_cancelled()


def _document_reader(feed: Feed) -> Callable[[], JsonLines] | None:
    if feed.format == "ndjson":
        return None
    from feed_assets.json_document.lines import JsonLines

    return partial(JsonLines, feed.records)


def _attempt(
    http: requests.Session, feed: Feed, url: Url, body: ResponseBody, transfer: Transfer
) -> DownloadError | None:
    """Send one request and read its response; return the error that a retry may solve."""
    try:
        with open_response(http, feed, url, body.request_headers(), transfer) as response:
            transfer.first_response.set()
            body.read(response)
    except ConditionRefused as failure:
        body.restart()
        return failure
    except DownloadError as failure:
        return failure
    except OSError as failure:
        raise disk_failed(f"{url} could not be written to disk", failure) from None
    return None


def as_feed_assets_error(
    failure: Exception, operation: str, log: Logger | LoggerAdapter[Any]
) -> FeedAssetsError:
    """Return the failure itself, or an UnexpectedFailure that names its type.

    The traceback then goes to the debug log, without values, which could be secrets.
    """
    if isinstance(failure, FeedAssetsError):
        return failure
    log.debug(f"{type(failure).__name__}\n{''.join(format_tb(failure.__traceback__))}")
    return UnexpectedFailure(operation, failure)
