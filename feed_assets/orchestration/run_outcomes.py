"""Problems and successes of ended runs, read from Dagster's event log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import dagster as dg

from feed_assets.alerts.day_ranges import between
from feed_assets.alerts.messages import Problem
from feed_assets.alerts.state import check_item, items_of
from feed_assets.orchestration.metadata import FAILED
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START

RUNS_PER_TICK = 100
SETTLE_SECONDS = 3.0
"""Time after the end of a run in which Dagster may still write its events."""

ENDS = (
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
)
EVENT_TYPES = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
}
PARTITION, WILL_RETRY, RETRY, BACKFILL = (
    f"dagster/{tag}" for tag in ("partition", "will_retry", "auto_retry_run_id", "backfill")
)
BAD_LINES_STEP = (
    "Have the lines corrected at the feed's server, or allow that many bad lines (max_bad_lines)."
)


@dataclass(frozen=True)
class RunOutcome:
    """An ended run: its problems, and the items that succeeded, by asset."""

    run: dg.DagsterRun
    problems: Sequence[Problem]
    done: Mapping[str, set[str]]

    @property
    def backfill(self) -> str:
        return self.run.tags.get(BACKFILL, "")


def last_ended_position(instance: dg.DagsterInstance) -> int:
    """Return the event log position of the last ended run; 0 if there is none."""
    found = [instance.fetch_run_status_changes(end, limit=1).records for end in ENDS]
    return max((record.storage_id for records in found for record in records), default=0)


def ended_runs(
    instance: dg.DagsterInstance, after: int, now: datetime
) -> tuple[Sequence[tuple[int, str]], bool]:
    """Return positions and ids of the next ended runs, in order, and whether these are all.

    Stops before the first run that ended less than SETTLE_SECONDS ago: Dagster marks runs to retry
    shortly after their end, and parallel writers can make a smaller position visible after a
    larger one.
    """
    found: list[tuple[int, str]] = []
    reached: list[int] = []
    for end in ENDS:
        chosen = dg.RunStatusChangeRecordsFilter(end, after_storage_id=after)  # type: ignore[arg-type]  # ENDS has only such types
        records = instance.fetch_run_status_changes(chosen, RUNS_PER_TICK, ascending=True).records
        for record in records:
            if (
                abs(now.timestamp() - record.timestamp) < SETTLE_SECONDS
            ):  # the other clock may be ahead
                reached.append(record.storage_id - 1)
                break
            found.append((record.storage_id, record.run_id))
        else:
            if len(records) == RUNS_PER_TICK:
                reached.append(records[-1].storage_id)
    upto = min(reached, default=None)
    return sorted(end for end in found if upto is None or end[0] <= upto), not reached


def read_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Collection[str]
) -> RunOutcome:
    """Read the outcome of a run for the given assets."""
    problems: list[Problem] = []
    step_failed = False
    done: dict[str, set[str]] = {}
    broken = ""
    for entry in instance.all_logs(run.run_id, of_type=EVENT_TYPES):
        event = entry.dagster_event
        assert event is not None  # these types have one
        if event.is_step_materialization and (asset := _name(event.asset_key)) in assets:
            done.setdefault(asset, set()).add(event.partition or "")
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if (asset := _name(check.asset_key)) not in assets:
                continue
            if check.passed:
                done.setdefault(asset, set()).add(check_item(check.check_name, check.partition))
            elif check.severity == dg.AssetCheckSeverity.ERROR:
                problems.append(_of_check(asset, check))
        elif event.is_step_failure:
            step_failed = True
            problems.extend(_of_step(event, run, assets))
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE:
            failure = getattr(event.event_specific_data, "error", None)  # none if the process died
            broken = (failure.message if failure else event.message) or "the run failed"
    if broken and not step_failed:  # the run failed outside a step: its process died, for example
        planned = instance.all_logs(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        )
        planned_assets = {_name(e.dagster_event.asset_key) for e in planned if e.dagster_event}
        for asset in sorted(planned_assets & set(assets)):
            problem = _broken(asset, broken, run)
            if left := set(items_of(problem)) - done.get(asset, set()):
                problems.append(replace(problem, days=tuple(sorted(left - {""}))))
    return RunOutcome(run, problems, done)


def _of_step(
    event: dg.DagsterEvent, run: dg.DagsterRun, assets: Collection[str]
) -> Iterator[Problem]:
    """Yield the facts of an ImportFailed; of other errors only what is safe to send."""
    asset = event.step_key or ""
    if asset not in assets:
        return
    data = event.step_failure_data
    failure = data.user_failure_data
    facts = failure.metadata.get(FAILED) if failure and failure.metadata else None
    if facts is not None and isinstance(facts.value, list):
        for fact in facts.value:
            next_step = BAD_LINES_STEP if fact["kind"] == "BadLines" else ""
            yield Problem(asset, fact["reason"], tuple(fact["days"]), next_step=next_step)
    elif failure and failure.description:
        yield Problem(asset, failure.description, _days(run))
    else:
        error = data.error
        while error and error.cause:
            error = error.cause
        kind = error.cls_name if error else None
        if kind == "DagsterAssetCheckFailedError":  # a blocking check has its own event
            return
        yield _broken(asset, f"{kind or 'an error'} was raised", run)


def _of_check(asset: str, check: dg.AssetCheckEvaluation) -> Problem:
    days = (check.partition,) if check.partition else ()
    return Problem(asset, check.description or "failed", days, check.check_name)


def _broken(asset: str, why: str, run: dg.DagsterRun) -> Problem:
    line = why.strip().splitlines()[0]
    return Problem(asset, line, _days(run), next_step="See the run's log.")


def _days(run: dg.DagsterRun) -> tuple[str, ...]:
    """Return the days that the run was launched for."""
    tags = run.tags
    if RANGE_START in tags and RANGE_END in tags:
        return tuple(between(tags[RANGE_START], tags[RANGE_END]))
    return (tags[PARTITION],) if PARTITION in tags else ()


def _name(key: dg.AssetKey | None) -> str:
    return key.to_user_string() if key else ""
