"""Retries of failed imports, and the days that they can skip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from feed_assets.backoff import backoff
from feed_assets.config.feed import Feed
from feed_assets.orchestration.dagster_internals import StepMaterializationData

RECORDED = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}
LONGEST_WAIT = 3600.0
"""Longest wait in seconds before a retry, unless `run_retry_wait` is longer."""
MAX_RETRIES = "dagster/max_retries"
"""Run tag that overrides the retry limits of Dagster and of the feed."""
PARENT = "dagster/parent_run_id"
RESUMES = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
"""Tags of a run that Dagster launched to repeat the failed part of its parent run."""


@contextmanager
def as_retry_request(feed: Feed, attempt: int) -> Iterator[None]:
    """Turn a transient dg.Failure into a dg.RetryRequested. `attempt` counts from 0.

    The asset has no RetryPolicy, because with one Dagster also repeats a cancelled step.
    """
    try:
        yield
    except dg.Failure as failure:
        if not failure.allow_retries or attempt >= feed.run_retries:
            raise
        longest = max(LONGEST_WAIT, feed.run_retry_wait)
        wait = backoff(feed.run_retry_wait, attempt + 1, longest=longest)
        raise dg.RetryRequested(feed.run_retries, wait) from failure


@dataclass(frozen=True)
class RecordedDay:
    """The recorded metadata, tags and checks of a day, and the run that imported it."""

    run_id: str
    metadata: Mapping[str, Any]
    tags: Mapping[str, str]
    checks: Sequence[dg.AssetCheckEvaluation] = ()


def recorded_days(context: dg.AssetExecutionContext) -> Mapping[str, RecordedDay]:
    """Return the days imported by earlier attempts of this run and by the runs it resumes."""
    runs = [context.run] if context.retry_number else []
    run = context.run
    while any(run.tags.get(tag) == "true" for tag in RESUMES):
        parent = context.instance.get_run_by_id(run.tags[PARENT])
        if parent is None:  # deleted
            break
        runs.append(run := parent)
    found: dict[str, RecordedDay] = {}
    for each in reversed(runs):
        checks = defaultdict[str, list[dg.AssetCheckEvaluation]](list)
        for entry in context.instance.all_logs(each.run_id, of_type=RECORDED):
            made = entry.dagster_event and entry.dagster_event.event_specific_data
            made = made.materialization if isinstance(made, StepMaterializationData) else made
            assert isinstance(made, dg.AssetMaterialization | dg.AssetCheckEvaluation)
            if made.asset_key != context.asset_key or made.partition is None:
                continue
            if isinstance(made, dg.AssetCheckEvaluation):
                checks[made.partition].append(made)
                continue
            which = checks[made.partition]
            found[made.partition] = RecordedDay(each.run_id, made.metadata, _versions(made), which)
    return found


def _versions(made: dg.AssetMaterialization) -> Mapping[str, str]:
    return {name: tag for name, tag in (made.tags or {}).items() if name.endswith("_version")}
