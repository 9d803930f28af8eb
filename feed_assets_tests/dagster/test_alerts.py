"""Alerts end to end: real runs, the sensor, and a real webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from feed_assets.alerts.config import Alerts
from feed_assets.alerts.state import REMIND_AFTER, RESEND_PERIOD
from feed_assets.config.feed import Feed
from feed_assets.orchestration.alert_sensor import BACKFILL_PATIENCE, RETRY_PATIENCE, alert_sensor
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE, feed_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.run_outcomes import RUNS_PER_TICK
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines
from feed_assets_tests.support.servers.receivers import Webhook, webhook

UI = "https://dagster.example.com"
GOOD = lines({"id": "N1", "total": 1.5})
NO = Answer(status=403)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class AlertScenario:
    """Feeds `orders` (by date) and `leads` (a snapshot), their runs, and a webhook for alerts."""

    instance: dg.DagsterInstance
    server: FeedServer
    hook: Webhook
    warehouse: str
    later: timedelta = timedelta(minutes=1)
    cursor: str | None = None
    more: list[dg.AssetsDefinition | dg.AssetChecksDefinition] = field(default_factory=list)
    alerts: Alerts = field(default_factory=lambda: Alerts(ui_url=UI))

    @property
    def feeds(self) -> Sequence[Feed]:
        orders = Feed(
            name="orders",
            url=self.server.url,
            dataset="crm",
            partition_by_date={"start_date": "2020-01-01"},
            key=("id",),
            updated_at="id",
            types={"id": "STRING"},  # sorts in order of time
            max_attempts=1,
        )
        leads = Feed(name="leads", url=f"{self.server.url}?leads", dataset="crm", max_attempts=1)
        return [orders, leads]

    def run(
        self, *days: str, assets: Sequence[str] = (), tags: Mapping[str, str] | None = None
    ) -> str:
        """Import days of `orders`, or other assets. Return the run's id."""
        warehouse = WarehouseResource(url=self.warehouse)
        definitions = dg.Definitions(
            [*map(feed_asset, self.feeds), latest_asset(self.feeds[0])]
            + [each for each in self.more if type(each) is dg.AssetsDefinition],
            asset_checks=[each for each in self.more if isinstance(each, dg.AssetChecksDefinition)],
            resources={WAREHOUSE: warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
        )
        of_days = {RANGE_START: days[0], RANGE_END: days[-1]} if days else {}
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in assets or ["orders"]],
            tags={**of_days, **(tags or {})},
            raise_on_error=False,
            run_config=QUIET,
        )
        return result.run_id

    def tick(self) -> str:
        """Run one tick of the sensor, store its cursor, and return its message."""
        sensor = alert_sensor(self.alerts, self.feeds, clock=self.now)
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = sensor.evaluate_tick(context)
        self.cursor = result.cursor
        assert result.skip_message is not None
        return result.skip_message

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    def new_alerts(self) -> list[str]:
        """Run a tick and return the titles of the alerts it sends."""
        before = len(self.hook.received)
        self.tick()
        return self.hook.titles[before:]

    def backfill(self, status: BulkActionStatus) -> str:
        """Create the backfill, or change its status."""
        made = PartitionBackfill(
            "bbbbbbbb", status, from_failure=False, tags={}, backfill_timestamp=0.0
        )
        if self.instance.get_backfill(made.backfill_id):
            self.instance.update_backfill(made)
        else:
            self.instance.add_backfill(made)
        return made.backfill_id


@pytest.fixture
def scenario(
    server: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AlertScenario]:
    """Run a first tick, so that later runs are reported."""
    monkeypatch.delenv("FEED_ASSETS_UI_URL", raising=False)
    server.answer = lambda path: GOOD
    with (
        webhook() as hook,
        ephemeral_instance(run_retries={"enabled": True}) as instance,
    ):
        monkeypatch.setenv("FEED_ASSETS_ALERTS", hook.url)
        scenario = AlertScenario(instance, server, hook, f"duckdb://{tmp_path}/warehouse.duckdb")
        assert scenario.new_alerts() == []
        yield scenario


def failing(*parts: str) -> Callable[[str], Answer]:
    """Return a server function that refuses URLs with any of these parts."""
    return lambda path: NO if any(part in path for part in parts) else GOOD


def refusing(status: int) -> Callable[[str], Answer]:
    """Return a server function that answers every request with this status."""
    return lambda path: Answer(status=status)


def test_a_failed_import_and_its_recovery_are_reported_once_each(scenario: AlertScenario) -> None:
    scenario.server.answer = failing("20200102", "20200103")
    run = scenario.run("2020-01-01", "2020-01-04")
    assert scenario.new_alerts() == ["orders: import of 2 days failed"]
    assert scenario.new_alerts() == []
    body = scenario.hook.received[0]["message"]
    assert f"2020-01-02: {scenario.server.url}?date=20200102 answered 403 Forbidden;" in body
    assert "materialize orders again for 2020-01-02 to 2020-01-03." in body
    assert body.endswith(f"Run: {UI}/runs/{run}")

    scenario.server.answer = failing("20200103")
    scenario.run("2020-01-02")
    assert scenario.new_alerts() == []
    scenario.server.answer = lambda path: GOOD
    run = scenario.run("2020-01-03")
    assert scenario.new_alerts() == ["orders: recovered"]
    assert scenario.hook.received[-1]["message"] == (
        "orders: 2020-01-02 to 2020-01-03, which had failed, are now imported."
        f"\n\nRun: {UI}/runs/{run}"
    )


def test_a_failure_that_repeats_is_one_alert_a_day(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: NO
    scenario.run("2020-01-01")
    assert scenario.new_alerts() == ["orders: import of 2020-01-01 failed"]
    scenario.run("2020-01-02")
    assert scenario.tick() == "failed again for a reason already reported: orders"
    assert len(scenario.hook.received) == 1
    scenario.later += REMIND_AFTER
    scenario.run("2020-01-03")
    assert "orders: import of 2020-01-03 failed" in scenario.new_alerts()
    reminder = scenario.hook.received[1]["message"]
    assert "2020-01-03: " in reminder
    assert "This failure was first reported at " in reminder
    scenario.server.answer = lambda path: GOOD
    scenario.run("2020-01-01", "2020-01-03")
    assert scenario.new_alerts() == ["orders: recovered"]


def test_successful_imports_are_not_reported(scenario: AlertScenario) -> None:
    scenario.run("2020-01-01", "2020-01-02")
    scenario.run(assets=["leads", "orders_latest"])
    assert scenario.new_alerts() == []


def test_several_feeds_that_fail_in_a_run_are_one_alert(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: NO
    scenario.run("2020-01-01", assets=["orders", "leads"])
    assert scenario.new_alerts() == [
        "2 imports failed: leads, orders"
    ] or scenario.new_alerts() == ["2 imports failed: orders, leads"]
    body = scenario.hook.received[0]["message"]
    assert f"\n\norders 2020-01-01: {scenario.server.url}" in f"\n\n{body}"
    assert f"\n\nleads: {scenario.server.url}" in f"\n\n{body}"


def test_an_alert_about_a_bad_line_says_what_to_do(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: lines({"id": 1}, "[1, 2")
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == ["leads: import failed"]
    body = scenario.hook.received[0]["message"]
    assert body.startswith("line 2 is not")
    assert "or allow that many bad lines (max_bad_lines)" in body


def test_an_asset_that_is_not_a_feed_is_not_reported(scenario: AlertScenario) -> None:
    @dg.asset
    def mart() -> None:
        raise ValueError("hunter2")

    scenario.more = [mart]
    scenario.run(assets=["mart", "leads"])
    assert scenario.new_alerts() == []


def test_a_failure_of_the_view_of_the_latest_state_is_reported(scenario: AlertScenario) -> None:
    scenario.warehouse = "nonsense"
    scenario.run(assets=["orders_latest"])
    assert scenario.new_alerts() == ["orders_latest: import failed"]
    assert "is not a warehouse; write duckdb:///" in scenario.hook.received[0]["message"]


def test_an_unexpected_error_is_sent_by_its_class_name_only(
    scenario: AlertScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: object, **kwargs: object) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr("feed_assets.orchestration.import_run.last_import", breaks)
    scenario.run("2020-01-01")
    assert scenario.new_alerts() == ["orders: import of 2020-01-01 failed"]
    body = scenario.hook.received[0]["message"]
    assert "2020-01-01: KeyError was raised\n\nSee the run's log." in body
    assert "hunter2" not in body


@pytest.mark.parametrize("stored", [None, "2020-01-02"])
def test_a_run_whose_process_died_is_reported_without_the_days_it_had_recorded(
    scenario: AlertScenario, stored: str | None
) -> None:
    definitions = dg.Definitions(
        [feed_asset(scenario.feeds[0])],
        resources={IO_MANAGER: dg.mem_io_manager},
        executor=dg.in_process_executor,
    )
    run = scenario.instance.create_run_for_job(
        definitions.resolve_implicit_global_asset_job_def(),
        tags={RANGE_START: "2020-01-01", RANGE_END: "2020-01-03"},
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([dg.AssetKey("orders")]),
    )
    if stored:
        data = StepMaterializationData(dg.AssetMaterialization("orders", partition=stored))
        event = dg.DagsterEvent("ASSET_MATERIALIZATION", run.job_name, event_specific_data=data)
        scenario.instance.report_dagster_event(event, run.run_id)
    scenario.instance.report_run_failed(run, "The run's process died")
    days, named = (2, "2020-01-01 and 2020-01-03") if stored else (3, "2020-01-01 to 2020-01-03")
    assert scenario.new_alerts() == [f"orders: import of {days} days failed"]
    assert f"{named}: The run's process died" in scenario.hook.received[0]["message"]


def test_a_run_with_retries_is_reported_when_the_last_retry_has_failed(
    scenario: AlertScenario,
) -> None:
    scenario.server.answer = lambda path: NO
    first = scenario.run("2020-01-01", tags={"dagster/max_retries": "1"})
    assert scenario.new_alerts() == []
    retry = scenario.run("2020-01-01", tags={"dagster/max_retries": "0"})
    scenario.instance.add_run_tags(first, {"dagster/auto_retry_run_id": retry})
    assert scenario.new_alerts() == ["orders: import of 2020-01-01 failed"]
    assert scenario.hook.received[0]["message"].endswith(retry)
    scenario.later += RETRY_PATIENCE
    assert scenario.new_alerts() == []


def test_a_run_whose_retry_succeeds_is_not_reported(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: NO
    first = scenario.run("2020-01-01", tags={"dagster/max_retries": "1"})
    scenario.tick()
    scenario.server.answer = lambda path: GOOD
    retry = scenario.run("2020-01-01")
    scenario.instance.add_run_tags(first, {"dagster/auto_retry_run_id": retry})
    assert scenario.new_alerts() == []


def test_a_retry_that_never_starts_is_waited_for_an_hour(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: NO
    scenario.run("2020-01-01", tags={"dagster/max_retries": "1"})
    assert scenario.tick() == "failed runs waiting for a retry or the end of a backfill: 1"
    scenario.later += RETRY_PATIENCE
    assert scenario.new_alerts() == ["orders: import of 2020-01-01 failed"]


def test_a_run_that_dagster_no_longer_retries_is_reported(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: NO
    run = scenario.run("2020-01-01", tags={"dagster/max_retries": "1"})
    scenario.tick()
    scenario.instance.add_run_tags(run, {"dagster/will_retry": "false"})
    assert scenario.new_alerts() == ["orders: import of 2020-01-01 failed"]


def test_a_backfill_of_many_runs_is_reported_once_at_its_end(scenario: AlertScenario) -> None:
    tags = {"dagster/backfill": scenario.backfill(BulkActionStatus.REQUESTED)}
    scenario.server.answer = failing("20200101", "20200102", "20200104")
    for day in ("2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"):
        scenario.run(day, tags=tags)
        assert scenario.new_alerts() == []
    scenario.backfill(BulkActionStatus.COMPLETED_FAILED)
    assert scenario.new_alerts() == ["orders: backfill of 3 days failed"]
    body = scenario.hook.received[0]["message"]
    assert body.endswith(f"Backfill: {UI}/runs/b/bbbbbbbb")
    assert "materialize orders again for 2020-01-01 to 2020-01-02 and 2020-01-04." in body
    assert scenario.new_alerts() == []


def test_a_backfill_that_does_not_end_is_reported_after_a_day(scenario: AlertScenario) -> None:
    tags = {"dagster/backfill": scenario.backfill(BulkActionStatus.REQUESTED)}
    scenario.server.answer = lambda path: NO
    scenario.run("2020-01-01", tags=tags)
    scenario.tick()
    scenario.later += BACKFILL_PATIENCE
    assert scenario.new_alerts()[0] == "orders: backfill of 2020-01-01 failed"


def test_a_deleted_backfill_is_reported(scenario: AlertScenario) -> None:
    scenario.server.answer = lambda path: NO
    scenario.run("2020-01-01", tags={"dagster/backfill": "gone"})
    assert scenario.new_alerts() == ["orders: backfill of 2020-01-01 failed"]


@pytest.mark.parametrize("blocking", [False, True])
def test_a_check_of_severity_error_is_reported_and_so_is_its_recovery(
    scenario: AlertScenario, blocking: bool
) -> None:
    passes = False

    @dg.asset_check(asset="leads", blocking=blocking)
    def key_is_unique() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes, description="3 of 10 keys came twice")

    scenario.more = [key_is_unique]
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == ["leads: check key_is_unique failed"]
    assert "check key_is_unique: 3 of 10 keys came twice" in scenario.hook.received[0]["message"]
    passes = True
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == ["leads: recovered"]
    assert scenario.hook.received[1]["message"].startswith("Checks that pass again: key_is_unique.")


def test_a_check_that_only_warns_is_not_reported(scenario: AlertScenario) -> None:
    @dg.asset_check(asset="leads")
    def schema_change() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)

    scenario.more = [schema_change]
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == []


def test_a_late_feed_and_its_recovery_are_reported_once_each(scenario: AlertScenario) -> None:
    scenario.run(assets=["leads"])
    scenario.tick()
    scenario.later = timedelta(days=2)
    assert scenario.new_alerts() == _late(scenario)
    scenario.later = timedelta(days=3)
    assert scenario.new_alerts() == []
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == ["leads: recovered"]
    assert "leads, which was late, is now imported." in scenario.hook.received[-1]["message"]


def _late(scenario: AlertScenario) -> list[str]:
    """Return the titles of both feeds' alerts after their last scheduled time."""
    due = (scenario.now() - timedelta(hours=3)).replace(hour=5, minute=0)
    if due > scenario.now() - timedelta(hours=3):
        due -= timedelta(days=1)
    title = f"late, due since {due:%Y-%m-%d %H:%M} UTC"
    return [f"orders: {title}", f"leads: {title}"]


def test_days_imported_before_the_report_are_not_reported(scenario: AlertScenario) -> None:
    promised = {"dagster/max_retries": "1"}
    scenario.server.answer = lambda path: NO
    scenario.run("2020-01-01", "2020-01-02", tags=promised)
    scenario.run(assets=["leads"], tags=promised)
    scenario.tick()
    scenario.server.answer = lambda path: GOOD
    scenario.run("2020-01-01")
    scenario.run(assets=["leads"])

    scenario.later += RETRY_PATIENCE

    assert scenario.new_alerts() == ["orders: import of 2020-01-02 failed"]


def test_a_feed_whose_failure_was_reported_is_not_reported_as_late(scenario: AlertScenario) -> None:
    scenario.server.answer = failing("leads")
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == ["leads: import failed"]
    scenario.later = timedelta(days=2)
    assert scenario.new_alerts() == _late(scenario)[:1]


def test_an_alert_that_cannot_be_sent_is_sent_later(
    scenario: AlertScenario, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.hook.status = 503
    scenario.server.answer = failing("leads")
    scenario.run(assets=["leads"])
    assert scenario.tick() == "not sent yet: leads: import failed"
    scenario.server.answer = lambda path: GOOD
    scenario.hook.status = 200
    assert scenario.tick() == "sent: leads: import failed"
    assert scenario.hook.titles == ["leads: import failed"]
    assert scenario.tick() == "nothing to report"
    assert scenario.new_alerts() == []
    logged = capsys.readouterr().err
    assert "'leads: import failed' could not be sent to json: it answered 503" in logged
    assert "hunter2" not in logged


def test_an_alert_that_cannot_be_sent_for_a_day_is_dropped(
    scenario: AlertScenario, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.hook.status = 503
    scenario.server.answer = failing("leads")
    scenario.run(assets=["leads"])
    scenario.tick()
    scenario.later += RESEND_PERIOD
    scenario.tick()
    assert "'leads: import failed' is dropped after 1 day" in capsys.readouterr().err


def test_only_the_address_that_failed_gets_the_alert_again(
    scenario: AlertScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as other:
        monkeypatch.setenv("FEED_ASSETS_ALERTS", f"{scenario.hook.url} {other.url}")
        other.status = 500
        scenario.server.answer = failing("leads")
        scenario.run(assets=["leads"])
        assert scenario.new_alerts() == ["leads: import failed"]
        other.status = 200
        assert scenario.new_alerts() == []
        assert other.titles == ["leads: import failed"]


def test_without_the_variable_the_alert_is_only_logged(
    scenario: AlertScenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = scenario.hook.url
    monkeypatch.delenv("FEED_ASSETS_ALERTS")
    scenario.server.answer = failing("leads")
    scenario.run(assets=["leads"])
    assert scenario.tick() == "FEED_ASSETS_ALERTS is not set; no alert is sent"
    assert "leads: import failed" in capsys.readouterr().err
    monkeypatch.setenv("FEED_ASSETS_ALERTS", url)
    assert scenario.new_alerts() == []  # the run ended before


def test_without_a_url_of_the_ui_the_alert_has_the_runs_id(
    scenario: AlertScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario.alerts = Alerts()
    scenario.server.answer = failing("leads")
    run = scenario.run(assets=["leads"])
    scenario.tick()
    assert scenario.hook.received[-1]["message"].endswith(f"\n\nRun: {run}")
    for url, link, status in (
        ("https://dagster.example.com/ui/", "https://dagster.example.com/ui/runs/", 404),
        # a URL with a password is never in a message
        ("https://me:hunter2@dagster.example.com/ui/", "", 410),
    ):
        scenario.server.answer = refusing(status)
        monkeypatch.setenv("FEED_ASSETS_UI_URL", url)
        run = scenario.run(assets=["leads"])
        scenario.tick()
        assert scenario.hook.received[-1]["message"].endswith(f"\n\nRun: {link}{run}")


def test_runs_that_ended_before_the_first_tick_are_not_reported(scenario: AlertScenario) -> None:
    scenario.server.answer = failing("leads")
    scenario.run(assets=["leads"])
    scenario.cursor = None
    assert scenario.new_alerts() == []
    scenario.run(assets=["leads"])
    scenario.cursor = "of another version"
    assert scenario.new_alerts() == []
    scenario.run(assets=["leads"])
    assert scenario.new_alerts() == ["leads: import failed"]


def test_more_runs_than_one_tick_reads_are_all_reported_in_order(
    scenario: AlertScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RUNS_PER_TICK >= 100
    monkeypatch.setattr("feed_assets.orchestration.run_outcomes.RUNS_PER_TICK", 2)
    for status in (403, 404, 410):
        scenario.server.answer = refusing(status)
        scenario.run(assets=["leads"])
    scenario.server.answer = lambda path: GOOD
    scenario.run(assets=["leads"])
    titles = [title for _ in range(4) for title in scenario.new_alerts()]
    assert titles == ["leads: import failed"] * 3 + ["leads: recovered"]


@pytest.mark.parametrize(
    "later",
    [timedelta(minutes=1), timedelta(minutes=-5)],
    ids=["a minute later", "a clock that is behind"],
)
def test_a_run_that_ended_just_now_is_left_to_the_next_tick(
    scenario: AlertScenario, later: timedelta
) -> None:
    scenario.server.answer = failing("leads")
    scenario.run(assets=["leads"])
    scenario.later = timedelta(0)
    assert scenario.new_alerts() == []
    scenario.later = later
    assert scenario.new_alerts() == ["leads: import failed"]
