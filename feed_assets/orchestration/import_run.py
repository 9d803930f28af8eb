"""The DataFrames of one run of a feed: downloaded ahead, recorded in Dagster as they are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.errors import FeedAssetsError
from feed_assets.importing.frames import Key, LazyFrame, LazyFrames
from feed_assets.masking import MaskedLog, secret_mask
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
from feed_assets.orchestration.not_modified import last_import
from feed_assets.orchestration.retries import MAX_RETRIES, as_retry_request, recorded_days
from feed_assets.schema.table import parse_day

if TYPE_CHECKING:
    import pandas as pd

    from feed_assets.warehouse.base import Warehouse
    from feed_assets.warehouse.store import Stored

SUPPRESS_FINAL_MATERIALIZATION = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""Output metadata that stops Dagster from recording all days again at the end of a run.

A run of several days records each day as soon as it is stored. Dagster sets this mark itself on
the outputs of steps that have logged their own events.
"""
MAX_UNRECORDED = 4
"""Days that may wait to be recorded in the event log before the next one is stored."""
MANY_DAYS = 10
"""Days of a run from which its tables of bad lines are listed, and not looked for day by day."""


class ImportRun(LazyFrames):
    """The days of one run; the key is None for a snapshot. A day is downloaded when it is read.

    Masks secrets in every error, log line, metadata entry and check result of the import, and
    leaves out values of rows unless the feed has `quote_rows`.
    """

    def __init__(self, context: dg.AssetExecutionContext, feed: Feed, keys: Sequence[Key]) -> None:
        self.name, self.parallel_loads = feed.name, feed.parallel_loads
        self._context, self._feed, self._keys = context, feed, keys
        self._mask = secret_mask(feed)
        self.log = MaskedLog(context.log, self._mask)
        self._pending_checks: list[dg.AssetCheckEvaluation] = []
        self._recordings = deque[Future[None]]()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, key: Key) -> pd.DataFrame:
        from feed_assets.download import Unchanged
        from feed_assets.download.prefetch import prefetch_days
        from feed_assets.importing.import_feed import FeedFrame

        if key not in self._keys:
            raise KeyError(key)
        with closing(prefetch_days(self._feed, [_day(key)], log=self.log)) as arriving:
            _, outcome = next(arriving)
            assert not isinstance(outcome, Unchanged)  # the request was not conditional
            return FeedFrame(outcome).read(())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Occupy the feed's slot; turn a transient failure into a request to run again.

        Days are recorded in a thread of their own, as a signal can interrupt the main thread
        between storing and recording.
        """
        context, feed = self._context, self._feed
        limit = context.run.tags.get(MAX_RETRIES, "")
        update = {"run_retries": int(limit)} if limit.isdecimal() else {}
        with (
            feed_slot(context, feed.name),
            as_retry_request(feed.model_copy(update=update), context.retry_number),
            ThreadPoolExecutor(1, "record") as self._recorder,
        ):
            yield
            self._wait_until_recorded(0)

    def stored_before(self) -> Collection[Key]:
        """Return the days already imported by this run or by a run that it resumes.

        Record the days of a resumed run again under this run: if this run fails, Dagster would
        otherwise show them as failed, because this run planned them.
        """
        recorded = recorded_days(self._context) if len(self) > 1 else {}
        found = {key: each for key, each in recorded.items() if key in self._keys}
        for key, each in found.items():
            if each.run_id != self._context.run.run_id:
                by = {"imported in": dg.MetadataValue.dagster_run(each.run_id)}
                self._log_materialization(key, {**by, **each.metadata}, each.tags, each.checks)
        return set(found)

    def arriving(
        self, keys: Sequence[Key], warehouse: Warehouse, on_wait: Callable[[], None]
    ) -> Generator[tuple[Key, LazyFrame]]:
        """Yield the days in their order, each once its download has started.

        A snapshot that is unchanged is recorded again, and not yielded.
        """
        from feed_assets.download import Unchanged
        from feed_assets.download.prefetch import prefetch_days
        from feed_assets.importing.import_feed import FeedFrame

        feed = self._feed
        with self._mask.errors():
            feed.check_credentials()
            before = last_import(self._context, feed, warehouse)
        self._warehouse, self._last_key = warehouse, keys[-1] if keys else None
        rejected = None
        if len(keys) >= MANY_DAYS:
            with warehouse:
                rejected = frozenset(warehouse.shards(feed.destination.rejected))
        days = prefetch_days(
            feed,
            [_day(key) for key in keys],
            log=self.log,
            if_changed_from=before.validators if before else None,
            on_wait=on_wait,
        )
        with closing(days):
            for day, outcome in days:
                key = day.isoformat() if day else None
                if isinstance(outcome, Unchanged):
                    assert before is not None  # the request was conditional
                    checks = last_evaluations(self._context, check_specs(feed, None))
                    self._record(key, before.metadata, checks)
                    self.log.info(f"{outcome.url} is unchanged; nothing to load")
                else:
                    yield key, FeedFrame(outcome, rejected)
                    self._wait_until_recorded(MAX_UNRECORDED)

    def stored(self, key: Key, frame: LazyFrame, stored: Stored) -> str:
        """Record the day, even if the run is terminated meanwhile."""
        from feed_assets.importing.import_feed import FeedFrame

        assert isinstance(frame, FeedFrame)
        imported = frame.imported(stored, self._wildcard_problem(key, stored))
        checked = [
            replace(each, summary=self._mask(each.summary), samples=self._mask.quotes(each.samples))
            for each in imported.checks
        ]
        checks = evaluations(self._context.asset_key, key, checked)
        metadata = masked(import_metadata(imported), self._mask)
        self._recordings.append(self._recorder.submit(self._record, key, metadata, checks))
        return summary(imported)

    def _wildcard_problem(self, key: Key, stored: Stored) -> str | None:
        """Ask the warehouse, after the last day of the run, whether `table_*` answers."""
        if key is None or key != self._last_key or stored.table is None:
            return None
        table = self._feed.destination
        try:
            return self._warehouse.wildcard_problem(table, stored.columns)
        except FeedAssetsError as failure:  # the day is stored all the same
            self.log.warning(f"whether {table}_* answers is unknown: {failure}")
            return None

    def failed(self, failure: Exception) -> FeedAssetsError:
        """Fail only the day; the others continue."""
        from feed_assets.download import as_feed_assets_error

        error = as_feed_assets_error(failure, "the import", self.log)
        error.mask = self._mask
        return error

    def not_stored(self, keys: Collection[Key]) -> None:
        """Log the checks of the last import again, as this run planned them and has none.

        Dagster would show them as failed, though the table that they are about has not changed.
        """
        for key in keys:
            specs = check_specs(self._feed, None)
            if checks := last_evaluations(self._context, specs, key):
                self._log_checks(key, checks)

    def log_checks(self) -> None:
        """Log the checks of a single-day run, after Dagster has recorded the materialization."""
        self._log_checks(self._keys[0], self._pending_checks)

    def _wait_until_recorded(self, but: int) -> None:
        while len(self._recordings) > but:
            self._recordings.popleft().result()

    def _record(
        self, key: Key, metadata: dict[str, Any], checks: Sequence[dg.AssetCheckEvaluation]
    ) -> None:
        """Record one of several days as materialized. Dagster itself records a single day."""
        if len(self) == 1:
            self._pending_checks.extend(checks)
            self._context.add_asset_metadata(metadata, partition_key=key)
            version = dg.DataVersion(metadata["content hash"])
            self._context.set_data_version(self._context.asset_key, version)
            return
        tags = {
            "dagster/data_version": metadata["content hash"],
            "dagster/code_version": self._feed.code_version,
        }
        self._log_materialization(key, metadata, tags, checks)

    def _log_materialization(
        self,
        key: Key,
        metadata: Mapping[str, Any],
        tags: Mapping[str, str],
        checks: Sequence[dg.AssetCheckEvaluation],
    ) -> None:
        self._context.log_event(
            dg.AssetMaterialization(
                self._context.asset_key, partition=key, metadata=metadata, tags=tags
            )
        )
        self._log_checks(key, checks)

    def _log_checks(self, key: Key, checks: Sequence[dg.AssetCheckEvaluation]) -> None:
        """Log the checks with the materialization they belong to; the UI ignores them otherwise."""
        asset = self._context.asset_key
        chosen = dg.AssetRecordsFilter(asset, [key] if key else None)
        for record in self._context.instance.fetch_materializations(chosen, limit=1).records:
            for check in checks:
                self._context.log_event(with_target(check, record))


def _day(key: Key) -> date | None:
    return parse_day(key) if key else None
