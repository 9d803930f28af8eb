"""What columns leaves out or hashes is in no event, log, output or alert of a run."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from feed_assets.alerts.messages import failed
from feed_assets.orchestration.run_outcomes import read_run
from feed_assets_tests.support.dagster.project import SNAPSHOT, Project
from feed_assets_tests.support.servers.feed import lines

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


def assert_private(text: str) -> None:
    for secret in (EMAIL, PHONE, KEY):
        assert secret not in text


@pytest.mark.parametrize("max_bad_lines", [0, len(BAD)])
def test_a_run_shows_nothing_of_private_columns(
    project: Callable[..., Project], capfd: pytest.CaptureFixture[str], max_bad_lines: int
) -> None:
    orders = project(
        key=["phone"], types={"id": "INTEGER"}, columns=COLUMNS, max_bad_lines=max_bad_lines
    )
    orders.server.answer = lambda path: lines(GOOD, GOOD, *BAD)
    run = orders.run()

    assert run.success is bool(max_bad_lines)
    record = orders.instance.get_run_by_id(run.run_id)
    assert record is not None
    shown = ["".join(map(repr, orders.instance.all_logs(run.run_id)))]
    shown += [
        failed([each], "").body for each in read_run(orders.instance, record, {"orders"}).problems
    ]
    printed = capfd.readouterr()
    for text in (*shown, printed.out, printed.err):
        assert_private(text)
    if not max_bad_lines:
        assert "line 3 is not JSON" in orders.reason(run)
        return
    phone = hmac.new(KEY.encode(), PHONE.encode(), "sha256").hexdigest()
    assert orders.rows() == [{"id": 1, "phone": phone, "c": {"n": 5}}] * 2
    assert_private(json.dumps(orders.rows(SNAPSHOT.rejected)))
    assert phone in shown[0]  # the repeated key, as it is stored


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
