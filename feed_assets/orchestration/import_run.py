"""What a feed's asset returns: its days, fetched while they are stored, each on its own."""

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
    targeted,
)
from feed_assets.orchestration.feed_slot import feed_slot
from feed_assets.orchestration.metadata import import_metadata, masked, summary
from feed_assets.orchestration.not_modified import LastImport, last_import
from feed_assets.orchestration.progress import Progress
from feed_assets.orchestration.retries import MAX_RETRIES, recorded_days, retried

if TYPE_CHECKING:
    from feed_assets.download.prefetch import PrefetchedDay
    from feed_assets.warehouse.base import Warehouse

GivenUp = dict[str | None, FeedAssetsError]
"""Days that failed for good, and why."""

BY_ITSELF = {"__source_asset_observation__": True}
"""Has Dagster record nothing at the end of a run of many days, which records each as it is stored.

Else it would record all of them once more, also those that an earlier attempt has imported. This
is what Dagster marks the outputs of steps with that have recorded what they did:
`dagster._core.definitions.source_asset.SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION`.
"""
SMALL = 8 << 20
"""Bytes of a day that is read while the warehouse is held."""
_UNRECORDED = 4  # days that may be stored and not yet recorded


@dataclass(frozen=True)
class Deliveries:
    """The days of one run; of a snapshot, the one `None`. Nothing is fetched before `store`.

    Errors, log lines, metadata and checks of the import leave it here, with secrets masked.
    """

    context: dg.AssetExecutionContext
    feed: Feed
    days: Sequence[date | None]
    _to_log: list[dg.AssetCheckEvaluation] = field(default_factory=list)

    @cached_property
    def _mask(self) -> SecretMask:
        return secret_mask(self.feed)

    @cached_property
    def _log(self) -> MaskedLog:
        return MaskedLog(self.context.log, self._mask)

    def retried(self) -> AbstractContextManager[None]:
        """Has Dagster run the step again where that can help."""
        limit = self.context.run.tags.get(MAX_RETRIES, "")
        update = {"run_retries": int(limit)} if limit.isdecimal() else {}
        return retried(self.feed.model_copy(update=update), self.context.retry_number)

    def slot(self) -> AbstractContextManager[None]:
        """Occupy the feed's slot, so that no other run imports it meanwhile."""
        return feed_slot(self.context, self.feed.name)

    def store(self, warehouse: Warehouse, given_up: GivenUp) -> None:
        """Fetches and stores each day, and goes on with the others where one fails.

        Of several, each is recorded as materialized when it is stored, and left out where this run
        or one that it resumes has recorded it, or where it is among `given_up`, to which those are
        added that fail for good. Raises ImportFailed naming all that failed.
        """
        failed = dict(given_up)
        done = self._recorded()
        days = [day for day in self.days if _key(day) not in done and _key(day) not in failed]
        if len(days) < len(self.days):
            self._log.info(f"{len(days)} of {len(self.days)} days are left to be imported")
        try:
            with self._mask.errors():
                self.feed.credentials()
                before = last_import(self.context, self.feed, warehouse)
        except FeedAssetsError as failure:
            failed |= dict.fromkeys(map(_key, days), failure)
            raise ImportFailed(self.feed.name, failed) from None
        failed |= self._store_all(days, before, warehouse)
        given_up |= {key: why for key, why in failed.items() if not why.transient}
        if failed:
            raise ImportFailed(self.feed.name, failed)

    def _store_all(
        self, days: Sequence[date | None], before: LastImport | None, warehouse: Warehouse
    ) -> dict[str | None, FeedAssetsError]:
        """Those that fail. What is stored is recorded, also when the run is ended from outside."""
        from feed_assets.download import as_feed_assets_error
        from feed_assets.download.prefetch import prefetch_days
        from feed_assets.warehouse.lease import Turns

        log, failed = self._log, dict[str | None, FeedAssetsError]()
        progress = Progress(log, len(days))
        under_way: deque[Future[None]] = deque()
        # In a thread of its own, as a signal may end whatever the main thread is doing
        with ThreadPoolExecutor(1, "record") as recording, Turns(warehouse) as turns:
            unless = before.validators if before else None
            arriving = prefetch_days(
                self.feed, days, log=log, if_changed_from=unless, on_wait=turns.end
            )
            with closing(arriving):
                for day, delivered in arriving:
                    key = _key(day)
                    try:
                        turns.go_on() if _is_small(delivered) else turns.end()
                        metadata, checks, said = self._store(delivered, before, warehouse)
                    except Exception as failure:  # noqa: BLE001  (the other days go on)
                        turns.end()
                        failed[key] = error = as_feed_assets_error(failure, "the import", log)
                        error.mask = self._mask
                        progress.failed(str(ImportFailed(self.feed.name, {key: error})))
                        continue
                    under_way.append(recording.submit(self._record, key, metadata, checks))
                    progress.stored(metadata["dagster/row_count"], said)
                    while len(under_way) > _UNRECORDED:
                        under_way.popleft().result()
            for each in under_way:
                each.result()
        return failed

    def _store(
        self, delivered: PrefetchedDay, before: LastImport | None, warehouse: Warehouse
    ) -> tuple[dict[str, Any], Sequence[dg.AssetCheckEvaluation], str]:
        """What to record of one day, and to say."""
        from feed_assets.download import Unchanged
        from feed_assets.importing.import_feed import store

        if isinstance(delivered, FeedAssetsError):
            raise delivered
        if isinstance(delivered, Unchanged):
            assert before is not None  # else nobody asked
            checks = last_evaluations(self.context, check_specs(self.feed, None))
            return before.metadata, checks, f"{delivered.url} is unchanged, so nothing is loaded"
        attempt = f"{self.context.run.run_id} {self.context.retry_number}"
        imported = store(delivered, warehouse, attempt=attempt)
        checked = [
            replace(each, said=self._mask(each.said), samples=self._mask.values(each.samples))
            for each in imported.checked
        ]
        checks = evaluations(self.context.asset_key, _key(delivered.day), checked)
        return masked(import_metadata(imported), self._mask), checks, summary(imported)

    def _record(
        self,
        key: str | None,
        metadata: dict[str, Any],
        checks: Sequence[dg.AssetCheckEvaluation],
    ) -> None:
        """Records one of several days as materialized; one alone Dagster records, with versions."""
        if len(self.days) == 1:
            self._to_log.extend(checks)
            self.context.add_asset_metadata(metadata, partition_key=key)
            version = dg.DataVersion(metadata["content hash"])
            self.context.set_data_version(self.context.asset_key, version)
            return
        tags = {
            "dagster/data_version": metadata["content hash"],
            "dagster/code_version": self.feed.code_version,
        }
        self._materialized(key, metadata, tags, checks)

    def log_checks(self) -> None:
        """Of one day alone, once Dagster has recorded it."""
        self._log_checks(_key(self.days[0]), self._to_log)

    def _recorded(self) -> set[str | None]:
        """The days of this run that are imported; those by a run that it resumes are its own now.

        Dagster would else show as failed, should this run fail, what it has planned and not done.
        """
        recorded = recorded_days(self.context) if len(self.days) > 1 else {}
        wanted = set(map(_key, self.days))
        found = {key: each for key, each in recorded.items() if key in wanted}
        for key, each in found.items():
            if each.run_id != self.context.run.run_id:
                by = {"imported in": dg.MetadataValue.dagster_run(each.run_id)}
                self._materialized(key, {**by, **each.metadata}, each.tags, each.checks)
        return set(found)

    def _materialized(
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
        """As checks of what is recorded: else the UI takes them for those of something older."""
        asset = self.context.asset_key
        chosen = dg.AssetRecordsFilter(asset, [key] if key else None)
        (record,) = self.context.instance.fetch_materializations(chosen, limit=1).records
        for check in checks:
            self.context.log_event(targeted(check, record))


def _key(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _is_small(delivered: PrefetchedDay) -> bool:
    """Whether it is here info, and soon read."""
    from feed_assets.download.prefetch import PendingDay

    info = delivered.download.info if isinstance(delivered, PendingDay) else None
    return bool(info and info.done() and info.result().bytes < SMALL)
