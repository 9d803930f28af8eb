"""What a feed's asset returns: its days, fetched while they are stored, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.errors import FeedAssetsError, ImportFailed, SettingError
from feed_assets.feed import Feed
from feed_assets.orchestration.metadata import import_metadata, summary

if TYPE_CHECKING:
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
        from feed_assets.importing import deliver, store

        log = self.context.log
        attempt = f"{self.context.run.run_id} {self.context.retry_number}"
        done: dict[str | None, dict[str, Any]] = {}
        failed: dict[str | None, FeedAssetsError] = {}
        try:
            self.feed.credentials()
        except SettingError as missing:
            keys = (day.isoformat() if day else None for day in self.days)
            raise ImportFailed(self.feed.name, dict.fromkeys(keys, missing)) from None
        try:
            for day, delivery in deliver(self.feed, self.days):
                key = day.isoformat() if day else None
                progress = f"{len(done) + len(failed) + 1} of {len(self.days)}"
                try:
                    if isinstance(delivery, FeedAssetsError):
                        raise delivery
                    imported = store(delivery, warehouse, attempt=attempt)
                except FeedAssetsError as failure:
                    failed[key] = failure
                    log.error(f"{progress}: {ImportFailed(self.feed.name, {key: failure})}")
                else:
                    done[key] = import_metadata(imported)
                    log.info(f"{progress}: {summary(imported)}")
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

    def _record(self, done: dict[str | None, dict[str, Any]]) -> None:
        """Records days as materialized in a run that fails, where Dagster itself records none."""
        for key, metadata in done.items():
            tags = {"dagster/data_version": metadata["content hash"]}
            self.context.log_event(
                dg.AssetMaterialization(
                    self.context.asset_key, partition=key, metadata=metadata, tags=tags
                )
            )
