"""The text of alerts: plain, for chats, mails and pagers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from feed_assets.alerts.day_ranges import spans

Kind = Literal["failure", "warning", "success"]
"""Apprise's names; services choose colors and pagers by them."""

MAX_NAMED = 3
"""Reasons in a message, and assets in its title; the run's log has all."""

MAX_SPANS = 4
MAX_REASON = 500  # characters


@dataclass(frozen=True)
class Problem:
    """A reason why an import failed, or a failed check.

    `days` are written YYYY-MM-DD; empty for a snapshot. `next_step` says what to do, if `reason`
    does not.
    """

    asset: str
    reason: str
    days: tuple[str, ...] = ()
    check: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Message:
    """A one-line title and a body."""

    title: str
    body: str
    kind: Kind


def failed(
    problems: Sequence[Problem],
    link: str,
    *,
    backfill: bool = False,
    since: datetime | None = None,
) -> Message:
    """Build the alert for a failed run or backfill, of one asset or several.

    `since` is the time of the first alert about the same problems; this one is then a reminder.
    """
    assets = list(dict.fromkeys(problem.asset for problem in problems))
    if len(assets) == 1:
        title = f"{assets[0]}: {_title(problems, backfill)}"
    else:
        imports = "backfills" if backfill else "imports"
        if all(problem.check for problem in problems):
            imports = "assets with checks that"
        title = f"{len(assets)} {imports} failed: {_listed(assets)}"
    lines = [_reason(problem, len(assets) > 1) for problem in problems[:MAX_NAMED]]
    if len(problems) > MAX_NAMED:
        lines.append(f"... and {len(problems) - MAX_NAMED} more reasons; see the run's log.")
    reminder = f"This failure was first reported at {_local_time(since)}." if since else ""
    return Message(title, _body(*lines, reminder, _next_steps(problems, assets), link), "failure")


def late(feed: str, day: str, due: datetime, last: datetime | None, link: str) -> Message:
    """Build the alert for a feed that is late. `day` is the day that was due, "" for a snapshot."""
    subject = f"{day} of {feed}" if day else feed
    before = f"the last import was at {_local_time(last)}" if last else "there was no import yet"
    return Message(
        f"{feed}: late, due since {_local_time(due)}",
        _body(
            f"{subject} was due at {_local_time(due)} and is not imported; {before}.",
            "In the Dagster UI, check that the feed's schedule is on, that the daemon runs, and "
            "that no run is queued or hangs.",
            link,
        ),
        "warning",
    )


def recovered(asset: str, items: Collection[str], link: str, *, was_late: bool = False) -> Message:
    """Build the message for resolved items: days, "" for a snapshot, or `check NAME`."""
    checks = sorted(item.removeprefix("check ") for item in items if item.startswith("check "))
    imports = [item for item in items if not item.startswith("check ")]
    days = [item for item in imports if item]
    sentences = []
    if imports:
        subject = f"{asset}: {named(days)}" if days else asset
        had = (
            "was late" if was_late and len(days) < 2 else "were late" if was_late else "had failed"
        )
        are = "are" if len(days) > 1 else "is"
        sentences.append(f"{subject}, which {had}, {are} now imported.")
    if checks:
        sentences.append(f"Checks that pass again: {', '.join(checks)}.")
    return Message(f"{asset}: recovered", _body(*sentences, link), "success")


def named(days: Iterable[str]) -> str:
    """Write days as text: `2024-05-01 to 2024-05-07, 2024-05-09 and 12 more days`."""
    stretches = spans(days)
    texts = [
        str(first) if first == last else f"{first} to {last}"
        for first, last in stretches[:MAX_SPANS]
    ]
    more = sum((last - first).days + 1 for first, last in stretches[MAX_SPANS:])
    texts += [f"{more} more day{'s' if more > 1 else ''}"] if more else []
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _title(problems: Sequence[Problem], backfill: bool) -> str:
    """Return the title, without the asset's name, for problems of one asset."""
    imports = [problem for problem in problems if not problem.check]
    checks = list(dict.fromkeys(problem.check for problem in problems if problem.check))
    days = sorted({day for problem in imports or problems for day in problem.days})
    of = f" of {named(days)}" if len(days) == 1 else f" of {len(days)} days" if days else ""
    if imports:
        return f"{'backfill' if backfill else 'import'}{of} failed"
    return f"check {_listed(checks)}{of} failed"


def _reason(problem: Problem, several: bool) -> str:
    subject = " ".join(
        part
        for part in (
            problem.asset if several else "",
            named(problem.days),
            f"check {problem.check}" if problem.check else "",
        )
        if part
    )
    reason = problem.reason
    if len(reason) > MAX_REASON:
        reason = f"{reason[:MAX_REASON]}..."
    return f"{subject}: {reason}" if subject else reason


def _next_steps(problems: Sequence[Problem], assets: Sequence[str]) -> str:
    steps = list(dict.fromkeys(problem.next_step for problem in problems if problem.next_step))
    if imports := [problem for problem in problems if not problem.check]:
        days = sorted({day for problem in imports for day in problem.days})
        tables = "Tables are" if len(assets) > 1 or len(days) > 1 else "The table is"
        of_days = f" for {named(days)}" if days else ""
        steps.append(
            f"{tables} unchanged. Fix the cause, then materialize {_listed(assets)} again{of_days}."
        )
    else:
        steps.append("The rows are stored. See the asset's checks for the figures.")
    return " ".join(steps)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _body(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _local_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}".strip()
