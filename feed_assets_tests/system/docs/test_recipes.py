"""docs/recipes.md: each feed makes the requests that the page shows, and stores the answers."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from feed_assets.config.feed import Feed
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.servers.feed import Answer, FeedServer
from feed_assets_tests.system.docs.example import import_days
from feed_assets_tests.system.docs.pages import code, page

RECIPES = page("recipes.md")
HOST = "https://crm.example.com"
DAY = date(2020, 1, 20)
SHAPES = re.findall(r"^## (.+)$", RECIPES.text, re.MULTILINE)
ENVIRONMENT = {"CRM_CLIENT_ID": "id", "CRM_CLIENT_SECRET": "example", "CRM_KEY": "example"}


def test_the_page_has_nine_shapes() -> None:
    assert len(SHAPES) == len(RECIPES.of("yaml")) == 9


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_imported_as_the_page_shows(
    shape: str, server: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    declared = RECIPES.of("yaml")[SHAPES.index(shape)].text
    address = server.url.removesuffix("/feed")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    feed = Feed(
        **yaml.safe_load(declared.replace(HOST, address))["attributes"],
        retry_wait=0,
        max_attempts=1,
    )
    shown = [(code(request), answer) for request, answer in RECIPES.table_under(shape)]
    answers = [_answer(answer) for _, answer in shown]
    server.answer = lambda _: answers.pop(0)
    server.token = lambda: answers.pop(0)
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")

    import_days(feed, [DAY if feed.partition_by_date else None], warehouse)

    asked = [f"POST {path}" for path, *_ in server.posts]
    asked += [f"GET {path}" for path, _ in server.requests]
    assert asked == [request for request, _ in shown]
    if feed.oauth2:
        assert server.requests[0][1]["Authorization"] == "Bearer abc.def"
    table = Table("crm", feed.name)
    with warehouse:
        rows = warehouse.read(table.shard(DAY) if feed.partition_by_date else table).to_pylist()
    assert [row["orderId"] for row in rows] == ["N2", "N3"]


def _answer(cell: str) -> Answer:
    if cell.isdigit():
        return Answer(status=int(cell))
    return Answer(code(cell).replace("\\n", "\n").encode())
