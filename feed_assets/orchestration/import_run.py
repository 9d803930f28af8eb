"""One run's import of a feed: download its days ahead, store and record each on its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.errors import FeedAssetsError, ImportFailed
from feed_assets.masking import MaskedLog, SecretMask, secret_mask
from feed_assets.orchestration.asset_checks import (
    check_specs,
    evaluations,
    last_evaluations,
    with_target,
)
from feed_assets.orchestration.dagster_internals import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
)
from feed_assets.orchestration.feed_slot import feed_slot
from feed_assets.orchestration.metadata import import_metadata, masked, summary
from feed_assets.orchestration.not_modified import LastImport, last_import
from feed_assets.orchestration.progress import Progress
from feed_assets.orchestration.retries import MAX_RETRIES, as_retry_request, recorded_days

if TYPE_CHECKING:
    from feed_assets.download.prefetch import PrefetchedDay
    from feed_assets.warehouse.base import Warehouse

PermanentFailures = dict[str | None, FeedAssetsError]
"""The permanent error of each day (None: the snapshot) that cannot succeed on a retry."""

SUPPRESS_FINAL_MATERIALIZATION = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""Output metadata that stops Dagster from recording all days again at the end of a run.

A run of several days records each day as soon as it is stored. Dagster sets this mark itself on
the outputs of steps that have logged their own events.
"""
SMALL_BYTES = 8 << 20
"""Largest download to read while the warehouse stays open."""
MAX_UNRECORDED = 4
"""Days that may be stored before the first of them is recorded in the event log."""


@dataclass(frozen=True)
class ImportRun:
    """The days of one run; `[None]` for a snapshot. Nothing is downloaded before `store`.

    Masks secrets in every error, log line, metadata entry and check result of the import.
    """

    context: dg.AssetExecutionContext
    feed: Feed
    days: Sequence[date | None]
    _pending_checks: list[dg.AssetCheckEvaluation] = field(default_factory=list)

    @cached_property
    def _mask(self) -> SecretMask:
        return secret_mask(self.feed)

    @cached_property
    def _log(self) -> MaskedLog:
        return MaskedLog(self.context.log, self._mask)

    def as_retry_request(self) -> AbstractContextManager[None]:
        """Turn a transient failure into a request to run the step again."""
        limit = self.context.run.tags.get(MAX_RETRIES, "")
        update = {"run_retries": int(limit)} if limit.isdecimal() else {}
        return as_retry_request(self.feed.model_copy(update=update), self.context.retry_number)

    def slot(self) -> AbstractContextManager[None]:
        """Occupy the feed's slot, so that no other run imports the feed at the same time."""
        return feed_slot(self.context, self.feed.name)

    def store(self, warehouse: Warehouse, permanent_failures: PermanentFailures) -> None:
        """Download and store each day; continue with the others when one fails.

        Record each of several days as materialized as soon as it is stored. Skip days that this
        run, or a run that it resumes, has recorded, and days in `permanent_failures`; add new
        permanent failures to it. Raises ImportFailed with every day that failed.
        """
        failed = dict(permanent_failures)
        done = self._days_recorded()
        days = [day for day in self.days if _key(day) not in done and _key(day) not in failed]
        if len(days) < len(self.days):
            self._log.info(f"{len(days)} of {len(self.days)} days are left to import")
        try:
            with self._mask.errors():
                self.feed.credentials()
                before = last_import(self.context, self.feed, warehouse)
        except FeedAssetsError as failure:
            failed |= dict.fromkeys(map(_key, days), failure)
            raise ImportFailed(self.feed.name, failed) from None
        failed |= self._store_all(days, before, warehouse)
        permanent_failures |= {key: why for key, why in failed.items() if not why.transient}
        if failed:
            raise ImportFailed(self.feed.name, failed)

    def _store_all(
        self, days: Sequence[date | None], before: LastImport | None, warehouse: Warehouse
    ) -> dict[str | None, FeedAssetsError]:
        """Store the days and return the errors of those that failed.

        A day that is stored is also recorded, even if the run is terminated in between.
        """
        from feed_assets.download import as_feed_assets_error
        from feed_assets.download.prefetch import prefetch_days
        from feed_assets.warehouse.lease import WarehouseLease

        log, failed = self._log, dict[str | None, FeedAssetsError]()
        progress = Progress(log, len(days))
        recording_days: deque[Future[None]] = deque()
        # In its own thread: a signal can interrupt the main thread between storing and recording
        with ThreadPoolExecutor(1, "record") as recording, WarehouseLease(warehouse) as lease:
            unless = before.validators if before else None
            arriving = prefetch_days(
                self.feed, days, log=log, if_changed_from=unless, on_wait=lease.release
            )
            with closing(arriving):
                for day, delivered in arriving:
                    key = _key(day)
                    try:
                        lease.renew() if _is_small_and_complete(delivered) else lease.release()
                        metadata, checks, said = self._store(delivered, before, warehouse)
                    except Exception as failure:  # noqa: BLE001  (the other days go on)
                        lease.release()
                        failed[key] = error = as_feed_assets_error(failure, "the import", log)
                        error.mask = self._mask
                        progress.failed(str(ImportFailed(self.feed.name, {key: error})))
                        continue
                    recording_days.append(recording.submit(self._record, key, metadata, checks))
                    progress.stored(metadata["dagster/row_count"], said)
                    while len(recording_days) > MAX_UNRECORDED:
                        recording_days.popleft().result()
            for each in recording_days:
                each.result()
        return failed

    def _store(
        self, delivered: PrefetchedDay, before: LastImport | None, warehouse: Warehouse
    ) -> tuple[dict[str, Any], Sequence[dg.AssetCheckEvaluation], str]:
        """Store one day. Return its metadata, its checks and the text of its log line."""
        from feed_assets.download import Unchanged
        from feed_assets.importing.import_feed import store

        if isinstance(delivered, FeedAssetsError):
            raise delivered
        if isinstance(delivered, Unchanged):
            assert before is not None  # the request was conditional
            checks = last_evaluations(self.context, check_specs(self.feed, None))
            return before.metadata, checks, f"{delivered.url} is unchanged; nothing to load"
        attempt = f"{self.context.run.run_id} {self.context.retry_number}"
        imported = store(delivered, warehouse, attempt=attempt)
        checked = [
            replace(each, summary=self._mask(each.summary), samples=self._mask.values(each.samples))
            for each in imported.checks
        ]
        checks = evaluations(self.context.asset_key, _key(delivered.day), checked)
        return masked(import_metadata(imported), self._mask), checks, summary(imported)

    def _record(
        self,
        key: str | None,
        metadata: dict[str, Any],
        checks: Sequence[dg.AssetCheckEvaluation],
    ) -> None:
        """Record one of several days as materialized. Dagster itself records a single day."""
        if len(self.days) == 1:
            self._pending_checks.extend(checks)
            self.context.add_asset_metadata(metadata, partition_key=key)
            version = dg.DataVersion(metadata["content hash"])
            self.context.set_data_version(self.context.asset_key, version)
            return
        tags = {
            "dagster/data_version": metadata["content hash"],
            "dagster/code_version": self.feed.code_version,
        }
        self._log_materialization(key, metadata, tags, checks)

    def log_checks(self) -> None:
        """Log the checks of a single-day run, after Dagster has recorded the materialization."""
        self._log_checks(_key(self.days[0]), self._pending_checks)

    def _days_recorded(self) -> set[str | None]:
        """Return the days already imported by this run or by a run that it resumes.

        Record the days of a resumed run again under this run: if this run fails, Dagster would
        otherwise show them as failed, because this run planned them.
        """
        recorded = recorded_days(self.context) if len(self.days) > 1 else {}
        wanted = set(map(_key, self.days))
        found = {key: each for key, each in recorded.items() if key in wanted}
        for key, each in found.items():
            if each.run_id != self.context.run.run_id:
                by = {"imported in": dg.MetadataValue.dagster_run(each.run_id)}
                self._log_materialization(key, {**by, **each.metadata}, each.tags, each.checks)
        return set(found)

    def _log_materialization(
        self,
        key: str | None,
        metadata: Mapping[str, Any],
        tags: Mapping[str, str],
        checks: Sequence[dg.AssetCheckEvaluation],
    ) -> None:
        self.context.log_event(
            dg.AssetMaterialization(
                self.context.asset_key, partition=key, metadata=metadata, tags=tags
            )
        )
        self._log_checks(key, checks)

    def _log_checks(self, key: str | None, checks: Sequence[dg.AssetCheckEvaluation]) -> None:
        """Log the checks with the materialization they belong to; the UI ignores them otherwise."""
        asset = self.context.asset_key
        chosen = dg.AssetRecordsFilter(asset, [key] if key else None)
        (record,) = self.context.instance.fetch_materializations(chosen, limit=1).records
        for check in checks:
            self.context.log_event(with_target(check, record))


def _key(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _is_small_and_complete(delivered: PrefetchedDay) -> bool:
    """Return whether the body is completely downloaded and at most SMALL_BYTES long."""
    from feed_assets.download.prefetch import PendingDay

    info = delivered.download.info if isinstance(delivered, PendingDay) else None
    return bool(info and info.done() and info.result().bytes < SMALL_BYTES)
