"""A run writes no value of a row outside the warehouse, unless the feed allows it."""

from __future__ import annotations

import hmac
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feed_assets.alerts.messages import failed
from feed_assets.orchestration.run_outcomes import read_run
from feed_assets_tests.support.dagster.instances import instance_of
from feed_assets_tests.support.dagster.project import SNAPSHOT, Project
from feed_assets_tests.support.servers.feed import FeedServer, lines

KEY = "0123456789abcdef"
EMAIL, PHONE = "ada@example.org", "555-0199"
COLUMNS = {"exclude": ["email", "c.email"], "hash": ["phone"], "hash_key_env": "HASH_KEY"}
GOOD = {"id": 1, "email": EMAIL, "phone": PHONE, "c": {"email": EMAIL, "n": 5}}
BAD: list[Any] = [
    f'{{"email": "{EMAIL}", "phone": "{PHONE}",}}',
    {**GOOD, "phone": {"mobile": PHONE}},
    {**GOOD, "id": EMAIL},
    f'{{"c": {{"{EMAIL}": 1, "{EMAIL}": 2}}}}',
    f'["{EMAIL}", "{PHONE}"]',
]


@pytest.fixture(autouse=True)
def hash_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASH_KEY", KEY)


def events_and_alerts(orders: Project, run: dg.ExecuteInProcessResult) -> str:
    """Return everything Dagster stores about a run, and its alerts."""
    record = orders.instance.get_run_by_id(run.run_id)
    assert record is not None
    shown = list(map(repr, orders.instance.all_logs(run.run_id)))
    problems = read_run(orders.instance, record, {"orders"}).problems
    return "".join([*shown, *(failed([each], "").body for each in problems)])


def assert_private(text: str) -> None:
    for secret in (EMAIL, PHONE, KEY):
        assert secret not in text


@pytest.mark.parametrize("max_bad_lines", [0, len(BAD)])
def test_a_run_shows_nothing_of_private_columns(
    project: Callable[..., Project], capfd: pytest.CaptureFixture[str], max_bad_lines: int
) -> None:
    orders = project(
        key=["phone"],
        types={"id": "INTEGER"},
        columns=COLUMNS,
        max_bad_lines=max_bad_lines,
        quote_rows=True,
    )
    orders.server.answer = lambda path: lines(GOOD, GOOD, *BAD)
    run = orders.run()

    assert run.success is bool(max_bad_lines)
    shown = events_and_alerts(orders, run)
    printed = capfd.readouterr()
    for text in (shown, printed.out, printed.err):
        assert_private(text)
    if not max_bad_lines:
        assert "line 3 is not JSON" in orders.reason(run)
        return
    phone = hmac.new(KEY.encode(), PHONE.encode(), "sha256").hexdigest()
    assert orders.rows() == [{"id": 1, "phone": phone, "c": {"n": 5}}] * 2
    assert_private(json.dumps(orders.rows(SNAPSHOT.rejected)))
    assert phone in shown  # the repeated key, as it is stored


BY_DATE = {"partition_by_date": {"start_date": "2020-01-20"}, "key": ["id"]}
BORN = "1815-12-10"
ROW = {"id": "N1", "email": EMAIL, "at": BORN}
SHOWING: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "a key": ({"key": ["email"]}, [ROW, ROW], EMAIL),
    "a day": ({**BY_DATE, "updated_at": "at"}, [ROW], BORN),
    "an updated_at": ({**BY_DATE, "updated_at": "email"}, [ROW], EMAIL),
    "a value": ({"types": {"email": "INTEGER"}}, [ROW], EMAIL),
    "an accepted line": ({"max_bad_lines": 1}, [ROW, f'{{"{EMAIL}": 1, "{EMAIL}": 2}}'], EMAIL),
}


@pytest.mark.parametrize("quote_rows", [False, True])
def test_values_of_rows_are_in_the_warehouse_only_unless_the_feed_quotes_them(
    server: FeedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    quote_rows: bool,
) -> None:
    """The event log, its database, metadata, captured output, alerts, temporary files' names."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    opened = list[str]()
    recording = True

    def record(event: str, arguments: tuple[Any, ...]) -> None:
        if recording and event in {"open", "os.mkdir"}:
            opened.append(str(arguments[0]))

    sys.addaudithook(record)
    shown = {}
    with instance_of(home) as instance:
        for name, (attributes, rows, _) in SHOWING.items():
            where = tmp_path / name.replace(" ", "_")
            where.mkdir()
            orders = Project(server, where, instance, quote_rows=quote_rows, **attributes)
            answer = lines(*rows)
            server.answer = lambda path, answer=answer: answer  # type: ignore[misc]
            day = ["2020-01-20"] if "partition_by_date" in attributes else []
            shown[name] = events_and_alerts(orders, orders.run(*day))
            if name == "an accepted line":
                assert EMAIL in json.dumps(orders.rows(SNAPSHOT.rejected))
    recording = False
    printed = capfd.readouterr()
    written = [*home.rglob("*"), *temporary.rglob("*")]
    database = b"".join(path.read_bytes() for path in written if path.is_file())
    assert b"orders" in database
    for name, (*_, value) in SHOWING.items():
        assert (value in shown[name]) is quote_rows, name
    for text in (printed.out, printed.err, *map(str, written), *opened):
        assert EMAIL not in text
    assert (EMAIL.encode() in database) is quote_rows


def test_a_mistyped_path_is_a_warning_of_its_own_check(project: Callable[..., Project]) -> None:
    orders = project(columns={"exclude": ["emial"]})
    orders.server.answer = lambda path: lines({"id": 1, "email": EMAIL})
    run = orders.run()

    (check,) = [each for each in run.get_asset_check_evaluations() if each.check_name == "columns"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "columns names emial, which no row has; check the spelling"


def test_a_run_without_the_key_of_hashes_requests_nothing(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HASH_KEY")
    orders = project(columns=COLUMNS)
    run = orders.run()
    assert "the environment variable HASH_KEY is not set" in orders.reason(run)
    assert not orders.server.requests
