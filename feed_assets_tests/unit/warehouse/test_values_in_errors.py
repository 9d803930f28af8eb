"""Errors of the warehouses quote values only in full."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest

from feed_assets.errors import WarehouseFailed, full_text
from feed_assets.schema.columns import Column
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.errors import message_of
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

EMAIL = "ada@example.org"
JSON = (Column("it", "JSON"),)


def test_duckdbs_error_about_a_value_shows_only_its_kind(tmp_path: Path) -> None:
    rows = conform(pa.table({"it": [f"{{{EMAIL}"]}), JSON)
    with pytest.raises(WarehouseFailed) as refused:
        DuckDBWarehouse(tmp_path / "w.duckdb").replace(Table("crm", "o"), rows, JSON, attempt="1")
    assert str(refused.value).endswith(" refused: Conversion Error")
    assert EMAIL in full_text(refused.value.sentence)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"Bad double value: {EMAIL}", "Bad double value"),
        (f"Invalid datetime value: {EMAIL}", "Invalid datetime value"),
        (f"Could not cast literal '{EMAIL}' to type DATE", "Could not cast"),
        (f"Error while reading data, error message: {EMAIL}", "Error while reading data"),
        ("Not found: Dataset p:crm", "Not found: Dataset p:crm"),
    ],
)
def test_bigquerys_message_ends_before_a_value(message: str, shown: str) -> None:
    found = message_of(BadRequest(message))  # type: ignore[no-untyped-call]  # Google's has none
    assert str(found) == shown
    assert full_text(found) == message
