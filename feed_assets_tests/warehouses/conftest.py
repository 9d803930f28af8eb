"""The table that most tests of the warehouses store rows in."""

from __future__ import annotations

import pytest

from feed_assets.schema.table import Table


@pytest.fixture
def orders(dataset: str) -> Table:
    return Table(dataset, "orders")
