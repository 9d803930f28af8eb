"""Exceptions: a sentence for people, facts as attributes for programs.

FeedAssetsError
├── SettingError            an invalid feed, environment variable or option
├── DownloadError           the feed's server sent no complete response
│   ├── Unreachable           no response (transient)
│   ├── AccessRefused         401, 403: wrong credentials
│   ├── NotFound              404, 410: wrong URL
│   ├── RequestRefused        another 4xx, or a response that a retry cannot change
│   ├── ServerFailed          408, 425, 429, 5xx (transient)
│   ├── NotReady              202 until `download_timeout` (transient)
│   ├── Truncated             the body broke off (transient)
│   ├── TooSlow               longer than `download_timeout` (transient)
│   └── TooLarge              larger than `max_feed_bytes`
├── ContentError            the response is complete, and not a valid feed
│   ├── NotNdjson             not NDJSON: an HTML page, an array, a binary file
│   ├── NotJson               not the declared JSON document (`format: json`)
│   ├── BadLines              more bad lines than `max_bad_lines`
│   ├── EmptyFeed             a snapshot without rows
│   ├── TooFewRows            fewer than `min_rows`, or more removed than `max_shrink`
│   └── CheckFailed           a failed check among `blocking_checks`
├── TableError              the warehouse cannot store the rows
│   ├── TypeConflict          a column's types in earlier and current rows cannot be merged
│   ├── NotOurs               another object has the name of the table or view
│   ├── UnsupportedColumn     a DataFrame's column has no type in the warehouse
│   └── WarehouseFailed       the warehouse returned an error (some are transient)
├── DiskFailed              a local disk cannot store the feed's file or the warehouse
├── UnexpectedFailure       a bug in feed_assets; the other days continue
└── ImportFailed            any of the above, with the feed and its failed days
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

DAYS_NAMED = 3  # failed days in a message, per reason
LINE_START = 80  # characters of a bad line that a full sentence quotes


class Redacted(str):
    """A text without values of rows; `full` is the same text with them.

    Formatting, joining or printing it gives the text without. Only the mask of a feed with
    `quote_rows`, and the table of rejected lines, take the full one.
    """

    __slots__ = ("full",)
    full: str

    def __new__(cls, text: str, full: str) -> Self:
        made = super().__new__(cls, text)
        made.full = full
        return made

    def __add__(self, more: str) -> Redacted:
        return Redacted(f"{self}{more}", self.full + full_text(more))

    def __radd__(self, before: str) -> Redacted:
        return Redacted(f"{before}{self}", before + self.full)


def row_text(text: str) -> Redacted:
    """Mark a part of a sentence as values of rows."""
    return Redacted("", text)


def full_text(text: str) -> str:
    """Return a text with the values of rows that it quotes, if any."""
    return text.full if isinstance(text, Redacted) else text


class FeedAssetsError(Exception):
    """Base of all errors for users. `str(error)` is one sentence, with secrets masked."""

    transient: bool = False
    """True if a retry can succeed."""
    mask: Callable[[str], str] | None = None
    """Masks the feed's secrets, which a server may have echoed, and quotes rows if it may."""

    def __str__(self) -> str:
        return self.mask(self.sentence) if self.mask else str(self.sentence)

    @property
    def sentence(self) -> str:
        """The unmasked sentence."""
        only = self.args[0] if len(self.args) == 1 else None
        return only if isinstance(only, str) else super().__str__()


class SettingError(FeedAssetsError):
    """A feed, an environment variable or an option is invalid."""


class DownloadError(FeedAssetsError):
    """The feed's server sent no complete response.

    `url` is redacted. `status` is the response's, `retry_after` the wait in seconds it asks for.
    `attempts` is the number of requests, set with the last one.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.url = url
        self.status = status
        self.retry_after = retry_after
        self.attempts = 0

    @property
    def sentence(self) -> str:
        if not self.transient or not self.attempts:
            return super().sentence
        tried = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{self.args[0]}; try again later{tried}"


class Unreachable(DownloadError):
    transient = True


class AccessRefused(DownloadError):
    pass


class NotFound(DownloadError):
    pass


class RequestRefused(DownloadError):
    pass


class ServerFailed(DownloadError):
    transient = True


class NotReady(DownloadError):
    transient = True


class Truncated(DownloadError):
    transient = True


class TooSlow(DownloadError):
    transient = True


class TooLarge(DownloadError):
    pass


class ContentError(FeedAssetsError):
    """The response is complete, and not a valid feed."""


class NotNdjson(ContentError):
    pass


class NotJson(ContentError):
    pass


class EmptyFeed(ContentError):
    pass


class TooFewRows(ContentError):
    pass


class CheckFailed(ContentError):
    pass


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a row; `line` counts from 1, blank lines included.

    `text` is empty for a feed with columns that are left out or hashed. `unit` is element for a
    JSON document: there the number is that of the element.
    """

    line: int
    reason: str
    text: str
    unit: str = "line"

    def __str__(self) -> str:
        return str(self.sentence)

    @property
    def sentence(self) -> Redacted:
        """Number and reason; in full also the start of the line."""
        more = "…" if len(self.text) > LINE_START else ""
        start = f": {self.text[:LINE_START]}{more}" if self.text else ""
        return f"{self.unit} {self.line} " + self.reason + row_text(start)


class BadLines(ContentError):
    """More bad lines than `allowed`; `first` is the first one."""

    def __init__(self, first: BadLine, *, allowed: int) -> None:
        self.first = first
        self.allowed = allowed
        limit = (
            f" (max_bad_lines is {allowed}, and more {first.unit}s than that are bad)"
            if allowed
            else ""
        )
        super().__init__(first.sentence + limit)


class DiskFailed(FeedAssetsError):
    """A local disk cannot store the feed's file or the warehouse; the table is unchanged.

    Transient for a full disk, not for missing permissions.
    """

    transient = True

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UnexpectedFailure(FeedAssetsError):
    """A bug in feed_assets; the table is unchanged.

    The message names only the type of the cause, whose text could quote a secret.
    """

    def __init__(self, what: str, cause: Exception) -> None:
        super().__init__(
            f"{what} failed by an unexpected {type(cause).__name__}, which is a fault of "
            f"feed_assets; please report it, with the traceback in the debug log"
        )


class TableError(FeedAssetsError):
    """The warehouse cannot store the rows; the table is unchanged."""


class TypeConflict(TableError):
    """A column's known type and its type in these rows cannot be merged.

    `column` is a dotted path; `known` and `today` are BigQuery type names. `declare` is the path
    as in the feed, `declare_as` the known type if only a declaration gives it, `line` the first
    line with a conflicting value. `way_out` replaces the general advice.
    """

    def __init__(
        self,
        table: str,
        column: str,
        known: str,
        today: str,
        declare: str | None = None,
        declare_as: str | None = None,
    ) -> None:
        super().__init__(table, column, known, today, declare, declare_as)
        self.table = table
        self.column = column
        self.known = known
        self.today = today
        self.line: int | None = None
        self.unit = "line"
        self.way_out: str | None = None
        self.declare = column if declare is None else declare
        self.declare_as = declare_as

    @property
    def sentence(self) -> str:
        where = f" (first at {self.unit} {self.line})" if self.line else ""
        if self.declare_as:
            way = f"declare it so in the feed's YAML (types: {{{self.declare}: {self.declare_as}}})"
        else:
            way = (
                f"declare its type in the feed's YAML (types: {{{self.declare}: STRING}}, say) and "
                f"backfill the days before"
            )
        return (
            f"column {self.column} of {self.table} is {self.known} in the shards so far "
            f"and {self.today} today{where}. "
            f"{self.way_out or f'Either {way}, or fix the feed'}"
        )


IN_THE_WAY = (
    "{table} is a {kind}, so rows cannot be stored there; drop it or name the table otherwise"
)
BEFORE_SHARDS = (
    "{table} is named like a shard of {shards} and lacks columns that the shards have, so BigQuery "
    "would leave these out; rename it or drop it"
)
NOT_OUR_VIEW = (
    "{table} ({kind}) was not made by feed_assets, so the view of the latest state cannot go "
    "there; drop it or name the feed's table otherwise"
)
NOT_OUR_LATEST = (
    "{table} ({kind}) was not made by feed_assets, so the latest state cannot go there; drop it or "
    "name the feed's table otherwise"
)


class NotOurs(TableError):
    pass


class UnsupportedColumn(TableError):
    pass


class WarehouseFailed(TableError):
    """The warehouse returned an error."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ImportFailed(FeedAssetsError):
    """The failed days of an import, each with its reason; a snapshot is the day None.

    Transient if one of the reasons is.
    """

    def __init__(self, feed: str, reasons: Mapping[str | None, FeedAssetsError]) -> None:
        self.feed = feed
        self.reasons = dict(reasons)
        self.transient = any(reason.transient for reason in reasons.values())
        lines = (f"{_subject(feed, days)}: {why}" for why, days in self.by_reason.items())
        super().__init__("\n".join(lines))

    @property
    def by_reason(self) -> Mapping[str, Sequence[str | None]]:
        """Failed days per reason; a snapshot is the day None."""
        days: dict[str, list[str | None]] = {}
        for day, reason in self.reasons.items():
            days.setdefault(str(reason), []).append(day)
        return days

    @property
    def days(self) -> Sequence[str]:
        return [day for day in self.reasons if day is not None]


def _subject(feed: str, days: Sequence[str | None]) -> str:
    named = [day for day in days if day is not None]
    more = f" and {len(named) - DAYS_NAMED} days more" if len(named) > DAYS_NAMED else ""
    return " ".join([feed, ", ".join(named[:DAYS_NAMED]) + more]) if named else feed
