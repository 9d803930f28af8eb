"""Metadata of imports for the Dagster UI, under its standard keys where they exist."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.errors import FeedAssetsError, ImportFailed, Redacted, full_text
from feed_assets.masking import SecretMask
from feed_assets.orchestration.not_modified import state_metadata

if TYPE_CHECKING:
    from feed_assets.importing.import_feed import Import
    from feed_assets.schema.columns import Columns
    from feed_assets.warehouse.latest_state import LatestUpdate
    from feed_assets.warehouse.store import Stored

NO_DESCRIPTIONS: Mapping[str, str] = MappingProxyType({})
FAILED = "failed"
"""Metadata key for the reasons of a failed import."""


def import_metadata(imported: Import) -> dict[str, Any]:
    """Return the metadata of one imported day or snapshot, without any row or secret."""
    download, reading = imported.pending.download, imported.reading
    state = imported.snapshot_state
    info = download.info.result()  # or there would be no import
    descriptions = imported.pending.feed.table_descriptions
    return {
        **stored_metadata(imported.stored, descriptions),
        "url": download.url,
        "bytes": info.bytes,
        "download seconds": round(info.seconds, 3),
        "content hash": info.sha256,
        "bad lines": len(reading.bad_lines),
        **({} if info.end_is_marked else {"end of the answer": "not marked by the server"}),
        **_listed("described, but not in the feed so far", _not_sent(imported)),
        **_listed("untyped columns", reading.untyped),
        **_listed("renamed columns", [f"{old} → {new}" for old, new in reading.renamed.items()]),
        **_listed(
            "nulls dropped from arrays",
            [f"{path}: {count}" for path, count in reading.dropped_nulls.items()],
        ),
        **(state_metadata(state, imported.pending.feed) if state else {}),
    }


def masked(metadata: Mapping[str, Any], mask: SecretMask) -> dict[str, Any]:
    """Mask secrets in metadata; a server may return them, for example as a column name."""
    return {name: _masked(value, mask) for name, value in metadata.items()}


def _masked(value: Any, mask: SecretMask) -> Any:
    if isinstance(value, dg.JsonMetadataValue):
        return dg.MetadataValue.json(mask.values(value.data))
    if isinstance(value, dg.TableSchema):
        return dg.TableSchema(
            [dg.TableColumn(mask(each.name), each.type, each.description) for each in value.columns]
        )
    return mask.values(value)


def stored_metadata(
    stored: Stored, descriptions: Mapping[str, str] = NO_DESCRIPTIONS
) -> dict[str, Any]:
    """Return the metadata of stored rows, from a feed or any other asset."""
    changed = [f"{path}: {old} → {new}" for path, (old, new) in stored.changed.items()]
    return {
        "dagster/row_count": stored.rows,
        "dagster/column_schema": _schema(stored.columns, descriptions),
        **({"dagster/table_name": str(stored.table)} if stored.table else {}),
        "store seconds": round(stored.seconds, 3),
        **stored.figures,
        **_listed("new columns", [f"{path}: {column}" for path, column in stored.added.items()]),
        **_listed("changed types", changed),
        **_listed("removed columns", list(stored.removed)),
    }


def latest_metadata(feed: Feed, columns: Columns, updated: LatestUpdate) -> dict[str, Any]:
    """Return the metadata of an update of the latest state, with its columns' lineage."""
    schema = _schema(columns, feed.table_descriptions)
    lineage = {
        column.name: [dg.TableColumnDep(dg.AssetKey(feed.name), column.name)]
        for column in schema.columns
    }
    return {
        "dagster/table_name": str(feed.destination),
        "dagster/row_count": updated.rows,
        "dagster/column_schema": schema,
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
        "keys changed": updated.keys_changed,
        "keys recomputed": updated.keys_recomputed,
        "days applied": updated.days_applied,
        "days waiting": updated.days_waiting,
        **({"rebuilt": True} if updated.rebuilt else {}),
        **updated.figures,
    }


def failure_metadata(failure: FeedAssetsError) -> dict[str, Any]:
    """Return the reasons of a failed import, each with its days and error class."""
    if not isinstance(failure, ImportFailed):
        return {}
    facts = [
        {
            "days": [day for day in days if day],
            "reason": reason,
            "kind": type(failure.reasons[days[0]]).__name__,
        }
        for reason, days in failure.by_reason.items()
    ]
    return {FAILED: dg.MetadataValue.json(facts)}


def summary(imported: Import) -> str:
    """Summarize an import in one log line."""
    stored, reading = imported.stored, imported.reading
    parts = [
        f"{stored.table or 'no table, as no column is known yet'}: {stored.rows} rows",
        f"{imported.reading.bytes} bytes",
    ]
    if reading.bad_lines:
        first = reading.bad_lines[0].sentence
        parts.append(f"{len(reading.bad_lines)} bad lines, first " + first)
    if reading.renamed:
        parts.append(f"renamed columns {', '.join(reading.renamed)}")
    if missing := _not_sent(imported):
        parts.append(f"columns described, but not in the feed so far {', '.join(missing)}")
    if stored.added:
        parts.append(f"new columns {', '.join(stored.added)}")
    if stored.changed:
        parts.append(f"changed types of {', '.join(stored.changed)}")
    if stored.removed:
        parts.append(f"removed columns {', '.join(stored.removed)}")
    return Redacted(", ".join(parts), ", ".join(map(full_text, parts)))


def _schema(columns: Columns, descriptions: Mapping[str, str]) -> dg.TableSchema:
    from feed_assets.schema.columns import described, paths

    texts = described(columns, descriptions)
    return dg.TableSchema(
        [
            dg.TableColumn(path, type=str(column), description=texts.get(path))
            for path, column in paths(columns)
        ]
    )


def _not_sent(imported: Import) -> list[str]:
    """Return described columns that no import has had; they may be mistyped."""
    from feed_assets.schema.columns import source_paths

    known = {path for paths in source_paths(imported.stored.columns) for path in paths}
    return [path for path in imported.pending.feed.table_descriptions if path not in known]


def _listed(name: str, items: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Return a metadata entry for the items; none if there are no items."""
    return {name: dg.MetadataValue.json(list(items))} if items else {}
