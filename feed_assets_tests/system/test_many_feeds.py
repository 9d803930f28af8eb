"""Hundreds of feeds: what each costs to load does not grow with the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.loading import DATASETS, project
from feed_assets_tests.dagster.test_definitions import ALERTS
from feed_assets_tests.support import warm

COUNT = "feed_assets_tests.support.dagster.loading:print_calls"
POOLS = "feed_assets_tests.support.dagster.loading:print_pools"
MOST_CALLS = 50_000
"""Of Python functions, for one feed, its schedule and checks, and at times its view. With 200 that
is ten million, of which Python makes some five in a second."""


def printed(folder: Path, program: str) -> str:
    others = {name: value for name, value in os.environ.items() if name != ALERTS}
    environment = {**others, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"}
    status, text = warm.run(program, [], folder, environment)
    assert status == 0, text
    return text


def test_a_feed_costs_as_much_to_load_among_many_as_among_few(tmp_path: Path) -> None:
    """Counted, as a clock measures whatever else the machine does."""
    few, some, many = (
        int(printed(project(tmp_path / str(feeds), feeds), COUNT)) for feeds in (2, 12, 32)
    )
    among_few, among_many = (some - few) / 10, (many - some) / 20
    assert among_many < 1.1 * among_few
    assert among_many < MOST_CALLS


def test_each_feed_has_a_pool_and_each_dataset_a_group(tmp_path: Path) -> None:
    lines = printed(project(tmp_path / "project", 10), POOLS).splitlines()
    expected = []
    for number in range(10):
        dataset = DATASETS[number % 5]
        name = f"{dataset}_{number:03}"
        expected.append(f"{name} {dataset} {name}")
        if number % 2 == 0:
            expected.append(f"{name}_latest {dataset}")
    assert lines == sorted(expected)


@pytest.fixture(autouse=True)
def duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEED_ASSETS_WAREHOUSE", raising=False)
