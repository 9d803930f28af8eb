"""Skip loading a snapshot that is unchanged at the server and in its table."""

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
    """The last import of a snapshot whose table has not changed since."""

    validators: Validators
    metadata: dict[str, Any]
    """Recorded metadata that is still valid."""


def state_metadata(state: SnapshotState, feed: Feed) -> dict[str, Any]:
    """Return the metadata that the next run needs to skip an unchanged snapshot."""
    return {
        HELD: dg.MetadataValue.json(
            {**asdict(state.validators), "table": state.table, "declared": _declared(feed)}
        )
    }


def last_import(
    context: dg.AssetExecutionContext, feed: Feed, warehouse: Warehouse
) -> LastImport | None:
    """Return the import to reuse if the server reports no change, or None.

    The feed's declaration and its table must be unchanged since that import.
    """
    if feed.partition_by_date or not feed.conditional_requests:
        return None
    event = context.instance.get_latest_materialization_event(context.asset_key)
    last = event.asset_materialization if event else None
    recorded: Mapping[str, dg.MetadataValue] = last.metadata if last else {}
    state = getattr(recorded.get(HELD), "value", None)
    if not isinstance(state, dict) or state.get("declared") != _declared(feed):
        return None
    with warehouse:
        if warehouse.content_token(feed.destination) != state.get("table"):
            return None
    from feed_assets.download import Validators

    shown = {name: recorded[name] for name in KEPT}
    plain = {name: recorded[name].value for name in (HASH, ROWS)}
    return LastImport(
        Validators(state.get("etag"), state.get("last_modified")),
        {**shown, **plain, "unchanged": True},
    )


def _declared(feed: Feed) -> str:
    """Return the declaration's hash and our version; versions may infer types differently."""
    return f"{feed.fingerprint} {version('feed_assets')}"
