"""The IO manager: store DataFrames of feeds or any other asset in tables, and load them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any, get_origin

import dagster as dg
from pydantic import PrivateAttr

from feed_assets.errors import FeedAssetsError, SettingError
from feed_assets.orchestration.import_run import ImportRun, PermanentFailures
from feed_assets.orchestration.metadata import stored_metadata
from feed_assets.orchestration.resources import WarehouseResource, as_failure
from feed_assets.schema.table import Table, parse_day

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from feed_assets.warehouse.base import Warehouse


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
    _permanent_failures: dict[dg.AssetKey, PermanentFailures] = PrivateAttr(default_factory=dict)
    """Permanent failures in earlier attempts of this run, which share this process."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if isinstance(obj, ImportRun):
            permanent_failures = self._permanent_failures.setdefault(context.asset_key, {})
            from feed_assets.warehouse.store import finish_pending

            opened = self.warehouse.open(context.log)
            with obj.slot(), obj.as_retry_request(), as_failure(), opened as warehouse:
                try:
                    obj.store(warehouse, permanent_failures)
                except FeedAssetsError:
                    if obj.feed.partition_by_date:  # a day that is stored does it by itself
                        with suppress(FeedAssetsError):
                            finish_pending(warehouse, obj.feed.destination)
                    raise
            return
        with as_failure(), self.warehouse.open(context.log) as warehouse:
            for key, frame in _frames(context, obj).items():
                self._store(context, warehouse, key, frame)

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
        self, context: dg.OutputContext, warehouse: Warehouse, key: str | None, frame: pd.DataFrame
    ) -> None:
        from feed_assets.importing.dataframes import to_arrow
        from feed_assets.warehouse.store import store_shard, store_snapshot

        table = _table(context.definition_metadata, context.asset_key)
        rows = to_arrow(frame)
        attempt = f"{context.run_id} {context.step_context.previous_attempt_count} {key}"
        with warehouse:
            if key is None:
                stored = store_snapshot(warehouse, table, rows, attempt=attempt)
            else:
                day = _day(context.asset_key, key)
                stored = store_shard(warehouse, table, day, lambda known: rows, attempt=attempt)
        if key is None or len(context.asset_partition_keys) == 1:
            context.add_output_metadata(stored_metadata(stored))
        context.log.info(f"{stored.table or table}: {stored.rows} rows stored")


def _frame(tables: Iterable[pa.Table]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    from feed_assets.importing.dataframes import to_frame

    found = list(tables)
    if not found:  # an input without partitions
        return pd.DataFrame()
    return to_frame(pa.concat_tables(found))


def _frames(context: dg.OutputContext, obj: Any) -> Mapping[str | None, pd.DataFrame]:
    """Return the asset's DataFrames by partition key; None is the key without partitions."""
    import pandas as pd

    keys: Sequence[str | None] = (
        context.asset_partition_keys if context.has_asset_partitions else [None]
    )
    frames = obj if isinstance(obj, Mapping) else {keys[0]: obj}
    name = context.asset_key.to_user_string()
    if set(frames) != set(keys):
        raise SettingError(
            f"{name} ran for {len(keys)} partitions and returned {len(frames)} DataFrames; "
            f"return a mapping with a DataFrame for each partition key"
        )
    for frame in frames.values():
        if not isinstance(frame, pd.DataFrame):
            raise SettingError(
                f"{name} returned a {type(frame).__name__}; the warehouse stores pandas DataFrames"
            )
    return frames


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
            f"{asset.to_user_string()} has a partition {key!r}, which is no day; tables are kept "
            f"by day (use DailyPartitionsDefinition) or whole (use none)"
        )
    return day
