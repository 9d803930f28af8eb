"""The IO manager: store DataFrames of feeds or any other asset in tables, and load them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any, get_origin

import dagster as dg
from pydantic import PrivateAttr

from feed_assets.errors import FeedAssetsError, ImportFailed, SettingError
from feed_assets.importing.frames import GivenFrame, Key, LazyFrame, LazyFrames
from feed_assets.orchestration.metadata import stored_metadata
from feed_assets.orchestration.resources import WarehouseResource, as_failure
from feed_assets.orchestration.store_frames import Failures, store_frames
from feed_assets.schema.table import Table, parse_day

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from feed_assets.warehouse.base import Warehouse
    from feed_assets.warehouse.store import Stored


class WarehouseIOManager(dg.ConfigurableIOManager):
    """Store an asset's DataFrames in BigQuery or DuckDB, and load them for downstream assets.

    An unpartitioned asset's DataFrame replaces the table named by the asset's metadata
    `dagster/table_name` (`dataset.table`) or else by its key (`[dataset, table]`). An asset
    partitioned by day has one shard `table_YYYYMMDD` per partition; a run of several partitions
    returns a mapping of partition keys to DataFrames.

    Several partitions load as one DataFrame with the columns of all; an input annotated as `dict`
    gets one DataFrame per partition key.
    """

    warehouse: WarehouseResource
    _permanent_failures: dict[dg.AssetKey, Failures] = PrivateAttr(default_factory=dict)
    """Permanent failures in earlier attempts of this run, which share this process."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        with as_failure():
            frames = obj if isinstance(obj, LazyFrames) else _GivenFrames(context, obj)
        failed = self._permanent_failures.setdefault(context.asset_key, {})
        with frames.running(), as_failure(), self.warehouse.open(context.log) as warehouse:
            reasons = failed | self._store(context, frames, [*failed], warehouse)
            failed |= {key: why for key, why in reasons.items() if not why.transient}
            if reasons:
                frames.not_stored(reasons)
                raise ImportFailed(frames.name, reasons)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame | dict[str, pd.DataFrame]:
        from feed_assets.warehouse.read import read_shards, read_table

        source = context.upstream_output
        table = _table(source.definition_metadata if source else None, context.asset_key)
        names = (context.definition_metadata or {}).get("columns")
        names = [names] if isinstance(names, str) else names
        with as_failure(), self.warehouse.open(context.log) as warehouse:
            if not context.has_asset_partitions:
                return _frame([read_table(warehouse, table, names)])
            days = {key: _day(context.asset_key, key) for key in context.asset_partition_keys}
            shards = read_shards(warehouse, table, list(days.values()), names)
        if get_origin(context.dagster_type.typing_type) is dict:
            return {key: _frame([shards[day]]) for key, day in days.items()}
        return _frame(shards.values())

    def _store(
        self,
        context: dg.OutputContext,
        frames: LazyFrames,
        failed: Collection[Key],
        warehouse: Warehouse,
    ) -> Failures:
        """Store all frames except permanent failures and those already stored."""
        from feed_assets.importing.table_writer import TableWriter
        from feed_assets.warehouse.store import finish_pending

        stored = frames.stored_before()
        left = [key for key in frames if key not in failed and key not in stored]
        if len(left) < len(frames):
            frames.log.info(f"{len(left)} of {len(frames)} days are left to import")
        table = _table(context.definition_metadata, context.asset_key)
        days = {key: _day(context.asset_key, key) if key else None for key in left}
        attempt = f"{context.run_id} {context.step_context.previous_attempt_count}"
        failures = store_frames(frames, days, warehouse, TableWriter(warehouse, table, attempt))
        if failures and None not in failures:
            with suppress(FeedAssetsError):  # a day that is stored does it by itself
                finish_pending(warehouse, table)
        return failures


class _GivenFrames(LazyFrames):
    """The DataFrame of an asset, or its mapping of partition keys to DataFrames."""

    def __init__(self, context: dg.OutputContext, obj: Any) -> None:
        keys: Sequence[Key] = (
            context.asset_partition_keys if context.has_asset_partitions else [None]
        )
        self.name, self.log = context.asset_key.to_user_string(), context.log
        self._context, self._keys = context, keys
        self._frames = obj if isinstance(obj, Mapping) else {keys[0]: obj}
        if set(self._frames) != set(keys):
            raise SettingError(
                f"{self.name} ran for {len(keys)} partitions and returned {len(self._frames)} "
                f"DataFrames; return a mapping with a DataFrame for each partition key"
            )

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, key: Key) -> pd.DataFrame:
        import pandas as pd

        frame = self._frames[key]
        if not isinstance(frame, pd.DataFrame):
            raise SettingError(
                f"the asset returned a {type(frame).__name__}; the warehouse stores pandas "
                f"DataFrames"
            )
        return frame

    def arriving(
        self, keys: Sequence[Key], warehouse: Warehouse, on_wait: Callable[[], None]
    ) -> Generator[tuple[Key, LazyFrame]]:
        for key in keys:
            yield key, GivenFrame(self[key])

    def stored(self, key: Key, frame: LazyFrame, stored: Stored) -> str:
        if len(self) == 1:
            self._context.add_output_metadata(stored_metadata(stored))
        return f"{stored.table or 'no table'}: {stored.rows} rows stored"


def _frame(tables: Iterable[pa.Table]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    from feed_assets.importing.dataframes import to_frame

    found = list(tables)
    if not found:  # an input without partitions
        return pd.DataFrame()
    return to_frame(pa.concat_tables(found))


def _table(metadata: Mapping[str, Any] | None, key: dg.AssetKey) -> Table:
    name = metadata.get("dagster/table_name") if metadata else None
    path = str(getattr(name, "value", name)).split(".") if name else key.path[-2:]
    if len(path) != 2:  # a dataset and a table
        raise SettingError(
            f"asset {key.to_user_string()} names no dataset to store in; give it a key prefix or "
            f'metadata={{"dagster/table_name": "dataset.table"}}'
        )
    return Table(*path)


def _day(asset: dg.AssetKey, key: str) -> date:
    day = parse_day(key)
    if day is None:
        raise SettingError(
            f"{asset.to_user_string()} has a partition {key!r}, which is not a day; tables are "
            f"by day (use DailyPartitionsDefinition) or whole (use none)"
        )
    return day
