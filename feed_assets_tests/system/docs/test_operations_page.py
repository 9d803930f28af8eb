"""docs/operations.md: it explains every error in the code's words, and its steps work."""

from __future__ import annotations

import ast
import inspect
from datetime import date
from functools import cache

import pytest

from feed_assets import errors
from feed_assets.config.feed import Feed
from feed_assets.errors import FeedAssetsError, TypeConflict
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets_tests.support.servers.feed import FeedServer, lines
from feed_assets_tests.system.docs.example import import_days
from feed_assets_tests.system.docs.pages import PROJECT, code, page

OPERATIONS = page("operations.md")
ERRORS = OPERATIONS.table_under("What each error means")
VARIES = "…"
DAYS = [date(2024, 5, 1), date(2024, 5, 2)]


@cache
def sentences() -> frozenset[str]:
    """Find every text in the code, with `…` for each formatted value."""
    found = set()
    for file in (PROJECT / "feed_assets").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (str(getattr(part, "value", "")) for part in node.values)
                fixed = (isinstance(part, ast.Constant) for part in node.values)
                pairs = zip(parts, fixed, strict=True)
                found.add("".join(part if is_fixed else VARIES for part, is_fixed in pairs))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return frozenset(found)


@pytest.mark.parametrize("text", [code(row[1]) for row in ERRORS if row[1]])
def test_a_message_of_the_page_is_in_the_code(text: str) -> None:
    assert any(text in sentence for sentence in sentences())


def test_every_error_is_explained() -> None:
    kinds = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, FeedAssetsError)
    }
    assert {code(row[0]) for row in ERRORS} == kinds


@pytest.mark.parametrize(("error", "passes"), sorted({(code(row[0]), row[3]) for row in ERRORS}))
def test_the_page_says_which_errors_are_transient(error: str, passes: str) -> None:
    kind = getattr(errors, error)
    if error in {"WarehouseFailed", "DiskFailed"}:  # it depends
        assert passes in {"yes", "no"}
    elif passes in {"yes", "no"}:
        assert kind.transient == (passes == "yes")


def test_a_type_that_must_change_is_changed_by_these_steps(
    server: FeedServer, warehouse: Warehouse, dataset: str
) -> None:
    attributes = {"name": "orders", "url": server.url, "dataset": dataset}
    by_date = {"partition_by_date": {"start_date": "2024-05-01"}}
    feed = Feed(**attributes, **by_date)
    server.answer = lambda path: lines({"zip": 10115})
    import_days(feed, DAYS[:1], warehouse)
    server.answer = lambda path: lines({"zip": 10115}, {"zip": "10115-B"})

    with pytest.raises(TypeConflict) as conflict:
        import_days(feed, DAYS[1:], warehouse)
    (block,) = OPERATIONS.of("text")
    assert str(conflict.value).replace(dataset, "crm") == block.text.strip()

    declared = Feed(**attributes, **by_date, types={"zip": "STRING"})
    import_days(declared, DAYS[1:], warehouse)

    def kinds() -> list[str]:
        with warehouse:
            found = [warehouse.columns(Table(dataset, "orders").shard(day)) for day in DAYS]
        return [str(column) for columns in found for column in columns or ()]

    assert kinds() == ["INTEGER", "STRING"]
    import_days(declared, DAYS, warehouse)
    assert kinds() == ["STRING", "STRING"]


def test_the_page_lists_every_check(server: FeedServer) -> None:
    from feed_assets.orchestration.asset_checks import check_specs
    from feed_assets.orchestration.assets import partitions

    feed = Feed(
        name="orders",
        url=server.url,
        dataset="crm",
        key=("id",),
        updated_at="at",
        partition_by_date={"start_date": "2024-05-01"},
        columns={"exclude": ["note"]},
    )
    listed = [code(row[0]) for row in OPERATIONS.table_under("Checks")]
    assert listed == [spec.name for spec in check_specs(feed, partitions(feed))]
