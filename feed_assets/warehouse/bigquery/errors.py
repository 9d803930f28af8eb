"""Translate errors of BigQuery: what to do, and whether a retry can help."""

from __future__ import annotations

import http
import re

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
from google.auth.exceptions import GoogleAuthError, TransportError

from feed_assets.errors import WarehouseFailed, row_text

FAILURES = (GoogleAPIError, GoogleAuthError, OSError)
"""Exceptions that Google's client raises; those of `requests` are OSErrors."""
PASSING = {
    "backendError",
    "internalError",
    "rateLimitExceeded",
    "jobBackendError",
    "jobInternalError",
    "jobRateLimitExceeded",
}
"""Reasons of errors that are over in seconds; `quotaExceeded` takes longer.

https://cloud.google.com/bigquery/docs/error-messages#errortable
https://cloud.google.com/bigquery/docs/troubleshoot-quotas
"""
PASSING_CODES = {409, 410, 412, 429, 500, 502, 503, 504}
"""409, 412: another process, or an earlier try of this call, was first. 410: an upload has lost its
session."""
RATE_LIMITED = "too many table update operations"
"""Message for a limit that is over in ten seconds. The reason differs: an update of a
table answers 403 rateLimitExceeded, a query job 400 with jobRateLimitExceeded, invalidQuery in a
script, or quotaExceeded.

https://cloud.google.com/bigquery/docs/troubleshoot-quotas
https://github.com/dataform-co/dataform/issues/2025
"""
_ABOUT_VALUES = re.compile(
    "error while reading data|bad .*?value|invalid .*?value|could not (?:parse|cast|convert)",
    re.IGNORECASE,
)
"""Beginnings of messages, up to where a value of a row may be quoted.

https://cloud.google.com/bigquery/docs/error-messages
"""
DENIED = "accessDenied"
QUOTA = "quotaExceeded"


def passes(failure: Exception) -> bool:
    """Return whether a retry some seconds later can succeed."""
    failure = _cause(failure)
    if isinstance(failure, GoogleAPICallError):
        return (
            failure.code in PASSING_CODES
            or _reason(failure) in PASSING
            or RATE_LIMITED in str(failure)
            or _is_none(failure)
        )
    if isinstance(failure, GoogleAuthError):
        return failure.retryable or isinstance(failure, TransportError)
    return isinstance(failure, OSError)


def given_up(failure: Exception) -> bool:
    """Return whether Google's client has given up its own retries."""
    return isinstance(failure, RetryError)


def translated(who: object, doing: str, project: str, failure: Exception) -> WarehouseFailed:
    """Build the error of the warehouse `who` when `doing` something."""
    failure = _cause(failure)
    if isinstance(failure, GoogleAPICallError) and not _is_none(failure):
        message = f"refused {doing}: " + message_of(failure)
    else:
        message = f"gave no proper answer when {doing}: " + message_of(failure)
    transient = passes(failure)
    advice = "try again later" if transient else _advice(failure, message, project)
    text = f"{who} " + message + (advice and f"; {advice}")
    return WarehouseFailed(text, transient=transient)


def _cause(failure: Exception) -> Exception:
    """Return the last error behind a RetryError."""
    while isinstance(failure, RetryError) and failure.cause:
        failure = failure.cause
    return failure


def _is_none(failure: GoogleAPICallError) -> bool:
    """Return whether the answer is not BigQuery's error, but one that the client cannot read."""
    return not _reason(failure) and (failure.code or 0) < http.HTTPStatus.BAD_REQUEST


def _reason(failure: GoogleAPICallError) -> str:
    return _first(failure).get("reason", "")


def message_of(failure: Exception) -> str:
    """Return BigQuery's message, without the request's URL; redacted where it quotes values."""
    words = str(failure)
    if isinstance(failure, GoogleAPICallError):
        words = _first(failure).get("message") or re.sub(r"^[A-Z]+ \S+: ", "", failure.message)
    words = words.strip().splitlines()[0].rstrip(".;") if words.strip() else "no reason given"
    found = _ABOUT_VALUES.search(words)
    return words[: found.end()] + row_text(words[found.end() :]) if found else words


def _first(failure: GoogleAPICallError) -> dict[str, str]:
    errors = [error for error in failure.errors if isinstance(error, dict)]
    return errors[0] if errors else {}


def _advice(failure: Exception, message: str, project: str) -> str:
    if not isinstance(failure, GoogleAPICallError):
        return "check Google's credentials"
    if "bucket does not exist" in message:
        return "name one that does as staging_bucket in FEED_ASSETS_WAREHOUSE"
    if "DML queries are not allowed" in message:
        return (
            "the latest state needs them: enable billing for the project, or take key or "
            "updated_at out of the feed's YAML"
        )
    if _reason(failure) == DENIED or "storage." in message:
        return f"give the account that imports the role {_role(message, project)}"
    if _reason(failure) == QUOTA:
        return "wait until the quota is refilled, or ask Google to raise it"
    if "not found in location" in message:
        return "set location in FEED_ASSETS_WAREHOUSE to where the dataset is"
    return ""


def _role(message: str, project: str) -> str:
    """Name the smallest role with the permission that BigQuery names.

    https://cloud.google.com/bigquery/docs/access-control#bigquery
    """
    if "storage." in message:
        return "Storage Object User on the staging bucket"
    if "bigquery.jobs." in message:
        return f"BigQuery Job User on the project {project}"
    if "bigquery.datasets.create" in message:
        return f"BigQuery User on the project {project}, or make the dataset yourself"
    return "BigQuery Data Editor on the dataset"
