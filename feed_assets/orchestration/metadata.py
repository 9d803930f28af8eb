"""What the Dagster UI shows of an import, under Dagster's standard keys where it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from feed_assets.errors import FeedAssetsError, ImportFailed
from feed_assets.orchestration.unchanged import held_metadata

if TYPE_CHECKING:
    from feed_assets.importing import Import
    from feed_assets.warehouse.columns import Columns
    from feed_assets.warehouse.store import Stored

FAILED = "failed"
"""In the metadata of a failed import: why."""


def import_metadata(imported: Import) -> dict[str, Any]:
    """The metadata of one imported day or snapshot. Holds no row and no secret."""
    download, reading = imported.delivery.download, imported.reading
    whole = download.whole.result()  # or there would be no import
    return {
        **stored_metadata(imported.stored),
        "url": download.url,
        "bytes": whole.bytes,
        "download seconds": round(whole.seconds, 3),
        "content hash": whole.sha256,
        "bad lines": len(reading.bad_lines),
        **({} if whole.marked else {"end of the answer": "not told by the server"}),
        **_listed("untyped columns", reading.untyped),
        **_listed("renamed columns", [f"{old} → {new}" for old, new in reading.renamed.items()]),
        **_listed(
            "nulls dropped from arrays",
            [f"{path}: {count}" for path, count in reading.dropped_nulls.items()],
        ),
        **(held_metadata(imported.held, imported.delivery.feed) if imported.held else {}),
    }


def stored_metadata(stored: Stored) -> dict[str, Any]:
    """The metadata of rows stored, whoever they came from."""
    changed = [f"{path}: {old} → {new}" for path, (old, new) in stored.changed.items()]
    return {
        "dagster/row_count": stored.rows,
        "dagster/column_schema": _schema(stored.columns),
        **({"dagster/table_name": str(stored.table)} if stored.table else {}),
        "store seconds": round(stored.seconds, 3),
        **stored.figures,
        **_listed("new columns", [f"{path}: {column}" for path, column in stored.added.items()]),
        **_listed("changed types", changed),
    }


def failure_metadata(failure: FeedAssetsError) -> dict[str, Any]:
    """Of an import that failed: its reasons, each with its days and its kind of error."""
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
    """One line for the log."""
    stored, reading = imported.stored, imported.reading
    parts = [
        f"{stored.table or 'no table, as no column is known yet'}: {stored.rows} rows",
        f"{imported.reading.bytes} bytes",
    ]
    if reading.bad_lines:
        parts.append(f"{len(reading.bad_lines)} bad lines, first {reading.bad_lines[0]}")
    if reading.renamed:
        parts.append(f"renamed columns {', '.join(reading.renamed)}")
    if stored.added:
        parts.append(f"new columns {', '.join(stored.added)}")
    if stored.changed:
        parts.append(f"changed types of {', '.join(stored.changed)}")
    return ", ".join(parts)


def _schema(columns: Columns) -> dg.TableSchema:
    from feed_assets.warehouse.columns import paths

    return dg.TableSchema(
        [dg.TableColumn(path, type=str(column)) for path, column in paths(columns)]
    )


def _listed(name: str, items: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """A metadata entry for what there is some of; nothing for what there is none of."""
    return {name: dg.MetadataValue.json(list(items))} if items else {}
