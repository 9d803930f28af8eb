"""docs/columns.md: columns are stored as its table shows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from feed_assets.config.columns import Columns
from feed_assets.schema.selection import Selection
from feed_assets_tests.system.docs.pages import code, page
from feed_assets_tests.unit.ndjson.feeds import read_lines

COLUMNS = page("columns.md")
ROWS = COLUMNS.table_under("Columns")


def shown(value: Any) -> Any:
    """Shorten hashes as the page does."""
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    is_hash = isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
    return f"{value[:6]}…" if is_hash else value


@pytest.mark.parametrize(("line", "columns", "stored"), ROWS)
def test_columns_are_stored_as_the_page_shows(line: str, columns: str, stored: str) -> None:
    declared = yaml.safe_load(code(columns))
    if "hash" in declared:
        declared["hash_key_env"] = "CRM_HASH_KEY"
    found = Columns(**declared).selection
    key = b"an example of a key"
    selection = Selection(found.exclude, found.include, found.hash, found.rename, key)
    (row,) = read_lines(code(line), columns=selection).table.to_pylist()
    assert shown(row) == json.loads(code(stored))
