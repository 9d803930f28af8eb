"""More days than one query may refer to: the copy of all years that docs/production.md makes."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.dagster.client import PROJECT
from feed_assets_tests.support.killable_import import import_day

DAYS = {
    date(2019, 12, 30): [("N1", "2019-12-30", 10.0, "received")],
    date(2019, 12, 31): [("N1", "2019-12-31", 10.0, "shipped"), ("N2", "2019-12-31", 5.5, "new")],
    date(2020, 1, 1): [("N1", "2020-01-01", 10.0, "delivered")],
    date(2020, 1, 2): [("N3", "2020-01-02", 7.0, "new"), ("N2", "2020-01-02", 5.5, "refunded")],
}
NAMES = ("orderId", "updatedAt", "total", "status")


def test_the_copy_of_all_years_equals_the_view(bigquery: Emulator, dataset: str) -> None:
    client = bigquery.client()
    orders = Table(dataset, "orders")
    warehouse = BigQueryWarehouse(client)
    for day, rows in DAYS.items():
        import_day(warehouse, orders, day, [dict(zip(NAMES, row, strict=True)) for row in rows], "")
    warehouse.define_latest(orders, ["orderId"], "updatedAt")
    said = (PROJECT / "docs/production.md").read_text()
    said = said.replace("my-project.crm.", f"{client.project}.{dataset}.")
    said = re.sub(r"\bcrm\.all_orders", f"{dataset}.all_orders", said)
    of_a_year, make, add, latest = re.findall(
        r"^```sql\n(.*?)^```$", said, re.DOTALL | re.MULTILINE
    )

    def answer(query: str) -> list[Any]:
        return sorted(tuple(row.values()) for row in client.query_and_wait(query))

    answer(make)
    answer(add)
    once = answer(latest)
    answer(add)

    assert answer(of_a_year) == [("delivered", 1), ("new", 1), ("refunded", 1)]
    assert once == answer(latest)
    assert once == answer(f"SELECT {', '.join(NAMES)} FROM {dataset}.orders")
    assert [row[0] for row in once] == ["N1", "N2", "N3"]
