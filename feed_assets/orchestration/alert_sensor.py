"""The ImportAlerts component, and its sensor, which sends alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from feed_assets.alerts import messages
from feed_assets.alerts.config import Alerts
from feed_assets.alerts.messages import Message, Problem
from feed_assets.alerts.notifier import SendResult, addresses, send
from feed_assets.alerts.state import State, Waiting
from feed_assets.config.feed import Feed
from feed_assets.orchestration.component import JsonFeed, declared_in
from feed_assets.orchestration.lateness import is_late, last_due, last_import_time
from feed_assets.orchestration.run_outcomes import (
    RETRY,
    WILL_RETRY,
    RunOutcome,
    ended_runs,
    last_ended_position,
    read_run,
)
from feed_assets.orchestration.scaffold import AlertsScaffolder
from feed_assets.orchestration.yaml_templates import fill_in

RETRY_PATIENCE = timedelta(hours=1)
"""Time to wait for the retry of a failed run before reporting the failure."""

BACKFILL_PATIENCE = timedelta(days=1)
"""Time to wait for the end of a backfill before reporting its failures so far."""

MAX_NEWER_IMPORTS = 1000
"""Most imports to search for one that resolved a problem before it was reported."""

TICK_SECONDS = 30
"""Time between two ticks."""

SEND_SECONDS = 25.0
"""Time to send messages in one tick; Dagster ends a tick after sixty."""

FINISHED_BACKFILL = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED")


class AlertAttributes(Alerts):
    """Addresses of alerts, and the URL of the UI that they link to."""

    @model_validator(mode="wrap")
    @classmethod
    def _has_templates(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        return validate(fill_in(value, cls.__name__))


@dg.scaffold_with(AlertsScaffolder)
class ImportAlerts(dg.Component):
    """Alert people when an import or a check fails, when a feed is late, and on recovery.

    Sent through Apprise (https://github.com/caronc/apprise): chats, mail, pagers, webhooks. One
    message per failed import or backfill; none for a run that Dagster will retry.
    """

    def __init__(self, alerts: Alerts, file: str = "") -> None:
        self.alerts = alerts
        self.file = file

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return AlertAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> ImportAlerts:
        alerts = attributes if isinstance(attributes, Alerts) else Alerts()
        return cls(alerts, declared_in(context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        found = context.component_tree.get_all_components(of_type=JsonFeed)
        return dg.Definitions(sensors=[alert_sensor(self.alerts, [each.feed for each in found])])


def now_utc() -> datetime:
    """Return the current time; tests pass another clock."""
    return datetime.now(UTC)


def alert_sensor(
    alerts: Alerts, feeds: Sequence[Feed], clock: Callable[[], datetime] = now_utc
) -> dg.SensorDefinition:
    """Build the sensor that reports failures, late imports and recoveries of these feeds."""

    @dg.sensor(
        name=alerts.name,
        description=(
            f"Sends failed imports, failed checks, late feeds and recoveries to the addresses in "
            f"{alerts.urls_env}."
        ),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        to = addresses(alerts.urls_env)
        now = clock()
        state = _load_state(context)
        labels = [address.label for address in to]
        tick = _Tick(context, alerts, state, labels, now)
        tick.evaluate(feeds)
        results: dict[str, SendResult] = {}
        titles = [pending.title for pending in state.outbox]
        if titles and to:
            results = dict(send(to, state.to_send(labels), SEND_SECONDS))
        for line in state.record_results(results, now):
            context.log.error(line)
        context.update_cursor(state.model_dump_json())
        if not to:
            return dg.SkipReason(f"{alerts.urls_env} is not set; no alert is sent")
        return dg.SkipReason(state.outcome(titles, results, tick.repeated))

    return alert


def _load_state(context: dg.SensorEvaluationContext) -> State:
    """Read the cursor. Without one, start with the runs that end from now on."""
    if context.cursor:
        try:
            return State.model_validate_json(context.cursor)
        except ValidationError:
            context.log.error(
                "The cursor is unreadable; alerts start again with the runs that end from now on."
            )
    return State(after=last_ended_position(context.instance))


class _Tick:
    """One evaluation of the sensor; updates `state` and adds messages to its outbox."""

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        alerts: Alerts,
        state: State,
        to: Sequence[str],
        now: datetime,
    ) -> None:
        self.log = context.log
        self.instance = context.instance
        self.alerts = alerts
        self.state = state
        self.to = to
        self.now = now
        self.repeated: list[str] = []
        """Assets that failed again for a reason reported less than a day ago."""

    def evaluate(self, feeds: Sequence[Feed]) -> None:
        assets = {feed.name for feed in feeds}
        assets |= {f"{feed.name}_latest" for feed in feeds if feed.has_latest}
        self.state.forget_other_assets(assets)
        found, complete = ended_runs(self.instance, self.state.after, self.now)
        for place, run_id in found:
            self.state.after = place
            if run := self.instance.get_run_by_id(run_id):
                self._handle_run(read_run(self.instance, run, assets))
        if complete:  # else the state is behind the event log
            self._report_waiting(assets)
            for feed in feeds:
                self._check_lateness(feed)

    def _handle_run(self, outcome: RunOutcome) -> None:
        for asset, done in outcome.done.items():
            resolved, was_late = self.state.resolve(asset, done)
            if resolved:
                self._post(
                    messages.recovered(asset, resolved, self._run(outcome), was_late=was_late)
                )
        if not outcome.problems:
            return
        if outcome.backfill or _will_be_retried(outcome.run):
            waiting = Waiting(run=outcome.run.run_id, backfill=outcome.backfill, since=self.now)
            self.state.waiting.append(waiting)
        else:
            self._report(outcome.problems, self._run(outcome))

    def _report_waiting(self, assets: set[str]) -> None:
        """Report the failed runs whose wait is over; those of a backfill in one message."""
        still_waiting: list[Waiting] = []
        together: dict[str, list[Waiting]] = {}
        for each in self.state.waiting:
            run = self.instance.get_run_by_id(each.run)
            if run is None or run.tags.get(RETRY):  # the retry is a run of its own
                continue
            if _will_be_retried(run) and self.now - each.since < RETRY_PATIENCE:
                still_waiting.append(each)
            else:
                together.setdefault(each.backfill, []).append(each)
        for backfill, waited in together.items():
            if backfill and self._is_running(backfill, waited):
                still_waiting.extend(waited)
                continue
            read = [
                read_run(self.instance, run, assets)
                for each in waited
                if (run := self.instance.get_run_by_id(each.run))
            ]
            if backfill:
                link = f"Backfill: {self.alerts.link(f'runs/b/{backfill}', backfill)}"
                left = [problem for outcome in read for problem in self._unresolved(outcome)]
                self._report(left, link, backfill=True)
            else:
                for outcome in read:
                    self._report(list(self._unresolved(outcome)), self._run(outcome))
        self.state.waiting = still_waiting

    def _unresolved(self, outcome: RunOutcome) -> Iterator[Problem]:
        """Yield the run's problems, without days that were imported after it ended."""
        record = self.instance.get_run_record_by_id(outcome.run.run_id)
        since = record.end_time if record else None
        for problem in outcome.problems:
            if problem.check or since is None:
                yield problem
                continue
            chosen = dg.AssetRecordsFilter(
                dg.AssetKey(problem.asset), list(problem.days) or None, after_timestamp=since
            )
            newer = self.instance.fetch_materializations(chosen, limit=MAX_NEWER_IMPORTS).records
            done = {record.partition_key or "" for record in newer}
            if left := tuple(day for day in problem.days or ("",) if day not in done):
                yield replace(problem, days=left if problem.days else ())

    def _is_running(self, backfill: str, waited: Sequence[Waiting]) -> bool:
        found = self.instance.get_backfill(backfill)
        if found is None or found.status.value in FINISHED_BACKFILL:
            return False
        return self.now - min(each.since for each in waited) < BACKFILL_PATIENCE

    def _check_lateness(self, feed: Feed) -> None:
        due = last_due(feed, self.now - timedelta(hours=self.alerts.late_after_hours))
        looked = self.state.due.get(feed.name)
        if due is None or looked == due.moment:
            return
        self.state.due[feed.name] = due.moment
        if looked is None:  # a new feed, which may not have existed then
            return
        last = last_import_time(self.instance, feed)
        of_day = last_import_time(self.instance, feed, due.day) if due.day else last
        if is_late(due, of_day) and not self.state.has_open_alert(feed.name, due.day):
            self.state.report_late(feed.name, due.day)
            where = self.alerts.link(f"assets/{feed.name}", feed.name)
            self._post(messages.late(feed.name, due.day, due.moment, last, f"Asset: {where}"))

    def _report(self, problems: Sequence[Problem], link: str, *, backfill: bool = False) -> None:
        if not problems:
            return
        merged: dict[tuple[str, ...], Problem] = {}
        for problem in problems:  # one entry per reason, over all runs of a backfill
            same = (problem.asset, problem.reason, problem.check, problem.next_step)
            days = (*merged[same].days, *problem.days) if same in merged else problem.days
            merged[same] = Problem(*same[:2], days=days, check=same[2], next_step=same[3])
        due: list[Problem] = []
        since = self.now
        for asset in dict.fromkeys(problem.asset for problem in problems):
            of_asset = [problem for problem in merged.values() if problem.asset == asset]
            is_due, first = self.state.report_failure(asset, of_asset, self.now)
            if is_due:
                due += of_asset
                since = min(since, first)
            else:
                self.repeated.append(asset)
        if due:
            again = since if since < self.now else None
            self._post(messages.failed(due, link, backfill=backfill, since=again))

    def _run(self, outcome: RunOutcome) -> str:
        return f"Run: {self.alerts.link(f'runs/{outcome.run.run_id}', outcome.run.run_id)}"

    def _post(self, message: Message) -> None:
        level: Any = self.log.info if message.kind == "success" else self.log.warning
        level(f"{message.title}\n{message.body}")
        if self.to:
            self.state.post(message, self.to, self.now)


def _will_be_retried(run: dg.DagsterRun) -> bool:
    """Return whether Dagster marked the run to be retried."""
    return run.tags.get(WILL_RETRY) == "true"
