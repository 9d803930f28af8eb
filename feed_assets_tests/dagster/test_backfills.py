"""Many days in one run: each is stored once, whatever fails and whoever ends the run."""

from __future__ import annotations

import logging
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import dagster as dg
import duckdb
import pytest
import yaml

from feed_assets.config.feed import Feed
from feed_assets.download.prefetch import prefetch_days
from feed_assets.orchestration import progress
from feed_assets.orchestration.assets import feed_asset
from feed_assets.orchestration.progress import Progress
from feed_assets.orchestration.retries import as_retry_request
from feed_assets.orchestration.run_launcher import CheckedRunLauncher
from feed_assets.schema.table import Table
from feed_assets.warehouse import lease
from feed_assets.warehouse.lease import WarehouseLease
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import Exchange, FaultProxy
from feed_assets_tests.support.dagster.client import waited_for
from feed_assets_tests.support.dagster.instances import instance_of
from feed_assets_tests.support.dagster.project import Project, import_in_process
from feed_assets_tests.support.forked import PROCESSES
from feed_assets_tests.support.project_copy import PROJECT
from feed_assets_tests.support.servers import faulty
from feed_assets_tests.support.servers.faulty import faulty_server
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines

BY_DATE = {"start_date": "2020-01-01"}
ONCE = {"partition_by_date": BY_DATE, "max_attempts": 1, "run_retries": 2, "run_retry_wait": 0}
DAYS = [f"2020-01-{day:02}" for day in range(1, 8)]
BUSY, MISSING = Answer(status=503), Answer(status=404)


def answering(server: FeedServer, **answers: list[Answer]) -> None:
    """Serve each day in turn the answers given as `d20200101=[...]`, then its one row."""

    def answer(path: str) -> Answer:
        day = path.rpartition("=")[2]
        left = answers.get(f"d{day}", [])
        return left.pop(0) if left else lines({"id": day})

    server.answer = answer


def asked(server: FeedServer) -> Counter[str]:
    """Count the requests for each day."""
    return Counter(path.rpartition("=")[2] for path, _ in server.requests)


def retries(run: dg.ExecuteInProcessResult) -> int:
    return sum(event.is_step_up_for_retry for event in run.all_events)


@pytest.fixture
def once(project: Callable[..., Project]) -> Project:
    """A feed by date whose failed requests are repeated by Dagster only."""
    return project(**ONCE)


def events(project: Project, run_id: str) -> Counter[str | None]:
    """Count the materializations that a run recorded for each day."""
    logs = project.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return Counter(entry.dagster_event.partition for entry in logs if entry.dagster_event)


def test_a_retry_does_only_the_days_that_failed(once: Project) -> None:
    answering(once.server, d20200103=[BUSY, BUSY], d20200105=[BUSY])

    run = once.run(DAYS[0], DAYS[-1])

    assert run.success
    assert retries(run) == 2
    assert asked(once.server) == {**dict.fromkeys(day(DAYS), 1), "20200103": 3, "20200105": 2}
    assert events(once, run.run_id) == dict.fromkeys(DAYS, 1)
    assert once.rows(Table("crm", "orders_20200103")) == [{"id": "20200103"}]


def day(keys: list[str]) -> list[str]:
    return [key.replace("-", "") for key in keys]


def test_days_that_failed_permanently_are_not_requested_again_and_are_named_at_the_end(
    once: Project,
) -> None:
    answering(once.server, d20200102=[MISSING], d20200103=[BUSY], d20200104=[lines("{oops")])

    run = once.run(DAYS[0], DAYS[-1])

    assert not run.success
    assert asked(once.server) == {**dict.fromkeys(day(DAYS), 1), "20200103": 2}
    first, second = once.reason(run).splitlines()
    assert first.startswith("orders 2020-01-02: ")
    assert second.startswith("orders 2020-01-04: line 1 is not JSON")
    assert once.materialized() == set(DAYS) - {"2020-01-02", "2020-01-04"}
    assert set(events(once, run.run_id).values()) == {1}


def test_an_import_that_always_fails_ends_with_its_reason(once: Project) -> None:
    answering(once.server, d20200101=[BUSY] * 9)

    run = once.run("2020-01-01")

    assert not run.success
    assert asked(once.server) == {"20200101": 3}
    assert once.reason(run).startswith("orders 2020-01-01: http://127.0.0.1")
    assert "answered 503" in once.reason(run)


def test_a_snapshot_is_retried_too(project: Callable[..., Project]) -> None:
    snapshot = project(**{**ONCE, "partition_by_date": None})
    answers = [BUSY, lines({"id": "N1"})]
    snapshot.server.answer = lambda path: answers.pop(0)

    assert snapshot.run().success
    assert snapshot.rows() == [{"id": "N1"}]


@pytest.mark.parametrize("answer", [Answer(status=401), MISSING, lines("{oops")])
def test_permanent_failures_are_not_retried(once: Project, answer: Answer) -> None:
    once.server.answer = lambda path: answer

    run = once.run("2020-01-01")

    assert not run.success
    assert retries(run) == 0
    assert len(once.server.requests) == 1


def test_waits_between_retries_double_and_are_random_by_half(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(
        dg.RetryRequested, "__init__", lambda self, most, wait: _asked(self, most, wait, waits)
    )
    once = project(**{**ONCE, "run_retry_wait": 60})
    answering(once.server, d20200101=[BUSY] * 9)

    once.run("2020-01-01")

    first, second = waits
    assert 30 <= first <= 60
    assert 60 <= second <= 120


@pytest.mark.parametrize(
    ("declared", "attempt", "longest"),
    [(60, 0, 60), (60, 16, 3600), (60, 5_000, 3600), (7200, 0, 7200), (7200, 9, 7200), (0, 9, 0)],
)
def test_no_wait_is_longer_than_an_hour_unless_the_first_is(
    declared: float, attempt: int, longest: float
) -> None:
    feed = Feed(
        name="orders",
        url="https://example.com/f",
        dataset="crm",
        run_retries=10_000,
        run_retry_wait=declared,
    )
    with pytest.raises(dg.RetryRequested) as asked, as_retry_request(feed, attempt):
        raise dg.Failure("no", allow_retries=True)
    assert longest / 2 <= (asked.value.seconds_to_wait or 0) <= longest


def _asked(request: Any, most: int, wait: float, waits: list[float]) -> None:
    waits.append(wait)
    request.max_retries, request.seconds_to_wait = most, 0


def test_a_resuming_run_imports_only_the_missing_days(once: Project) -> None:
    answering(once.server, d20200102=[MISSING, MISSING], d20200103=[MISSING])
    first = once.run(DAYS[0], DAYS[-1])
    assert not first.success

    resumed = {"dagster/parent_run_id": first.run_id, "dagster/is_resume_retry": "true"}
    once.server.requests.clear()
    second = once.run(DAYS[0], DAYS[-1], tags=resumed)
    assert not second.success
    assert asked(once.server) == {"20200102": 1, "20200103": 1}

    resumed = {"dagster/parent_run_id": second.run_id, "dagster/is_resume_retry": "true"}
    once.server.requests.clear()
    third = once.run(DAYS[0], DAYS[-1], tags=resumed)
    assert third.success
    assert asked(once.server) == {"20200102": 1}
    assert events(once, third.run_id) == dict.fromkeys(DAYS, 1)
    last = once.instance.get_latest_materialization_event(dg.AssetKey("orders"))
    assert last is not None


def test_a_run_that_is_launched_again_imports_all_its_days(once: Project) -> None:
    once.run(DAYS[0], DAYS[-1])
    once.server.requests.clear()

    once.run(DAYS[0], DAYS[-1])

    assert asked(once.server) == dict.fromkeys(day(DAYS), 1)


def test_a_backfill_is_one_run_or_several_runs_of_a_set_number_of_days() -> None:
    declared = {"name": "orders", "url": "https://example.com/feed", "dataset": "crm"}
    year = feed_asset(Feed(**declared, partition_by_date=BY_DATE))
    weeks = feed_asset(Feed(**declared, partition_by_date=BY_DATE, days_per_run=7))
    snapshot = feed_asset(Feed(**declared))

    assert year.backfill_policy == dg.BackfillPolicy.single_run()
    assert weeks.backfill_policy == dg.BackfillPolicy.multi_run(7)
    assert snapshot.backfill_policy is None


def test_the_instance_that_make_sets_up_runs_one_import_of_a_feed_at_a_time(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "deploy" / "local" / "dagster.yaml", home)
    with instance_of(home) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
        assert pools.pool_granularity is not None
        assert pools.pool_granularity.value == "run"
        assert instance.run_monitoring_enabled
        assert isinstance(instance.run_launcher, CheckedRunLauncher)


# --- several days at once ---


@pytest.mark.parametrize("kind", ["duckdb", "bigquery"])
def test_bad_lines_of_many_days_are_replaced_when_the_days_are_imported_again(
    kind: str,
    project: Callable[..., Project],
    dataset: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tables of bad lines are listed once for a run of many days, and all of them are found."""
    bigquery = request.getfixturevalue("bigquery") if kind == "bigquery" else None
    if bigquery:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
    orders = project(bigquery=bigquery, dataset=dataset, partition_by_date=BY_DATE, max_bad_lines=1)
    orders.server.answer = lambda path: lines({"id": "N1"}, "{oops")
    assert orders.run("2020-01-02").success
    rejected = orders.feed.destination.rejected
    bad = rejected.shard(date(2020, 1, 2))
    assert [row["text"] for row in orders.rows(bad)] == ["{oops"]

    orders.server.answer = lambda path: lines({"id": "N1"})
    assert orders.run("2020-01-01", "2020-01-12").success
    assert orders.rows(bad) == []
    assert orders.tables.shards(rejected) == [bad]


def test_days_loaded_at_once_into_bigquery_are_recorded_in_order(
    project: Callable[..., Project],
    bigquery: Emulator,
    proxy: FaultProxy,
    dataset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The feed's server gets no more requests at once than it did before."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
    orders = project(
        bigquery=bigquery,
        dataset=dataset,
        partition_by_date=BY_DATE,
        parallel_requests=2,
        parallel_loads=3,
    )
    together, ahead = threading.Barrier(3), list[int]()
    answering(orders.server)

    def hold(exchange: Exchange) -> None:
        ahead.append(len(orders.server.requests))
        together.wait(30)
        exchange.answer(exchange.forward())

    proxy.on("upload", hold)
    days = [f"2020-01-{number:02}" for number in range(1, 10)]

    run = orders.run(days[0], days[-1])

    assert run.success
    logs = orders.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert [entry.dagster_event.partition for entry in logs if entry.dagster_event] == days
    # three are loaded, one is read and waits for its load, one is read, and two are requested
    assert max(ahead[:3]) <= 3 + 1 + 1 + 2
    for key in days:
        shard = Table(dataset, f"orders_{key.replace('-', '')}")
        assert orders.rows(shard) == [{"id": key.replace("-", "")}]


# --- ended from outside ---


@contextmanager
def importing(home: Path, url: str) -> Iterator[BaseProcess]:
    """A process that imports seven days, and its end."""
    program = PROCESSES.Process(target=import_in_process, args=(home, url, DAYS[0], DAYS[-1]))
    program.start()
    try:
        yield program
    finally:
        program.kill()
        program.join()


def cancel(instance: dg.DagsterInstance, program: BaseProcess) -> dg.DagsterRun:
    """Terminate a run as the UI does. Return the run."""
    (run,) = instance.get_runs()
    instance.report_run_canceling(run)
    program.terminate()
    program.join(60)
    (run,) = instance.get_runs()
    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
    return tmp_path


@pytest.mark.xdist_group("cancelled runs")  # their processes fork from one
@pytest.mark.parametrize("slow", [faulty.drip, faulty.stall(1000), faulty.drip_headers])
def test_a_run_can_be_cancelled_while_it_waits_for_the_server(
    home: Path, slow: faulty.Answer
) -> None:
    with (
        faulty_server() as server,
        instance_of(home) as instance,
        importing(home, server.url) as program,
    ):
        server.arm(
            lambda wire, request: (slow if "20200103" in request.path else faulty.whole)(
                wire, request
            )
        )
        asset = dg.AssetKey("orders")
        done = waited_for(
            "two days",
            lambda: len(found := instance.get_materialized_partitions(asset)) > 1 and found,
        )

        run = cancel(instance, program)

        assert run.status is dg.DagsterRunStatus.CANCELED
        assert instance.get_materialized_partitions(asset) == done
    with duckdb.connect(str(home / "warehouse.duckdb")) as warehouse:
        shards = warehouse.execute(
            "SELECT table_name, estimated_size FROM duckdb_tables() WHERE schema_name = 'crm'"
        ).fetchall()
    assert dict(shards) == {f"orders_{key.replace('-', '')}": 2000 for key in done}


@pytest.mark.xdist_group("cancelled runs")
def test_a_run_can_be_cancelled_while_it_waits_for_the_duckdb_file(home: Path) -> None:
    with (
        faulty_server() as server,
        duckdb.connect(str(home / "warehouse.duckdb")),
        instance_of(home) as instance,
        importing(home, server.url) as program,
    ):
        waited_for("a request", lambda: server.requests)

        run = cancel(instance, program)

        assert run.status is dg.DagsterRunStatus.CANCELED
        assert not instance.get_materialized_partitions(dg.AssetKey("orders"))


# --- while it runs ---


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(progress, "time", fake)
    monkeypatch.setattr(lease, "time", fake)
    return fake


def test_the_log_shows_the_progress_of_a_run(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    few = Progress(logging.getLogger("few"), 3)
    clock.now += 10
    few.stored(1000, "a")
    clock.now += 10
    few.failed("b")
    few.stored(2000, "c")

    assert caplog.messages == [
        "1 of 3 days, 1,000 rows, 100 rows/s, 20 s left: a",
        "2 of 3 days, 1 failed, 1,000 rows, 50 rows/s, 10 s left: b",
        "3 of 3 days, 1 failed, 3,000 rows, 150 rows/s: c",
    ]


def test_without_rows_the_progress_has_no_rate_and_no_time_left(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = Progress(logging.getLogger("empty"), 3)
    clock.now += 6
    run.failed("a")

    assert caplog.messages == ["1 of 3 days, 1 failed: a"]


def test_for_many_days_the_log_has_a_line_every_few_seconds_and_each_failure(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    many = Progress(logging.getLogger("many"), 100)
    for number in range(99):
        clock.now += 1
        many.failed("no") if number == 50 else many.stored(1, "")
    many.stored(1, "")

    assert len(caplog.messages) == 100 / progress.EVERY + 2
    assert sum("no" in message for message in caplog.messages) == 1
    assert caplog.messages[-1].startswith("100 of 100 days, 1 failed, 99 rows")


def test_a_single_import_is_logged_without_a_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Progress(logging.getLogger("one"), 1).stored(5, "crm.orders: 5 rows")

    assert caplog.messages == ["crm.orders: 5 rows"]


class OpenCounter:
    """A warehouse that only counts how often it is open."""

    opened = 0

    def __enter__(self) -> Self:
        self.opened += 1
        return self

    def __exit__(self, *failure: object) -> None:
        self.opened -= 1


def test_a_warehouse_stays_open_for_a_lease_and_is_then_closed_for_an_import(clock: Clock) -> None:
    warehouse, counts = OpenCounter(), []
    with WarehouseLease(warehouse) as taken:  # type: ignore[arg-type]
        for _ in range(9):
            taken.renew()
            counts.append(warehouse.opened)
            clock.now += lease.LEASE_SECONDS / 2
        taken.release()
        assert not warehouse.opened
        taken.renew()

    assert counts == [1, 1, 1, 0, 1, 1, 1, 0, 1]
    assert not warehouse.opened


def test_a_wait_for_the_server_is_announced_before_it_begins(server: FeedServer) -> None:
    events: list[str] = []
    feed = Feed(name="orders", url=server.url, dataset="crm")
    for _ in prefetch_days(feed, [None], on_wait=lambda: events.append("waits")):
        events.append("has it")

    assert events[-1] == "has it"
