"""docs/feed-format.md: both servers work, and each answer has the effect that the page states."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests
import yaml

from feed_assets.config.feed import Feed
from feed_assets.download import Unchanged
from feed_assets.download.prefetch import PendingDay, PrefetchedDay, prefetch_days
from feed_assets.errors import AccessRefused, BadLines, NotNdjson, Truncated, Unreachable
from feed_assets.importing.import_feed import store
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.project_copy import free_ports, start_command
from feed_assets_tests.support.servers.feed import Answer, FeedServer
from feed_assets_tests.system.docs.example import CREDENTIALS, import_days
from feed_assets_tests.system.docs.page_runner import FILE
from feed_assets_tests.system.docs.pages import code, page
from feed_assets_tests.unit.ndjson.feeds import read_bytes, read_lines

FORMAT = page("feed-format.md")
SERVERS = {"python": "python3", "javascript": "node"}
DAY = date(2020, 1, 20)


def program(name: str) -> str:
    """Return the path of a program; Playwright's wheel has Node."""
    found = shutil.which(name)
    if found is None and name == "node" and (spec := find_spec("playwright")) and spec.origin:
        found = str(Path(spec.origin).parent / "driver" / "node")
    assert found, f"install {name}, for which docs/feed-format.md has an example"
    return found


@contextmanager
def served(kind: str, folder: Path, *changes: tuple[str, str]) -> Iterator[str]:
    """Serve the example with these changes to its text. Yield its URL."""
    (block,) = (block for block in FORMAT.of(kind) if FILE.match(block.text))
    port = str(free_ports(1)[0])
    file = folder / f"server.{'py' if kind == 'python' else 'mjs'}"
    text = block.text
    for old, new in (("8000", port), *changes):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    process = start_command(f"exec {program(SERVERS[kind])} {file}", folder)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        yield f"http://127.0.0.1:{port}/feed.ndjson"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(params=SERVERS)
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with served(request.param, tmp_path) as address:
        yield address


def feed(url: str, **attributes: object) -> Feed:
    (block,) = (each for each in FORMAT.of("yaml") if each.text.startswith("type:"))
    return Feed(**{**yaml.safe_load(block.text)["attributes"], "url": url, **attributes})


def test_a_day_of_the_shop_and_the_snapshot_are_imported(url: str, tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    import_days(feed(url), [date(2020, 1, 15), date(2020, 1, 19), DAY], warehouse)
    import_days(feed(url, table="all_orders", partition_by_date=None), [None], warehouse)

    def orders(name: str) -> list[str]:
        return sorted(row["orderId"] for row in warehouse.read(Table("shop", name)).to_pylist())

    with warehouse:
        found = [orders(f"orders_202001{day}") for day in (15, 19, 20)]
        assert found == [["N1"], [], ["N2", "N3"]]  # N2: after midnight in Berlin
        assert orders("all_orders") == ["N1", "N2", "N3"]


def test_a_request_without_account_or_with_an_invalid_day_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests.get(f"{url}?date=soon", auth=("crm", "example"), timeout=10)
    assert asked.status_code == 400
    monkeypatch.setenv("CRM_FEED_PASSWORD", "wrong")
    ((_, delivered),) = prefetch_days(feed(url), [DAY])
    assert isinstance(delivered, AccessRefused)


def test_each_answer_marks_its_end(url: str, tmp_path: Path) -> None:
    with DuckDBWarehouse(tmp_path / "warehouse.duckdb") as warehouse:
        for _, delivered in prefetch_days(feed(url), [DAY]):
            assert isinstance(delivered, PendingDay)
            store(delivered, warehouse, attempt="1")
            assert delivered.download.info.result().end_is_marked


BREAKS = {
    "python": [("PAGE = 1000", "PAGE = 1"), ('last = page[-1]["orderId"]', "raise OSError")],
    "javascript": [("PAGE = 1000", "PAGE = 1"), ("ORDERS.filter", "(last ? none : ORDERS).filter")],
}
"""Changes that make an example fail at its second page."""


@pytest.mark.parametrize("kind", SERVERS)
def test_an_answer_that_fails_half_way_is_an_incomplete_body(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with (
        served(kind, tmp_path, *BREAKS[kind]) as url,
        DuckDBWarehouse(tmp_path / "warehouse.duckdb") as warehouse,
        pytest.raises((Truncated, Unreachable)),
    ):
        import_days(feed(url, max_attempts=1), [DAY], warehouse)


def test_an_unchanged_snapshot_is_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with (
        served("python", tmp_path) as url,
        DuckDBWarehouse(tmp_path / "warehouse.duckdb") as warehouse,
    ):
        snapshot = feed(url, partition_by_date=None)
        for _, delivered in prefetch_days(snapshot, [None]):
            assert isinstance(delivered, PendingDay)
            store(delivered, warehouse, attempt="1")
            validators = delivered.download.info.result().validators
        ((_, again),) = prefetch_days(snapshot, [None], if_changed_from=validators)
    assert isinstance(again, Unchanged)


LINES, ANSWERS = (
    [row for row in table if row[0] != header]
    for header, table in (
        ("line", FORMAT.table_under("Lines that are refused")),
        ("answer", FORMAT.table_under("Lines that are refused", 2)),
    )
)


@pytest.mark.parametrize(("line", "text"), LINES)
def test_the_reason_for_a_bad_line_is_the_one_on_the_page(line: str, text: str) -> None:
    with pytest.raises(BadLines) as refused:
        read_lines('{"orderId": "N0"}', code(line))
    assert refused.value.first.reason == text


@pytest.mark.parametrize(("answer", "text"), ANSWERS)
def test_an_answer_that_is_not_ndjson_is_named(answer: str, text: str) -> None:
    with pytest.raises(NotNdjson, match=re.escape(text)):
        read_bytes(code(answer).replace("\\n", "\n").encode())


STATUSES = FORMAT.table_under("Status codes")


def expected(text: str) -> str:
    for words, outcome in (
        ("an error", "fails"),
        ("fails at once", "fails"),
        ("tried again", "tried again"),
        ("followed", "followed"),
        ("not loaded again", "unchanged"),
    ):
        if words in text:
            return outcome
    return "taken"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (int(status), text)
        for codes, text in STATUSES
        for status in codes.replace("5xx", "500, 502, 503")
        .replace("another 4xx", "400, 422")
        .split(", ")
        if status not in {"1xx", "202", "206"}  # test_faults.py and others have them
    ],
)
def test_a_status_code_has_the_effect_that_the_page_states(
    status: int, text: str, server: FeedServer
) -> None:
    def answer(path: str) -> Answer:
        if "moved" in path or status not in range(300, 400):
            return Answer(b'{"id": 1}\n', status if status < 300 or status >= 400 else 200)
        return Answer(b"", status, {"Location": "/moved", "ETag": '"1"'})

    server.answer = answer
    shown = Feed(name="orders", url=server.url, dataset="crm", max_attempts=2, retry_wait=0)
    from feed_assets.download import Validators

    validators = Validators('"1"') if status == 304 else None
    ((_, delivered),) = [
        (day, _whole(each))
        for day, each in prefetch_days(shown, [None], if_changed_from=validators)
    ]
    outcomes: dict[str, Callable[[], bool]] = {
        "taken": lambda: isinstance(delivered, PendingDay) and len(server.requests) == 1,
        "followed": lambda: isinstance(delivered, PendingDay) and len(server.requests) == 2,
        "unchanged": lambda: isinstance(delivered, Unchanged),
        "fails": lambda: isinstance(delivered, Exception) and len(server.requests) == 1,
        "tried again": lambda: isinstance(delivered, Exception) and len(server.requests) == 2,
    }
    assert outcomes[expected(text)](), delivered


def _whole(delivered: PrefetchedDay) -> PrefetchedDay:
    if isinstance(delivered, PendingDay):
        delivered.download.info.result(10)
    return delivered
