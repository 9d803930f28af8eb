"""What a feed's asset returns: its days, fetched while they are stored, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.errors import FeedAssetsError, ImportFailed
from feed_assets.feed import Feed
from feed_assets.orchestration.metadata import import_metadata, summary
from feed_assets.orchestration.unchanged import LastImport, last_import

if TYPE_CHECKING:
    from feed_assets.delivery import Delivered
    from feed_assets.warehouse.interface import Warehouse


@dataclass(frozen=True)
class Deliveries:
    """The days of one run; of a snapshot, the one `None`. Nothing is fetched before `store`."""

    context: dg.AssetExecutionContext
    feed: Feed
    days: Sequence[date | None]

    def store(self, warehouse: Warehouse) -> None:
        """Fetches and stores each day, and goes on with the others where one fails.

        Raises ImportFailed naming those that failed, with the others recorded as materialized.
        """
        from feed_assets.delivery import deliver

        log = self.context.log
        done: dict[str | None, dict[str, Any]] = {}
        failed: dict[str | None, FeedAssetsError] = {}
        try:
            self.feed.credentials()
            before = last_import(self.context, self.feed, warehouse)
        except FeedAssetsError as failure:
            keys = (day.isoformat() if day else None for day in self.days)
            raise ImportFailed(self.feed.name, dict.fromkeys(keys, failure)) from None
        try:
            unless = before.validators if before else None
            for day, delivered in deliver(self.feed, self.days, log=log, unless=unless):
                key = day.isoformat() if day else None
                progress = f"{len(done) + len(failed) + 1} of {len(self.days)}"
                try:
                    done[key], said = self._store(delivered, before, warehouse)
                    log.info(f"{progress}: {said}")
                except FeedAssetsError as failure:
                    failed[key] = failure
                    log.error(f"{progress}: {ImportFailed(self.feed.name, {key: failure})}")
            if failed:
                raise ImportFailed(self.feed.name, failed)
        except BaseException:  # also when the run is ended from outside
            self._record(done)
            raise
        for key, metadata in done.items():
            self.context.add_asset_metadata(metadata, partition_key=key)
        if len(done) == 1:  # of several partitions, Dagster takes no versions
            (metadata,) = done.values()
            version = dg.DataVersion(metadata["content hash"])
            self.context.set_data_version(self.context.asset_key, version)

    def _store(
        self, delivered: Delivered, before: LastImport | None, warehouse: Warehouse
    ) -> tuple[dict[str, Any], str]:
        """What to record of one day, and to say."""
        from feed_assets.download import Unchanged
        from feed_assets.importing import store

        if isinstance(delivered, FeedAssetsError):
            raise delivered
        if isinstance(delivered, Unchanged):
            assert before is not None  # else nobody asked
            return before.metadata, f"{delivered.url} is unchanged, so nothing is loaded"
        attempt = f"{self.context.run.run_id} {self.context.retry_number}"
        imported = store(delivered, warehouse, attempt=attempt)
        return import_metadata(imported), summary(imported)

    def _record(self, done: dict[str | None, dict[str, Any]]) -> None:
        """Records days as materialized in a run that fails, where Dagster itself records none."""
        for key, metadata in done.items():
            tags = {"dagster/data_version": metadata["content hash"]}
            self.context.log_event(
                dg.AssetMaterialization(
                    self.context.asset_key, partition=key, metadata=metadata, tags=tags
                )
            )
