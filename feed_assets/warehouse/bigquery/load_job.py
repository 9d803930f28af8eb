"""Run a load job exactly once and within a time limit, even if answers are lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from google.api_core.exceptions import Conflict, NotFound
from google.cloud.bigquery import DEFAULT_RETRY, LoadJob

from feed_assets.errors import WarehouseFailed
from feed_assets.warehouse.bigquery.errors import FAILURES, passes

TRIES = 3
WAIT_SECONDS = 10.0  # before the second try, twice that before the third: tables take 5 in 10 s
CALL_SECONDS = 60.0
"""Timeout of one request. The client retries transient errors for 10 minutes."""
JOB_SECONDS = 3600.0
"""Timeout of a job, which is then cancelled."""
SHORTEST_POLL, LONGEST_POLL = 0.25, 20.0
"""Seconds between two looks at a job: a tenth of the time that it has taken so far.

Google's client waits a second at first, then half as long again each time: a load of 2.5 seconds
is seen to be done after 4.75.
"""
PATIENT = DEFAULT_RETRY.with_predicate(passes)
FINDING = DEFAULT_RETRY.with_predicate(lambda why: isinstance(why, NotFound) or passes(why))
"""Retry for a job that exists but may not be found at once.

https://github.com/googleapis/python-bigquery/issues/2134
"""

Named = Callable[[str], LoadJob]


def run(
    name: str,
    make: Named,
    find: Named,
    *,
    of: str,
    stopped: Callable[[], bool] = lambda: False,
) -> LoadJob:
    """Run a load job exactly once: submit it, or adopt the job that an earlier attempt submitted.

    `make` and `find` do so by a job's id, of which each begins with `name`. Raises FAILURES, or
    WarehouseFailed if the job does not end, or once it is `stopped`.
    """
    for number in range(TRIES):
        time.sleep(WAIT_SECONDS * number)
        job = _made(f"{name}-{number}", make, find)
        try:
            _wait(job, of, stopped)
            return job
        except FAILURES as failure:
            # another job only once this one has failed: else both would load
            if number == TRIES - 1 or not (job.error_result and passes(failure)):
                raise
    raise AssertionError("the last try returns or raises")


def _made(job_id: str, make: Named, find: Named) -> LoadJob:
    """Submit the job, or find it if a try whose answer was lost has submitted it.

    Whether an upload that failed has made its job is not known; made again under its id, it is
    refused if it has.
    https://cloud.google.com/bigquery/docs/error-messages#errortable (backendError, jobs.insert)
    """
    for number in range(TRIES):
        try:
            time.sleep(WAIT_SECONDS * number)
            return make(job_id)
        except Conflict:
            break
        except FAILURES as failure:
            lost = isinstance(failure, NotFound)  # the upload's session, perhaps
            if not (lost or passes(failure)):
                raise
            if number == TRIES - 1:
                with suppress(*FAILURES):  # an upload whose answer was lost may have made it
                    return find(job_id)
                raise
    return find(job_id)


def _wait(job: LoadJob, of: str, stopped: Callable[[], bool]) -> None:
    """Wait until the job is done, and raise its error. Cancel it after JOB_SECONDS.

    It might replace the table when a later import has already done so.
    """
    began = time.monotonic()
    try:
        while job.state != "DONE":
            waited = time.monotonic() - began
            if waited > JOB_SECONDS:
                raise TimeoutError
            time.sleep(min(LONGEST_POLL, max(SHORTEST_POLL, waited / 10)))
            if stopped():
                raise WarehouseFailed(
                    f"the run ended while {of} was loaded; BigQuery may finish the load; import "
                    f"it again"
                )
            job.reload(retry=PATIENT, timeout=CALL_SECONDS)
        job.result()
        return
    except FAILURES:
        if job.state == "DONE":
            raise
    with suppress(*FAILURES):
        job.cancel(retry=None, timeout=CALL_SECONDS)
    with suppress(*FAILURES):
        job.result(retry=None, timeout=CALL_SECONDS)
    why = (job.error_result or {}).get("reason")
    if job.state == "DONE" and why != "stopped":  # it has ended by itself meanwhile
        job.result()
        return
    ended = "was cancelled" if job.state == "DONE" else "could not be cancelled"
    raise WarehouseFailed(
        f"BigQuery did not say in time that {of} is loaded; the job {job.job_id} {ended}; "
        f"try again later",
        transient=True,
    )
