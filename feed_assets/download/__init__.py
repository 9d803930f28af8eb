"""Download the feed of a day: a verified body, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from logging import Logger, LoggerAdapter
from traceback import format_tb
from typing import TYPE_CHECKING, Any

from feed_assets.config.feed import Feed
from feed_assets.config.pages import Pages
from feed_assets.disk import disk_failed
from feed_assets.download.body_file import BodyFile
from feed_assets.download.body_file import Download as Download
from feed_assets.download.body_file import Unchanged as Unchanged
from feed_assets.download.cancellation import DownloadCancelled
from feed_assets.download.cancellation import Transfer as Transfer
from feed_assets.download.http import ConditionRefused, open_response, web_session
from feed_assets.download.response import Open
from feed_assets.download.response_body import BodyEnd, ResponseBody
from feed_assets.download.retry import Attempts
from feed_assets.download.validators import Validators as Validators
from feed_assets.errors import DownloadError, FeedAssetsError, UnexpectedFailure
from feed_assets.urls import BUCKETS, Url

if TYPE_CHECKING:
    from feed_assets.json_document.lines import JsonLines


@contextmanager
def session(feed: Feed) -> Iterator[Open]:
    """Open a session for all days of a run, which share connections. Raises SettingError."""
    scheme = feed.address.scheme
    if scheme == "file":
        from feed_assets.download.files import open_local_file

        yield partial(open_local_file, feed)
    elif scheme == "sftp":
        from feed_assets.download.sftp import sftp_session

        with sftp_session(feed) as open_file:
            yield open_file
    elif scheme in BUCKETS:
        from feed_assets.download.buckets import bucket_of, open_object

        with web_session(feed) as http:
            yield partial(open_object, http, bucket_of(feed), feed)
    else:
        with web_session(feed) as http:
            yield partial(open_response, http, feed)


def download(
    open_body: Open,
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
    with transfer, BodyFile(feed, str(url), transfer, on_start, log) as file:
        read = partial(_read_body, open_body, feed, file, transfer, log)
        try:
            if feed.pages:
                _read_pages(feed, feed.pages, url, file, read, log)
            elif (end := read(url, if_changed_from)) is not None:
                file.finish(end.validators, end_is_marked=end.end_is_marked)
        except DownloadCancelled:
            return
        except Exception as failure:
            if not file.started:
                raise
            file.fail(as_feed_assets_error(failure, "the download", log))  # else readers hang
        transfer.wait_until_cancelled()


def _read_pages(
    feed: Feed,
    pages: Pages,
    url: Url,
    file: BodyFile,
    read: Callable[[Url], BodyEnd | None],
    log: LoggerAdapter[Any],
) -> None:
    """Read all pages into one body. It has no validators, as they would be those of one page."""
    from feed_assets.download.pages import PageSequence

    sequence, end_is_marked = PageSequence(feed, pages, url, log), True
    while (end := read(sequence.url)) is not None:
        end_is_marked = end_is_marked and end.end_is_marked
        if not sequence.advance(end, file.end_page()):
            break
    file.finish(Validators(), end_is_marked=end_is_marked)


def _read_body(
    open_body: Open,
    feed: Feed,
    file: BodyFile,
    transfer: Transfer,
    log: LoggerAdapter[Any],
    url: Url,
    if_changed_from: Validators | None = None,
) -> BodyEnd | None:
    """Read the body or one page of it, in as many attempts as it needs; None if unchanged."""
    attempts = Attempts(feed, transfer, log)
    body = ResponseBody(str(url), file, log, if_changed_from, new_document=_document_reader(feed))
    while (failed := _attempt(open_body, url, body, transfer)) is not None:
        attempts.wait_before_next(failed)
    return body.end


def _document_reader(feed: Feed) -> Callable[[], JsonLines] | None:
    if feed.format == "ndjson":
        return None
    from feed_assets.json_document.lines import JsonLines

    following = feed.pages.next_url if feed.pages else None
    return partial(JsonLines, feed.records, [following] if following else [])


def _attempt(
    open_body: Open,
    url: Url,
    body: ResponseBody,
    transfer: Transfer,
) -> DownloadError | None:
    """Send one request and read its response; return the error that a retry may solve."""
    try:
        with open_body(url, body.next_request(), transfer) as response:
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
