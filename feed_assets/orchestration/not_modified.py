"""How a snapshot that its server says is unchanged is known to be in its table still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.config.feed import Feed

if TYPE_CHECKING:
    from feed_assets.download import Validators
    from feed_assets.importing.import_feed import SnapshotState
    from feed_assets.warehouse.base import Warehouse

HELD = "validators"
HASH = "content hash"
ROWS = "dagster/row_count"
KEPT = (HELD, ROWS, "dagster/column_schema", "dagster/table_name")


@dataclass(frozen=True)
class LastImport:
    """The last import of a snapshot, where its table is as it left it."""

    validators: Validators
    metadata: dict[str, Any]
    """What it recorded that is still so."""


def held_metadata(held: SnapshotState, feed: Feed) -> dict[str, Any]:
    """What the next run needs: it stands in the metadata of the materialization."""
    return {
        HELD: dg.MetadataValue.json(
            {**asdict(held.validators), "table": held.table, "declared": _declared(feed)}
        )
    }


def last_import(
    context: dg.AssetExecutionContext, feed: Feed, warehouse: Warehouse
) -> LastImport | None:
    """The import that need not be done again if the server says so; None where there is none.

    That is, of a snapshot declared as it is now, whose table was not changed since.
    """
    if feed.partition_by_date or not feed.conditional_requests:
        return None
    event = context.instance.get_latest_materialization_event(context.asset_key)
    last = event.asset_materialization if event else None
    recorded: Mapping[str, dg.MetadataValue] = last.metadata if last else {}
    held = getattr(recorded.get(HELD), "value", None)
    if not isinstance(held, dict) or held.get("declared") != _declared(feed):
        return None
    with warehouse:
        if warehouse.state(feed.destination) != held.get("table"):
            return None
    from feed_assets.download import Validators

    kept = {name: recorded[name] for name in KEPT}
    plain = {name: recorded[name].value for name in (HASH, ROWS)}
    return LastImport(
        Validators(held.get("etag"), held.get("last_modified")),
        {**kept, **plain, "unchanged": True},
    )


def _declared(feed: Feed) -> str:
    """With the version, as another one may read the same feed otherwise."""
    return f"{feed.fingerprint} {version('feed_assets')}"
