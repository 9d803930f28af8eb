"""State between two ticks: open alerts, unsent messages, and runs to look at again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from feed_assets.alerts.day_ranges import pack, unpack
from feed_assets.alerts.messages import Kind, Message, Problem
from feed_assets.alerts.notifier import SendResult
from feed_assets.config.model import FrozenModel

RESEND_PERIOD = timedelta(days=1)
"""Time after which a message that cannot be sent is dropped."""

DAY = r"\d{4}-?\d\d-?\d\d"

REMIND_AFTER = timedelta(hours=20)
"""Time after which an alert is repeated if the same failure occurs again.

Less than a day, because the daily runs of a schedule do not end at the same minute.
"""

MAX_REASONS = 20
"""Most reasons to remember of an alert; one with more is sent each time."""

MAX_PENDING = 100
"""Most unsent messages; they are in the sensor's cursor, which has to stay small."""


class Waiting(FrozenModel):
    """A failed run not reported yet: Dagster will retry it, or its backfill is running."""

    run: str
    backfill: str = ""
    since: datetime


class OpenAlert(FrozenModel):
    """Unresolved items of an alert: days, "" for a snapshot, or `check NAME`."""

    asset: str
    items: tuple[str, ...]
    resolved: tuple[str, ...] = ()
    """Items of the alert that are resolved already."""
    late: bool = False
    reasons: tuple[str, ...] = ()
    """Fingerprints of the failure's reasons."""
    since: datetime | None = None
    """Time of the first alert about these reasons."""
    alerted: datetime | None = None
    """Time of the last alert about these reasons."""


class Pending(FrozenModel):
    """A message and the addresses that have not received it yet."""

    title: str
    body: str
    kind: Kind
    since: datetime
    to: tuple[str, ...]
    tries: int = 0


class State(BaseModel):
    """JSON in the sensor's cursor. `after` is the event log position of the last run seen."""

    after: int
    waiting: list[Waiting] = Field(default_factory=list)
    due: dict[str, datetime] = Field(default_factory=dict)
    """The last due time that was looked at, by feed."""
    open_alerts: list[OpenAlert] = Field(default_factory=list)
    outbox: list[Pending] = Field(default_factory=list)

    def forget_other_assets(self, assets: Collection[str]) -> None:
        """Drop what belongs to assets that no longer exist."""
        self.due = {feed: moment for feed, moment in self.due.items() if feed in assets}
        self.open_alerts = [each for each in self.open_alerts if each.asset in assets]

    def report_late(self, asset: str, day: str) -> None:
        """Open an alert about a late feed."""
        self._open(OpenAlert(asset=asset, items=(day,), late=True))

    def report_failure(
        self, asset: str, problems: Sequence[Problem], now: datetime
    ) -> tuple[bool, datetime]:
        """Open an alert for an asset's problems, or add their items to the one that has them.

        Return whether to send a message, and the time of the first one about these problems. No
        message is due if one about the same reasons was sent less than REMIND_AFTER ago.
        """
        items = {item for problem in problems for item in items_of(problem)}
        reasons = tuple(sorted(set(map(fingerprint, problems))))[:MAX_REASONS]
        before = self._open_failure(asset, reasons)
        if before is None or before.since is None or before.alerted is None:
            since, is_due = now, True
        else:
            items |= unpack(before.items)
            since, is_due = before.since, now - before.alerted >= REMIND_AFTER
        self._open(
            OpenAlert(
                asset=asset,
                items=pack(items),
                resolved=before.resolved if before else (),
                reasons=reasons,
                since=since,
                alerted=now if before is None or is_due else before.alerted,
            )
        )
        return is_due, since

    def _open_failure(self, asset: str, reasons: Collection[str]) -> OpenAlert | None:
        """Return the asset's open alert that has reported all these reasons."""
        found = (
            each
            for each in self.open_alerts
            if each.asset == asset and each.since and set(reasons) <= set(each.reasons)
        )
        return next(found, None) if len(reasons) < MAX_REASONS else None

    def _open(self, alert: OpenAlert) -> None:
        """Add an alert; its items leave the older alerts."""
        new = unpack(alert.items)
        others = [
            self._without_items(each, new)
            if (each.asset, each.late) == (alert.asset, alert.late)
            else each
            for each in self.open_alerts
        ]
        self.open_alerts = [each for each in [*others, alert] if each.items]

    def resolve(self, asset: str, done: set[str]) -> tuple[set[str], bool]:
        """Mark an asset's items as resolved; close the alerts that have no other items left.

        Return all items of the closed alerts, and whether all of these were about lateness. Any
        later day resolves an alert about lateness.
        """
        resolved: set[str] = set()
        only_late = True
        still_open: list[OpenAlert] = []
        days = {item for item in done if not item.startswith("check ")}
        for each in self.open_alerts:
            items = unpack(each.items)
            newly_resolved = (
                {item for item in items if any(day >= item for day in days)}
                if each.late
                else items & done
            )
            if each.asset != asset or not newly_resolved:
                still_open.append(each)
            elif rest := items - newly_resolved:
                so_far = pack(unpack(each.resolved) | newly_resolved)
                still_open.append(each.model_copy(update={"items": pack(rest), "resolved": so_far}))
            else:
                resolved |= unpack(each.resolved) | newly_resolved
                only_late = only_late and each.late
        self.open_alerts = still_open
        return resolved, only_late

    def has_open_alert(self, asset: str, item: str) -> bool:
        """Return whether an alert about the item, or about the asset being late, is open."""
        return any(
            each.asset == asset and (each.late or item in unpack(each.items))
            for each in self.open_alerts
        )

    def post(self, message: Message, to: Sequence[str], now: datetime) -> None:
        self.outbox.append(
            Pending(
                title=message.title,
                body=message.body,
                kind=message.kind,
                since=now,
                to=tuple(to),
            )
        )

    def to_send(self, to: Sequence[str]) -> Mapping[str, Sequence[tuple[int, Message]]]:
        """Return the messages for each address, with their positions, least tried ones first."""
        ordered = sorted(enumerate(self.outbox), key=lambda each: each[1].tries)
        return {
            label: [
                (place, Message(pending.title, pending.body, pending.kind))
                for place, pending in ordered
                if label in pending.to
            ]
            for label in to
        }

    def record_results(self, results: Mapping[str, SendResult], now: datetime) -> Sequence[str]:
        """Remove the messages that were sent or are too old. Return log lines about failures."""
        logged: list[str] = []
        unsent: list[Pending] = []
        for place, pending in enumerate(self.outbox):
            rest = []
            for label in pending.to:
                if label not in results:
                    logged.append(
                        f"{pending.title!r} was not sent to {label}, which is no longer configured"
                    )
                elif place not in results[label].done:
                    rest.append(label)
                    why = results[label].failed.get(place, "messages before it failed")
                    logged.append(f"{pending.title!r} could not be sent to {label}: {why}")
            if rest and now - pending.since >= RESEND_PERIOD:
                logged.append(f"{pending.title!r} is dropped after {RESEND_PERIOD.days} day")
            elif rest:
                tried = {"to": tuple(rest), "tries": pending.tries + 1}
                unsent.append(pending.model_copy(update=tried))
        logged.extend(
            f"{pending.title!r} is dropped: {MAX_PENDING} newer messages wait"
            for pending in unsent[:-MAX_PENDING]
        )
        self.outbox = unsent[-MAX_PENDING:]
        return logged

    def outcome(
        self, titles: Sequence[str], results: Mapping[str, SendResult], repeated: Sequence[str]
    ) -> str:
        """Summarize a tick: messages sent and not sent, repeated failures, runs to wait for."""
        reached = {place for each in results.values() for place in each.done}
        received = [title for place, title in enumerate(titles) if place in reached]
        unsent = [pending.title for pending in self.outbox]
        parts = [f"sent: {', '.join(received)}"] if received else []
        parts += [f"not sent yet: {', '.join(unsent)}"] if unsent else []
        if repeated:
            parts.append(f"failed again for a reason already reported: {', '.join(repeated)}")
        if self.waiting:
            count = len(self.waiting)
            parts.append(f"failed runs waiting for a retry or the end of a backfill: {count}")
        return "; ".join(parts) or "nothing to report"

    @staticmethod
    def _without_items(alert: OpenAlert, gone: set[str]) -> OpenAlert:
        return alert.model_copy(update={"items": pack(unpack(alert.items) - gone)})


def fingerprint(problem: Problem) -> str:
    """Return a hash of a problem that is the same whatever the day."""
    text = f"{problem.check} {re.sub(DAY, 'DAY', problem.reason)}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def items_of(problem: Problem) -> Sequence[str]:
    """Return the items that resolve the problem."""
    if problem.check:
        return [check_item(problem.check, day) for day in problem.days or ("",)]
    return problem.days or [""]


def check_item(name: str, day: str | None) -> str:
    """Return the item for a check, of one day or of the whole asset."""
    return f"check {name} {day}" if day else f"check {name}"
