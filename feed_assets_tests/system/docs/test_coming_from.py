"""docs/coming-from.md: its steps continue with the shards of another tool."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
import yaml

from feed_assets.config.feed import Feed
from feed_assets.errors import TypeConflict
from feed_assets.schema.columns import columns_of
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.conform import conform
from feed_assets_tests.support.servers.feed import FeedServer, lines
from feed_assets_tests.system.docs.example import import_days
from feed_assets_tests.system.docs.pages import page

COMING = page("coming-from.md")
STOOD, NEW = date(2020, 1, 2), date(2020, 1, 3)
STANDING: dict[str, list[Any]] = {
    "dealId": ["D1"],
    "createdAt": [date(2020, 1, 1)],
    "updatedAt": [datetime(2020, 1, 1, 10, tzinfo=UTC)],
    "score": [5],
    "coupon": ["X"],
}
ROW = {
    "dealId": "D1",
    "createdAt": "2020-01-01",
    "updatedAt": "2020-01-03T10:00:00Z",
    "score": 6,
    "coupon": 12,
    "stage": "won",
}
Declaration = Callable[..., Feed]


@pytest.fixture
def deals(server: FeedServer, dataset: str) -> Declaration:
    """The page's feed, with changed attributes."""
    declared_feeds = [yaml.safe_load(block.text)["attributes"] for block in COMING.of("yaml")]
    (attributes,) = (each for each in declared_feeds if each["name"] == "deals")
    server.answer = lambda path: lines(ROW)

    def declared(**changed: Any) -> Feed:
        ours = {"url": server.url, "dataset": dataset, "basic_auth": None}
        return Feed(**{**attributes, **ours, **changed})

    return declared


def stand(warehouse: Warehouse, shard: Table, rows: dict[str, list[Any]]) -> None:
    """Create a shard as another tool does, without known columns."""
    columns = columns_of(pa.table(rows).schema)
    warehouse.replace(shard, conform(pa.table(rows), columns), columns, attempt=uuid4().hex)


def test_imports_continue_with_existing_shards_once_types_are_declared(
    warehouse: Warehouse, deals: Declaration
) -> None:
    table = deals().destination
    stand(warehouse, table.shard(STOOD), STANDING)

    with pytest.raises(TypeConflict) as conflict:
        import_days(deals(types={}), [NEW], warehouse)
    (block,) = COMING.of("text")
    assert str(conflict.value).replace(table.dataset, "crm") == block.text.strip()

    import_days(deals(), [NEW], warehouse)
    with warehouse:
        warehouse.update_latest(table, ["dealId"], "createdAt")
        columns = [f"{c.name} {c}" for c in warehouse.columns(table.shard(NEW)) or ()]
        (row,) = warehouse.read(table).to_pylist()
    assert columns == [
        "dealId STRING",
        "createdAt DATE",
        "updatedAt TIMESTAMP",
        "score INTEGER",
        "coupon STRING",
        "stage STRING",
    ]
    assert (row["coupon"], row["score"], row["stage"]) == ("12", 6, "won")


def test_existing_integers_refuse_fractions_unless_they_were_altered_to_float(
    warehouse: Warehouse, deals: Declaration, server: FeedServer
) -> None:
    table = deals().destination
    server.answer = lambda path: lines({**ROW, "score": 6.5})
    stand(warehouse, table.shard(STOOD), STANDING)
    with pytest.raises(TypeConflict, match=r"column score .* beyond 2\^53"):
        import_days(deals(), [NEW], warehouse)

    stand(warehouse, table.shard(STOOD), {**STANDING, "score": [5.0]})
    import_days(deals(), [NEW], warehouse)


def test_a_declared_type_resolves_shards_with_different_types(
    warehouse: Warehouse, deals: Declaration
) -> None:
    table = deals().destination
    stand(warehouse, table.shard(STOOD), {**STANDING, "coupon": [date(2020, 1, 1)]})
    stand(warehouse, table.shard(NEW), {**STANDING, "coupon": [12]})
    with pytest.raises(TypeConflict, match="column coupon"):
        import_days(deals(), [NEW], warehouse)

    import_days(deals(types={"createdAt": "DATE", "coupon": "STRING"}), [NEW], warehouse)

    with warehouse:
        (row,) = warehouse.read(table.shard(NEW)).to_pylist()
    assert row["coupon"] == "12"


def test_a_snapshot_replaces_an_existing_table_and_its_columns(
    warehouse: Warehouse, deals: Declaration
) -> None:
    snapshot = deals(partition_by_date=None)
    stand(warehouse, snapshot.destination, {**STANDING, "theirs": [1]})

    import_days(snapshot, [None], warehouse)

    with warehouse:
        (row,) = warehouse.read(snapshot.destination).to_pylist()
    assert row.keys() == ROW.keys()
