"""The asset of a feed's latest state: a table that follows the shards, and a view over it."""

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import IO_MANAGER
from feed_assets.orchestration.metadata import latest_metadata
from feed_assets.orchestration.resources import (
    WarehouseResource,
    as_failure,
    storage_kinds,
    table_metadata,
)


class LatestConfig(dg.Config):
    """Run config of the latest state."""

    full_refresh: bool = False
    """Build the table again from all shards that exist."""


def latest_asset(feed: Feed) -> dg.AssetsDefinition:
    """Build the asset with the newest row of each key over all shards of a feed by date.

    Each run applies the days that were imported since the last one.
    """

    @dg.asset(
        name=f"{feed.name}_latest",
        description=f"{feed.latest_description}\n\n{feed.description or ''}".rstrip(),
        deps=[feed.name],
        group_name=feed.group or feed.dataset,
        owners=feed.owners,
        tags=feed.tags,
        kinds={"table", *storage_kinds()},
        io_manager_key=IO_MANAGER,  # for downstream assets that load the view
        metadata=table_metadata(feed.destination),
        automation_condition=dg.AutomationCondition.any_deps_updated().since_last_handled()
        & ~dg.AutomationCondition.in_progress(),
        code_version=feed.latest_version,
    )
    def update_latest(
        context: dg.AssetExecutionContext,
        config: LatestConfig,
        feed_assets_warehouse: WarehouseResource,
    ) -> dg.MaterializeResult[None]:
        from feed_assets.importing.latest import update

        with as_failure(), feed_assets_warehouse.open(context.log) as tables, tables:
            updated = update(tables, feed, full_refresh=config.full_refresh)
            columns = tables.known(feed.destination).columns
        if updated is None:
            return dg.MaterializeResult(metadata={"table": "none yet, as no day has a row"})
        return dg.MaterializeResult(metadata=latest_metadata(feed, columns, updated))

    return update_latest
