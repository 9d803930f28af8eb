"""Alerts in YAML, as Dagster's component, and the sensor that sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel, ValidationError

from feed_assets.alerts import messages
from feed_assets.alerts.config import Alerts
from feed_assets.alerts.messages import Message, Problem
from feed_assets.alerts.notifier import Sent, addresses, send
from feed_assets.alerts.state import State, Waiting, items_of
from feed_assets.config.feed import Feed
from feed_assets.orchestration.component import JsonFeed, declared_in
from feed_assets.orchestration.lateness import is_late, last_due, last_import
from feed_assets.orchestration.run_outcomes import (
    RETRY,
    WILL_RETRY,
    Ended,
    ends,
    last_end,
    read_run,
)
from feed_assets.orchestration.scaffold import AlertsScaffolder

FOR_RETRY = timedelta(hours=1)
"""How long a promised retry of a run is waited for before the failure is told."""

FOR_BACKFILL = timedelta(days=1)
"""How long the end of a backfill is waited for before its failures so far are told."""

MOST_NEWER = 1000
"""Imports that are looked at for what put a problem right before it was told."""

SECONDS = 25.0
"""To send in one tick, which Dagster ends after sixty."""

ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED")


@dg.scaffold_with(AlertsScaffolder)
class ImportAlerts(dg.Component):
    """Tells people when an import has failed, a check has, or a feed is late - and when it is well.

    Through Apprise (https://github.com/caronc/apprise): chats, mail, pagers, webhooks. One message
    for a failed import, one for a backfill, none for a run that Dagster will retry.
    """

    def __init__(self, alerts: Alerts, file: str = "") -> None:
        self.alerts = alerts
        self.file = file

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return Alerts

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> ImportAlerts:
        alerts = attributes if isinstance(attributes, Alerts) else Alerts()
        return cls(alerts, declared_in(context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        found = context.component_tree.get_all_components(of_type=JsonFeed)
        return dg.Definitions(sensors=[alert_sensor(self.alerts, [each.feed for each in found])])


def now_utc() -> datetime:
    """The time of a tick."""
    return datetime.now(UTC)


def alert_sensor(
    alerts: Alerts, feeds: Sequence[Feed], clock: Callable[[], datetime] = now_utc
) -> dg.SensorDefinition:
    """The sensor that alerts of those feeds."""

    @dg.sensor(
        name=alerts.name,
        description=(
            f"Tells whom {alerts.urls_env} names of imports that failed, checks that did not pass, "
            f"feeds that are late, and when all is well again."
        ),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        to = addresses(alerts.urls_env)
        now = clock()
        state = _remembered(context)
        labels = [address.label for address in to]
        tick = _Tick(context, alerts, state, labels, now)
        tick.look(feeds)
        sent: dict[str, Sent] = {}
        titles = [pending.title for pending in state.outbox]
        if titles and to:
            sent = dict(send(to, state.to_send(labels), SECONDS))
        for said in state.was_sent(sent, now):
            context.log.error(said)
        context.update_cursor(state.model_dump_json())
        if not to:
            return dg.SkipReason(f"{alerts.urls_env} is not set, so no alert is sent")
        return dg.SkipReason(state.outcome(titles, sent))

    return alert


def _remembered(context: dg.SensorEvaluationContext) -> State:
    """The cursor; without one, what ended before now is nobody's alert any more."""
    if context.cursor:
        try:
            return State.model_validate_json(context.cursor)
        except ValidationError:
            context.log.error("The cursor cannot be read, so alerts begin anew with what ends now.")
    return State(after=last_end(context.instance))


class _Tick:
    """One look at what has happened; posts messages and remembers, in `state`."""

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

    def look(self, feeds: Sequence[Feed]) -> None:
        assets = {feed.name for feed in feeds}
        assets |= {f"{feed.name}_latest" for feed in feeds if feed.has_latest}
        self.state.keep_only(assets)
        found, complete = ends(self.instance, self.state.after, self.now)
        for place, run_id in found:
            self.state.after = place
            if run := self.instance.get_run_by_id(run_id):
                self._ended(read_run(self.instance, run, assets))
        if complete:  # else what is known is not what is
            self._waited(assets)
            for feed in feeds:
                self._late(feed)

    def _ended(self, ended: Ended) -> None:
        for asset, done in ended.done.items():
            well, was_late = self.state.settle(asset, done)
            if well:
                self._post(messages.recovered(asset, well, self._run(ended), was_late=was_late))
        if not ended.problems:
            return
        if ended.backfill or _promised(ended.run):
            waiting = Waiting(run=ended.run.run_id, backfill=ended.backfill, since=self.now)
            self.state.waiting.append(waiting)
        else:
            self._tell(ended.problems, self._run(ended))

    def _waited(self, assets: set[str]) -> None:
        """Tells of the runs that nothing more is to be waited for, of a backfill together."""
        kept: list[Waiting] = []
        together: dict[str, list[Waiting]] = {}
        for each in self.state.waiting:
            run = self.instance.get_run_by_id(each.run)
            if run is None or run.tags.get(RETRY):  # whose retry will be told of itself
                continue
            if _promised(run) and self.now - each.since < FOR_RETRY:
                kept.append(each)
            else:
                together.setdefault(each.backfill, []).append(each)
        for backfill, waited in together.items():
            if backfill and self._goes_on(backfill, waited):
                kept.extend(waited)
                continue
            read = [
                read_run(self.instance, run, assets)
                for each in waited
                if (run := self.instance.get_run_by_id(each.run))
            ]
            if backfill:
                link = f"Backfill: {self.alerts.link(f'runs/b/{backfill}', backfill)}"
                left = [problem for ended in read for problem in self._left(ended)]
                self._tell(left, link, backfill=True)
            else:
                for ended in read:
                    self._tell(list(self._left(ended)), self._run(ended))
        self.state.waiting = kept

    def _left(self, ended: Ended) -> Iterator[Problem]:
        """The problems of a run that was waited for which nobody has put right meanwhile."""
        record = self.instance.get_run_record_by_id(ended.run.run_id)
        since = record.end_time if record else None
        for problem in ended.problems:
            if problem.check or since is None:
                yield problem
                continue
            chosen = dg.AssetRecordsFilter(
                dg.AssetKey(problem.asset), list(problem.days) or None, after_timestamp=since
            )
            newer = self.instance.fetch_materializations(chosen, limit=MOST_NEWER).records
            done = {record.partition_key or "" for record in newer}
            if left := tuple(day for day in problem.days or ("",) if day not in done):
                yield replace(problem, days=left if problem.days else ())

    def _goes_on(self, backfill: str, waited: Sequence[Waiting]) -> bool:
        found = self.instance.get_backfill(backfill)
        if found is None or found.status.value in ENDED:
            return False
        return self.now - min(each.since for each in waited) < FOR_BACKFILL

    def _late(self, feed: Feed) -> None:
        due = last_due(feed, self.now - timedelta(hours=self.alerts.late_after_hours))
        looked = self.state.due.get(feed.name)
        if due is None or looked == due.moment:
            return
        self.state.due[feed.name] = due.moment
        if looked is None:  # a feed that is new to us, which may not have been there then
            return
        last = last_import(self.instance, feed)
        of_day = last_import(self.instance, feed, due.day) if due.day else last
        if is_late(due, of_day) and not self.state.troubled(feed.name, due.day):
            self.state.add_trouble(feed.name, [due.day], late=True)
            where = self.alerts.link(f"assets/{feed.name}", feed.name)
            self._post(messages.late(feed.name, due.day, due.moment, last, f"Asset: {where}"))

    def _tell(self, problems: Sequence[Problem], link: str, *, backfill: bool = False) -> None:
        if not problems:
            return
        merged: dict[tuple[str, ...], Problem] = {}
        for problem in problems:  # the same reason in several runs of a backfill is one
            same = (problem.asset, problem.reason, problem.check, problem.todo)
            days = (*merged[same].days, *problem.days) if same in merged else problem.days
            merged[same] = Problem(*same[:2], days=days, check=same[2], todo=same[3])
        for asset in dict.fromkeys(problem.asset for problem in problems):
            items = [item for p in problems if p.asset == asset for item in items_of(p)]
            self.state.add_trouble(asset, items)
        self._post(messages.failed(list(merged.values()), link, backfill=backfill))

    def _run(self, ended: Ended) -> str:
        return f"Run: {self.alerts.link(f'runs/{ended.run.run_id}', ended.run.run_id)}"

    def _post(self, message: Message) -> None:
        level: Any = self.log.info if message.kind == "success" else self.log.warning
        level(f"{message.title}\n{message.body}")
        if self.to:
            self.state.post(message, self.to, self.now)


def _promised(run: dg.DagsterRun) -> bool:
    """Whether Dagster says that it will retry a run, or has."""
    return run.tags.get(WILL_RETRY) == "true"
