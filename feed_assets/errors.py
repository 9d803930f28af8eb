"""What can go wrong, each a sentence for a person and its facts as attributes for a program.

FeedAssetsError
├── SettingError            a feed, an environment variable or an option is declared wrongly
├── DownloadError           the feed's server did not give a complete answer
│   ├── Unreachable           no answer at all (trying again can help)
│   ├── AccessRefused         401, 403: the credentials
│   ├── NotFound              404, 410: the URL
│   ├── RequestRefused        another 4xx, or an answer that no second request can mend
│   ├── ServerFailed          408, 425, 429, 5xx (trying again can help)
│   ├── Truncated             the body broke off (trying again can help)
│   ├── TooSlow               it took longer than `download_timeout` (trying again can help)
│   └── TooLarge              it is larger than `max_feed_bytes`
├── ContentError            the answer is complete, and is not what a feed may hold
│   ├── NotNdjson             no NDJSON at all: a page, an array, a binary file
│   ├── BadLines              more bad lines than `max_bad_lines`
│   ├── EmptyFeed             no rows, where a snapshot must have some
│   ├── TooFewRows            fewer than `min_rows`, or than `max_shrink` leaves of the table
│   └── CheckFailed           rows that do not pass one of `blocking_checks`
├── TableError              the warehouse cannot take the rows
│   ├── TypeConflict          a shard's column cannot become what it was and what it is
│   ├── NotOurs               something stands where the table or view should go
│   ├── UnsupportedColumn     a DataFrame's column has no type in the warehouse
│   └── WarehouseFailed       the warehouse answered with an error (some: trying again can help)
├── DiskFailed              a disk of this machine cannot hold the feed's file or the warehouse's
├── UnexpectedFailure       a fault of feed_assets itself, which ends one day and not the others
└── ImportFailed            any of the above, with the feed and the days it happened to
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DAYS_NAMED = 3  # of those that failed for one reason
LINE_START = 80  # characters of a bad line that a message quotes


class FeedAssetsError(Exception):
    """Every error that a user can cause or meet; `str(error)` is one sentence fit to be shown."""

    transient: bool = False
    """Whether doing the same again, later, can succeed."""
    mask: Callable[[str], str] | None = None
    """Hides the secrets of the feed it is about, which a server may have sent back."""

    def __str__(self) -> str:
        return self.mask(self.sentence) if self.mask else self.sentence

    @property
    def sentence(self) -> str:
        """What `str` shows, before it is masked."""
        return super().__str__()


class SettingError(FeedAssetsError):
    """A feed, an environment variable or an option is declared wrongly."""


class DownloadError(FeedAssetsError):
    """The feed's server did not give a complete answer.

    `url` is redacted, `status` the answer's, `retry_after` the seconds that the server asked to
    wait. `attempts` counts the requests made, once no more will be.
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
            return str(self.args[0])
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


class Truncated(DownloadError):
    transient = True


class TooSlow(DownloadError):
    transient = True


class TooLarge(DownloadError):
    pass


class ContentError(FeedAssetsError):
    """The answer is complete, and is not what a feed may hold."""


class NotNdjson(ContentError):
    pass


class EmptyFeed(ContentError):
    pass


class TooFewRows(ContentError):
    pass


class CheckFailed(ContentError):
    pass


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no row: `line` counts from 1, blank lines included; `text` is all of it."""

    line: int
    reason: str
    text: str

    def __str__(self) -> str:
        more = "…" if len(self.text) > LINE_START else ""
        return f"line {self.line} {self.reason}: {self.text[:LINE_START]}{more}"


class BadLines(ContentError):
    """More bad lines than allowed. `first` is the first of them."""

    def __init__(self, first: BadLine, *, allowed: int) -> None:
        self.first = first
        self.allowed = allowed
        limit = (
            f" (max_bad_lines is {allowed}, and more lines than that are bad)" if allowed else ""
        )
        super().__init__(f"{first}{limit}")


class DiskFailed(FeedAssetsError):
    """A disk of this machine cannot hold the feed's file or the warehouse's.

    The table is as it was. Trying again can help where the disk is full, not where it is closed
    to this user.
    """

    transient = True

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UnexpectedFailure(FeedAssetsError):
    """A fault of feed_assets itself. The table is as it was, and the cause is named by its type:
    its text could quote a secret.
    """

    def __init__(self, what: str, cause: Exception) -> None:
        super().__init__(
            f"{what} failed by an unexpected {type(cause).__name__}, which is a fault of "
            f"feed_assets; please report it, with the traceback in the debug log"
        )


class TableError(FeedAssetsError):
    """The warehouse cannot take the rows; the table is as it was."""


DECLARED = frozenset({"NUMERIC", "BIGNUMERIC", "DATE", "TIME", "BYTES", "JSON", "GEOGRAPHY"})
"""Types that a column of a feed has only where it is declared, and keeps as long as it is."""


class TypeConflict(TableError):
    """A shard's column cannot become what it was and what it is today.

    `column` is the path with dots, `known` and `today` are type names as BigQuery writes them.
    Of a feed, `declare` is the path as it sends it, and `line` is its first line that does not fit
    the known type. `way_out` replaces the general advice.
    """

    def __init__(
        self, table: str, column: str, known: str, today: str, declare: str | None = None
    ) -> None:
        super().__init__(table, column, known, today, declare)
        self.table = table
        self.column = column
        self.known = known
        self.today = today
        self.line: int | None = None
        self.way_out: str | None = None
        self.declare = column if declare is None else declare

    @property
    def sentence(self) -> str:
        where = f" (first at line {self.line})" if self.line else ""
        kind = self.known.removeprefix("REPEATED ")
        if kind in DECLARED and (kind == self.known) == (not self.today.startswith("REPEATED ")):
            way = f"declare it so in the feed's YAML (types: {{{self.declare}: {kind}}})"
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
NOT_OUR_VIEW = (
    "{table} ({kind}) was not made by feed_assets, so the view of the latest state cannot go "
    "there; drop it or name the feed's table otherwise"
)


class NotOurs(TableError):
    pass


class UnsupportedColumn(TableError):
    pass


class WarehouseFailed(TableError):
    """The warehouse answered with an error."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ImportFailed(FeedAssetsError):
    """An import of `feed` failed for `days` (for a snapshot: none), each with its reason.

    Trying again can help if it can for one of them.
    """

    def __init__(self, feed: str, reasons: Mapping[str | None, FeedAssetsError]) -> None:
        self.feed = feed
        self.reasons = dict(reasons)
        self.transient = any(reason.transient for reason in reasons.values())
        lines = (f"{_subject(feed, days)}: {why}" for why, days in self.by_reason.items())
        super().__init__("\n".join(lines))

    @property
    def by_reason(self) -> Mapping[str, Sequence[str | None]]:
        """The days of each reason; of a snapshot, the one None."""
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
