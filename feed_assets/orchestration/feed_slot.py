"""The slot of a feed's pool: one run imports a feed at a time, also from the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from feed_assets.orchestration.dagster_internals import GRPC_INFO_TAG, PoolGranularity
from feed_assets.orchestration.run_process import RunProcess

TEMPORARY = ".tmp_dagster_home_"
"""How Dagster names the folder of an instance that lasts as long as a command."""
POLL = 1.0  # seconds
REMIND = 300.0
"""Seconds until a run that still waits says so again."""


@contextmanager
def feed_slot(context: dg.AssetExecutionContext, feed: str) -> Iterator[None]:
    """Occupy a slot of the feed's pool; wait, at rest, while other runs occupy them.

    Dagster's queue starts one run of a feed at a time if the pools have `granularity: run`. Runs
    from the command line pass no queue, so each run claims a slot here. A slot whose process was
    killed is freed. With `granularity: op`, Dagster has claimed the slot before the step.
    """
    instance, run_id = context.instance, context.run.run_id
    _warn_if_temporary(context)
    storage = instance.event_log_storage
    if not _is_limited(instance, feed):
        yield
        return
    claim = RunProcess.current().claim_by(feed)
    try:
        next_reminder = 0.0
        while not storage.claim_concurrency_slot(feed, run_id, claim).is_claimed:
            reason = blocked_by(instance, feed, run_id)
            if reason and time.monotonic() >= next_reminder:
                context.log.info(reason)
                next_reminder = time.monotonic() + REMIND
            if reason:
                time.sleep(POLL)
        yield
    finally:
        storage.free_concurrency_slot_for_step(run_id, claim)


def _warn_if_temporary(context: dg.AssetExecutionContext) -> None:
    """Warn of a run from the command line whose history is deleted when the command ends."""
    folder = Path(context.instance.root_directory).name
    if folder.startswith(TEMPORARY) and GRPC_INFO_TAG not in context.run.tags:
        context.log.warning(
            "DAGSTER_HOME is not set, so the UI never shows this import; set it to the folder that "
            "has the UI's dagster.yaml, and import again"
        )


def _is_limited(instance: dg.DagsterInstance, feed: str) -> bool:
    """Return whether the instance limits the feed's pool, and leaves its slots to runs."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return False
    if storage.get_pool_config().pool_granularity is not PoolGranularity.RUN:
        return False
    if feed in {pool.name for pool in storage.get_pool_limits()}:
        return True
    if instance.global_op_concurrency_default_limit is None:
        return False
    return storage.initialize_concurrency_limit_to_default(feed)


def blocked_by(instance: dg.DagsterInstance, feed: str, run_id: str) -> str:
    """The sentence that names the run to wait for; empty if a run's slot was freed instead."""
    found = instance.event_log_storage.get_concurrency_info(feed)
    claims = {each.run_id: each.step_key for each in found.claimed_slots}
    claims |= {
        each.run_id: each.step_key for each in found.pending_steps if each.assigned_timestamp
    }
    claims.pop(run_id, None)
    for other, claim in claims.items():
        process, run = RunProcess.parse(claim), instance.get_run_by_id(other)
        exists = process.exists if process else None
        if exists is None:
            exists = run is not None and not run.is_finished
        if exists:
            continue
        if process and run and not run.is_finished:
            instance.report_run_failed(run, killed(process))
        instance.event_log_storage.free_concurrency_slots_for_run(other)
        return ""
    for other, claim in claims.items():
        process = RunProcess.parse(claim)
        where = f" in {process}" if process else ""
        return (
            f"{feed} waits for run {other}, which imports it{where}; terminate that run in the UI "
            f"if it hangs"
        )
    return f"{feed} waits, as its pool has no slot; see Deployment, Concurrency in the UI"


def killed(process: RunProcess) -> str:
    """The sentence for a run whose process ended before the run did."""
    return f"{process} was killed during the import; the table is whole, so import again"
