"""The asset of a feed: its table or its shards."""

from datetime import timedelta

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.orchestration.asset_checks import check_specs
from feed_assets.orchestration.freshness import freshness_policy
from feed_assets.orchestration.import_run import SUPPRESS_FINAL_MATERIALIZATION, ImportRun
from feed_assets.orchestration.resources import storage_kinds, table_metadata

WAREHOUSE, IO_MANAGER = "feed_assets_warehouse", "feed_assets_io_manager"
"""Keys of our resources, which a project may have beside its own."""


def feed_asset(feed: Feed) -> dg.AssetsDefinition:
    """Build the asset that imports a feed: partitioned by day, or one snapshot."""
    days = partitions(feed)
    specs = check_specs(feed, days)

    @dg.asset(
        name=feed.name,
        description=feed.description or _default_description(feed),
        group_name=feed.group or feed.dataset,
        owners=feed.owners,
        tags=feed.tags,
        kinds={"ndjson", *storage_kinds()},
        partitions_def=days,
        check_specs=specs,
        freshness_policy=freshness_policy(feed),
        backfill_policy=_backfills(feed) if feed.partition_by_date else None,
        io_manager_key=IO_MANAGER,
        metadata={
            **table_metadata(feed.destination, exists=days is None or feed.has_latest),
            "feed": str(feed.address),
        },
        code_version=feed.code_version,
        pool=feed.name,
    )
    def import_feed(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]  # Dagster would use an annotation as the type that downstream assets load
        keys = context.partition_keys if feed.partition_by_date else [None]
        frames = ImportRun(context, feed, keys)
        yield dg.Output(frames, metadata=SUPPRESS_FINAL_MATERIALIZATION if len(keys) > 1 else None)
        if len(keys) == 1:
            frames.log_checks()
        for spec in specs:  # checks of several days are logged as each is stored
            yield dg.Output(None, spec.get_python_identifier())

    return import_feed


def _default_description(feed: Feed) -> str:
    """Return the description of a feed that declares none."""
    if feed.partition_by_date is None:
        return f"The feed's rows in {feed.destination}, replaced by each import."
    return f"The feed's rows of each day in {feed.destination}_YYYYMMDD."


def _backfills(feed: Feed) -> dg.BackfillPolicy:
    if feed.days_per_run is None:
        return dg.BackfillPolicy.single_run()
    return dg.BackfillPolicy.multi_run(feed.days_per_run)


def partitions(feed: Feed) -> dg.DailyPartitionsDefinition | None:
    """Return the days of a feed by date; `include_today` adds the current day."""
    by_date = feed.partition_by_date
    if by_date is None:
        return None
    end = by_date.end_date
    return dg.DailyPartitionsDefinition(
        start_date=by_date.start_date.isoformat(),
        timezone=by_date.timezone,
        end_date=None if end is None else (end + timedelta(days=1)).isoformat(),
        end_offset=int(by_date.include_today and end is None),
    )
