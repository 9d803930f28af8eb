"""Hundreds of feeds: the cost of loading each one does not grow with their number."""

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
"""Calls of Python functions for one feed, its schedule, its checks and sometimes its view.

200 feeds make ten million calls, about two seconds of work for Python."""


def printed(folder: Path, program: str) -> str:
    others = {name: value for name, value in os.environ.items() if name != ALERTS}
    environment = {**others, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"}
    status, text = warm.run(program, [], folder, environment)
    assert status == 0, text
    return text


def test_the_cost_of_loading_a_feed_does_not_grow_with_their_number(tmp_path: Path) -> None:
    """Calls are counted, because times depend on the load of the machine."""
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
