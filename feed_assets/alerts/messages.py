"""What an alert says: plain text that reads well in a chat, in a mail and on a pager."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from feed_assets.alerts.day_ranges import spans

Kind = Literal["failure", "warning", "success"]
"""As Apprise calls them, and services color or page by."""

NAMED = 3
"""Reasons, and assets in a title, that a message spells out; the run has them all."""

SPANS_NAMED = 4
LONGEST_REASON = 500  # characters


@dataclass(frozen=True)
class Problem:
    """One reason why an asset was not imported, or a check of it that failed.

    `days` (YYYY-MM-DD) are those it happened to, of a snapshot none. `todo` is what the reason
    does not say by itself.
    """

    asset: str
    reason: str
    days: tuple[str, ...] = ()
    check: str = ""
    todo: str = ""


@dataclass(frozen=True)
class Message:
    """A title of one line, and a body."""

    title: str
    body: str
    kind: Kind


def failed(problems: Sequence[Problem], link: str, *, backfill: bool = False) -> Message:
    """Of one import, of one run with several, or of a backfill. `link` is where to look."""
    assets = list(dict.fromkeys(problem.asset for problem in problems))
    if len(assets) == 1:
        title = f"{assets[0]}: {_what(problems, backfill)}"
    else:
        imports = "backfills" if backfill else "imports"
        if all(problem.check for problem in problems):
            imports = "assets with checks that"
        title = f"{len(assets)} {imports} failed: {_listed(assets)}"
    lines = [_reason(problem, len(assets) > 1) for problem in problems[:NAMED]]
    if len(problems) > NAMED:
        lines.append(f"... and {len(problems) - NAMED} reasons more, which the run tells.")
    return Message(title, _body(*lines, _todo(problems, assets), link), "failure")


def late(feed: str, day: str, due: datetime, last: datetime | None, link: str) -> Message:
    """A feed is stale: what was due (`day`; of a snapshot, "") has not been imported since."""
    what = f"{day} of {feed}" if day else feed
    before = f"the last import was {_moment(last)}" if last else "it has never been imported"
    return Message(
        f"{feed}: nothing arrived, and it was due {_moment(due)}",
        _body(
            f"{what} should have been imported {_moment(due)}; {before}.",
            "See in the Dagster UI that the feed's schedule is on, that the daemon runs, and "
            "whether a run is waiting or has not ended yet.",
            link,
        ),
        "warning",
    )


def recovered(asset: str, items: Iterable[str], link: str, *, was_late: bool = False) -> Message:
    """What an alert was sent for is well again: days, "" for a snapshot, `check NAME`."""
    all_items = sorted(items)
    checks = [item for item in all_items if item.startswith("check ")]
    days = [item for item in all_items if item and item not in checks]
    said = []
    if days or "" in all_items:
        what = f"{named(days)} of {asset}" if days else asset
        had = "was late" if was_late else "had failed"
        said.append(f"{what}, whose import {had}, {'is' if not days else 'has been'} imported now.")
    if checks:
        said.append(f"What failed before passes now: {', '.join(checks)}.")
    return Message(f"{asset}: recovered", _body(*said, link), "success")


def named(days: Iterable[str]) -> str:
    """Days in words: `2024-05-01 to 2024-05-07, 2024-05-09 and 12 days more`."""
    stretches = spans(days)
    shown = [
        str(first) if first == last else f"{first} to {last}"
        for first, last in stretches[:SPANS_NAMED]
    ]
    more = sum((last - first).days + 1 for first, last in stretches[SPANS_NAMED:])
    return ", ".join(shown) + (f" and {more} days more" if more else "")


def _what(problems: Sequence[Problem], backfill: bool) -> str:
    """The title, of one asset."""
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
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]}..."
    return f"{subject}: {reason}" if subject else reason


def _todo(problems: Sequence[Problem], assets: Sequence[str]) -> str:
    said = list(dict.fromkeys(problem.todo for problem in problems if problem.todo))
    if imports := [problem for problem in problems if not problem.check]:
        days = sorted({day for problem in imports for day in problem.days})
        what = f"{named(days)} of {_listed(assets)}" if days else _listed(assets)
        tables = "Tables are" if len(assets) > 1 or len(days) > 1 else "The table is"
        said.append(f"{tables} as before. Once the cause is gone, materialize {what} again.")
    else:
        said.append("The rows are in the table. The asset's checks show the figures.")
    return " ".join(said)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _body(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}".strip()
