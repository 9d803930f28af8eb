"""What is remembered from one look to the next: who was told what, and what is still to be sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from feed_assets.alerts.day_ranges import packed, unpacked
from feed_assets.alerts.messages import Kind, Message, Problem
from feed_assets.alerts.notifier import Sent
from feed_assets.config.auth import Declared

GIVE_UP = timedelta(days=1)
"""How long a message that cannot be sent is tried again."""

MOST_PENDING = 100
"""Messages kept for that; they are in the sensor's cursor, which should stay small."""


class Waiting(Declared):
    """A run with problems that are not told yet: it will be retried, or its backfill goes on."""

    run: str
    backfill: str = ""
    since: datetime


class Trouble(Declared):
    """What an alert was sent for and is not well yet: days, "" for a snapshot, `check NAME`."""

    asset: str
    items: tuple[str, ...]
    well: tuple[str, ...] = ()
    """What has become so of the items there were."""
    late: bool = False


class Pending(Declared):
    """A message and the addresses it has not reached yet."""

    title: str
    body: str
    kind: Kind
    since: datetime
    to: tuple[str, ...]
    tries: int = 0


class State(BaseModel):
    """Kept as JSON in the sensor's cursor. `after` is the last end of a run that was looked at."""

    after: int
    waiting: list[Waiting] = Field(default_factory=list)
    due: dict[str, datetime] = Field(default_factory=dict)
    """By feed, the last moment it was due that was looked at."""
    troubles: list[Trouble] = Field(default_factory=list)
    outbox: list[Pending] = Field(default_factory=list)

    def keep_only(self, assets: Collection[str]) -> None:
        """Forgets what is remembered of others, which are no more."""
        self.due = {feed: moment for feed, moment in self.due.items() if feed in assets}
        self.troubles = [each for each in self.troubles if each.asset in assets]

    def add_trouble(self, asset: str, items: Iterable[str], *, late: bool = False) -> None:
        """What fails again belongs to the newer alert alone."""
        new = set(items)
        kept = [
            self._fewer(each, new) if (each.asset, each.late) == (asset, late) else each
            for each in self.troubles
        ]
        added = Trouble(asset=asset, items=packed(new), late=late)
        self.troubles = [each for each in [*kept, added] if each.items]

    def settle(self, asset: str, done: set[str]) -> tuple[set[str], bool]:
        """What is well now that an asset's items are: those of each alert that is settled wholly.

        And whether it was only late. A feed that was late is on time again with any later day.
        """
        well: set[str] = set()
        only_late = True
        kept: list[Trouble] = []
        days = {item for item in done if not item.startswith("check ")}
        for each in self.troubles:
            items = unpacked(each.items)
            settled = (
                {item for item in items if any(day >= item for day in days)}
                if each.late
                else items & done
            )
            if each.asset != asset or not settled:
                kept.append(each)
            elif rest := items - settled:
                so_far = packed(unpacked(each.well) | settled)
                kept.append(each.model_copy(update={"items": packed(rest), "well": so_far}))
            else:
                well |= unpacked(each.well) | settled
                only_late = only_late and each.late
        self.troubles = kept
        return well, only_late

    def troubled(self, asset: str, item: str) -> bool:
        """Whether somebody was told of that already, or that the feed is late."""
        return any(
            each.asset == asset and (each.late or item in unpacked(each.items))
            for each in self.troubles
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
        """By address, the messages for it and their places: those least often tried come first."""
        ordered = sorted(enumerate(self.outbox), key=lambda each: each[1].tries)
        return {
            label: [
                (place, Message(pending.title, pending.body, pending.kind))
                for place, pending in ordered
                if label in pending.to
            ]
            for label in to
        }

    def was_sent(self, sent: Mapping[str, Sent], now: datetime) -> Sequence[str]:
        """Keeps what is to be tried again; returns what to log of the rest, and of failures."""
        said: list[str] = []
        kept: list[Pending] = []
        for place, pending in enumerate(self.outbox):
            rest = []
            for label in pending.to:
                if label not in sent:
                    said.append(f"{pending.title!r} was not sent to {label}, which is gone")
                elif place not in sent[label].done:
                    rest.append(label)
                    why = sent[label].failed.get(place, "others were not sent before")
                    said.append(f"{pending.title!r} could not be sent to {label}: {why}")
            if rest and now - pending.since >= GIVE_UP:
                said.append(f"{pending.title!r} is given up after {GIVE_UP.days} day")
            elif rest:
                tried = {"to": tuple(rest), "tries": pending.tries + 1}
                kept.append(pending.model_copy(update=tried))
        said.extend(
            f"{pending.title!r} is given up: {MOST_PENDING} newer messages wait"
            for pending in kept[:-MOST_PENDING]
        )
        self.outbox = kept[-MOST_PENDING:]
        return said

    def outcome(self, titles: Sequence[str], sent: Mapping[str, Sent]) -> str:
        """What a tick did with the messages of those titles, and what it waits for."""
        reached = {place for each in sent.values() for place in each.done}
        told = [title for place, title in enumerate(titles) if place in reached]
        unsent = [pending.title for pending in self.outbox]
        parts = [f"sent: {', '.join(told)}"] if told else []
        parts += [f"not sent yet: {', '.join(unsent)}"] if unsent else []
        if self.waiting:
            count = len(self.waiting)
            parts.append(f"failed runs that may be retried, or whose backfill goes on: {count}")
        return "; ".join(parts) or "nothing to tell"

    @staticmethod
    def _fewer(trouble: Trouble, gone: set[str]) -> Trouble:
        return trouble.model_copy(update={"items": packed(unpacked(trouble.items) - gone)})


def items_of(problem: Problem) -> Sequence[str]:
    """What has to be well for the problem to be gone."""
    if problem.check:
        return [check_item(problem.check, day) for day in problem.days or ("",)]
    return problem.days or [""]


def check_item(name: str, day: str | None) -> str:
    """How a check is remembered, of a day or of the whole asset."""
    return f"check {name} {day}" if day else f"check {name}"
