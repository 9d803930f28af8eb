"""A run whose process is killed does not block its feed: from the command line, and in the UI."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feed_assets.demo import crm
from feed_assets_tests.support import warm
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import Exchange, FaultProxy
from feed_assets_tests.support.dagster.client import (
    copied_project,
    waited_for,
)
from feed_assets_tests.support.dagster.running import RunningDagster
from feed_assets_tests.support.project_copy import PROJECT
from feed_assets_tests.support.servers.feed import Answer, FeedServer, feed_server, lines

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("services")]
FEED = "crm_orders_snapshot"


class Gate:
    """Answer of a feed's server that waits until the gate is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def answer(self, path: str) -> Answer:
        assert self.open.wait(120)
        return lines(*crm.now())


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def server(gate: Gate) -> Iterator[FeedServer]:
    with feed_server() as server:
        server.answer = gate.answer
        yield server
        gate.open.set()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "deploy/local/dagster.yaml", home)
    return home


def environment(here: Path, project: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(project),
        "FEED_ASSETS_WAREHOUSE": f"duckdb://{here}/warehouse.duckdb",
        "CRM_FEED_USERNAME": "crm",
        "CRM_FEED_PASSWORD": "secret",
    }


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_a_killed_dg_launch_frees_its_slot(
    tmp_path: Path, home: Path, server: FeedServer, gate: Gate
) -> None:
    project = copied_project(tmp_path / "project", server.url.removesuffix("/feed"), {})
    env = {**os.environ, "DAGSTER_HOME": str(home), **environment(tmp_path, project)}
    launch = ["launch", "--assets", FEED]
    log = tmp_path / "second.log"
    with (
        (tmp_path / "first.log").open("wb") as output,
        warm.start("dg", launch, project, env, output) as first,
    ):
        waited_for("the request of the first", lambda: server.requests)
        with log.open("wb") as output, warm.start("dg", launch, project, env, output) as second:
            waited_for("the second to wait", lambda: "waits for run" in log.read_text())
            before, began = cpu_seconds(second.pid), time.monotonic()
            time.sleep(2)
            assert cpu_seconds(second.pid) - before < 0.3 * (time.monotonic() - began)
            os.kill(second.pid, signal.SIGTERM)
            assert second.poll(30) is not None
    gate.open.set()
    status, printed = warm.run("feed-assets", ["import", FEED], project, env)

    assert status == 0, printed
    assert printed.splitlines()[-1].startswith("crm.current_orders: 3 rows")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        third, _, killed = instance.get_runs()
        assert third.status is dg.DagsterRunStatus.SUCCESS
        assert killed.status is dg.DagsterRunStatus.FAILURE
        (failed,) = instance.all_logs(killed.run_id, dg.DagsterEventType.RUN_FAILURE)
        assert f"process {first.pid} of " in failed.message
        assert "was killed during the import; the table is whole" in failed.message
        assert instance.event_log_storage.get_concurrency_info(FEED).claimed_slots == []


def test_a_run_that_was_killed_with_all_of_dagster_frees_its_slot(
    running_dagster: RunningDagster, gate: Gate
) -> None:
    requested = threading.Event()

    def rows() -> Iterator[dict[str, Any]]:
        requested.set()
        assert gate.open.wait(120)
        yield from crm.now()

    running_dagster.answers[None] = rows()
    killed = running_dagster.client.launch_run(FEED)
    waited_for("the request of the first", requested.is_set)
    running_dagster.restart()
    gate.open.set()
    del running_dagster.answers[None]

    dagster = running_dagster.client
    assert dagster.run(dagster.launch_run(FEED)).status == "SUCCESS"
    assert dagster.run(killed).status == "FAILURE"
    with dg.DagsterInstance.from_config(str(running_dagster.home)) as instance:
        (failed,) = instance.all_logs(killed, dg.DagsterEventType.RUN_FAILURE)
    assert "was killed during the import; the table is whole" in failed.message


BACKFILL = "feed_assets_tests.support.dagster.project:import_into_bigquery"
DAYS = [f"2020-01-{day:02}" for day in range(1, 13)]
RECORDED = 2
"""Days that are recorded before the others are loaded and not recorded yet, or not loaded."""


def materialized(instance: dg.DagsterInstance) -> set[str]:
    return instance.get_materialized_partitions(dg.AssetKey("orders"))


def test_a_backfill_that_is_killed_while_days_are_loaded_at_once_is_completed_by_the_next_run(
    tmp_path: Path, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    """Columns and a wider type come with days that are under way when the process is killed."""
    rows: dict[str, dict[str, object]] = {
        day: {"id": f"N{day}", "total": 1.5 if day > DAYS[5] else 1} for day in DAYS
    }
    rows[DAYS[4]]["coupon"] = "X"
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}", encoding="utf-8")
    arrived, killed = list[str](), threading.Event()

    def hold(exchange: Exchange) -> None:
        job = exchange.proxy.uploaded(exchange.call)
        arrived.append(job["configuration"]["load"]["destinationTable"]["tableId"])
        day = int(arrived[-1][-2:])
        if day <= RECORDED:
            exchange.answer(exchange.forward())
        else:  # every other one of the remaining days is loaded
            if day % 2:
                exchange.forward()
            assert killed.wait(120)

    with feed_server() as server:
        server.answer = lambda path: lines(rows[path[-8:-4] + f"-{path[-4:-2]}-{path[-2:]}"])
        ends = [server.url, bigquery.url, dataset, DAYS[0], DAYS[-1]]
        arguments = [str(tmp_path), *ends]
        env = {**os.environ, "PYTHONPATH": str(PROJECT), "BIGQUERY_EMULATOR_HOST": proxy.url}
        proxy.on("upload", hold)
        with (
            dg.DagsterInstance.from_config(str(tmp_path)) as instance,
            (tmp_path / "killed.log").open("wb") as output,
            warm.start(BACKFILL, arguments, PROJECT, env, output) as program,
        ):
            waited_for("eight loads", lambda: len(arrived) == RECORDED + 8)
            waited_for("two days", lambda: len(materialized(instance)) == RECORDED)
            os.killpg(program.pid, signal.SIGKILL)
            assert program.poll(30) == -signal.SIGKILL
            assert materialized(instance) == set(DAYS[:RECORDED])
        killed.set()
        proxy.clear()
        status, printed = warm.run(BACKFILL, arguments, PROJECT, env)
        assert status == 0, printed

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert materialized(instance) == set(DAYS)
    found = bigquery.client().query_and_wait(f"SELECT * FROM `{dataset}.orders_*` ORDER BY id")
    types = {field.name: field.field_type for field in found.schema}
    assert types == {"id": "STRING", "total": "FLOAT", "coupon": "STRING"}
    stored = [{name: value for name, value in row.items() if value is not None} for row in found]
    assert stored == list(rows.values())
