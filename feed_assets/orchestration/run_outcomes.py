"""What runs that have ended did to the assets of feeds, as Dagster's event log has it."""

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

AT_ONCE = 100  # runs to look at in one tick
SETTLED = 3.0  # seconds
"""Before, more may be written of a run that has ended."""

ENDS = (
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
)
TOLD = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
}
PARTITION, WILL_RETRY, RETRY, BACKFILL = (
    f"dagster/{tag}" for tag in ("partition", "will_retry", "auto_retry_run_id", "backfill")
)
BAD_LINES = "Have the lines corrected at the feed's server, or let that many pass (max_bad_lines)."


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its problems, and by asset what it has made well."""

    run: dg.DagsterRun
    problems: Sequence[Problem]
    done: Mapping[str, set[str]]

    @property
    def backfill(self) -> str:
        return self.run.tags.get(BACKFILL, "")


def last_end(instance: dg.DagsterInstance) -> int:
    """The place in the event log of the last run that ended; 0 if none has."""
    found = [instance.fetch_run_status_changes(end, limit=1).records for end in ENDS]
    return max((record.storage_id for records in found for record in records), default=0)


def ends(
    instance: dg.DagsterInstance, after: int, now: datetime
) -> tuple[Sequence[tuple[int, str]], bool]:
    """Places and ids of the next runs that ended, in their order, and whether that is all.

    Not of one that ended this moment, nor of what came after it: Dagster says a moment later
    whether it will retry a run, and where processes write at once, a smaller place may be seen
    after a larger one.
    """
    found: list[tuple[int, str]] = []
    reached: list[int] = []
    for end in ENDS:
        chosen = dg.RunStatusChangeRecordsFilter(end, after_storage_id=after)  # type: ignore[arg-type]  # it is one of those
        records = instance.fetch_run_status_changes(chosen, AT_ONCE, ascending=True).records
        for record in records:
            if abs(now.timestamp() - record.timestamp) < SETTLED:  # a clock may be ahead
                reached.append(record.storage_id - 1)
                break
            found.append((record.storage_id, record.run_id))
        else:
            if len(records) == AT_ONCE:
                reached.append(records[-1].storage_id)
    upto = min(reached, default=None)
    return sorted(end for end in found if upto is None or end[0] <= upto), not reached


def read_run(instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Collection[str]) -> Ended:
    """Of one run, what concerns those assets."""
    problems: list[Problem] = []
    step_failed = False
    done: dict[str, set[str]] = {}
    broken = ""
    for entry in instance.all_logs(run.run_id, of_type=TOLD):
        event = entry.dagster_event
        assert event is not None  # of these types, they are
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
            failure = getattr(event.event_specific_data, "error", None)  # none, of a process gone
            broken = (failure.message if failure else event.message) or "the run failed"
    if broken and not step_failed:  # the run itself: its process died, say
        planned = instance.all_logs(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        )
        meant = {_name(e.dagster_event.asset_key) for e in planned if e.dagster_event}
        for asset in sorted(meant & set(assets)):
            problem = _broken(asset, broken, run)
            if left := set(items_of(problem)) - done.get(asset, set()):
                problems.append(replace(problem, days=tuple(sorted(left - {""}))))
    return Ended(run, problems, done)


def _of_step(
    event: dg.DagsterEvent, run: dg.DagsterRun, assets: Collection[str]
) -> Iterator[Problem]:
    """As ImportFailed has it by its facts; of anything else, as much as is safe to be sent."""
    asset = event.step_key or ""
    if asset not in assets:
        return
    data = event.step_failure_data
    said = data.user_failure_data
    facts = said.metadata.get(FAILED) if said and said.metadata else None
    if facts is not None and isinstance(facts.value, list):
        for fact in facts.value:
            todo = BAD_LINES if fact["kind"] == "BadLines" else ""
            yield Problem(asset, fact["reason"], tuple(fact["days"]), todo=todo)
    elif said and said.description:
        yield Problem(asset, said.description, _days(run))
    else:
        error = data.error
        while error and error.cause:
            error = error.cause
        kind = error.cls_name if error else None
        if kind == "DagsterAssetCheckFailedError":  # of a blocking check, which has its own event
            return
        yield _broken(asset, f"{kind or 'an error'} was raised", run)


def _of_check(asset: str, check: dg.AssetCheckEvaluation) -> Problem:
    days = (check.partition,) if check.partition else ()
    return Problem(asset, check.description or "it did not pass", days, check.check_name)


def _broken(asset: str, why: str, run: dg.DagsterRun) -> Problem:
    line = why.strip().splitlines()[0]
    return Problem(asset, line, _days(run), todo="The run's log tells more.")


def _days(run: dg.DagsterRun) -> tuple[str, ...]:
    """The days that a run was for."""
    tags = run.tags
    if RANGE_START in tags and RANGE_END in tags:
        return tuple(between(tags[RANGE_START], tags[RANGE_END]))
    return (tags[PARTITION],) if PARTITION in tags else ()


def _name(key: dg.AssetKey | None) -> str:
    return key.to_user_string() if key else ""
