"""Alerts as a person gets them: runs as Dagster runs them, and a real webhook."""

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
from feed_assets.alerts.state import GIVE_UP
from feed_assets.config.feed import Feed
from feed_assets.orchestration.alert_sensor import FOR_BACKFILL, FOR_RETRY, alert_sensor
from feed_assets.orchestration.assets import IO_MANAGER, feed_asset, latest_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.run_outcomes import AT_ONCE
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines
from feed_assets_tests.support.servers.receivers import Webhook, webhook

UI = "https://dagster.example.com"
GOOD = lines({"id": "N1", "total": 1.5})
NO = Answer(status=403)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Office:
    """Feeds `orders` (by date) and `leads` (a snapshot), their runs, and who is told of them."""

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
            types={"id": "STRING"},  # which sorts as it should
            max_attempts=1,
        )
        leads = Feed(name="leads", url=f"{self.server.url}?leads", dataset="crm", max_attempts=1)
        return [orders, leads]

    def run(
        self, *days: str, assets: Sequence[str] = (), tags: Mapping[str, str] | None = None
    ) -> str:
        """Imports days of `orders`, or other assets; returns the run's id."""
        warehouse = WarehouseResource(url=self.warehouse)
        definitions = dg.Definitions(
            [*map(feed_asset, self.feeds), latest_asset(self.feeds[0])]
            + [each for each in self.more if type(each) is dg.AssetsDefinition],
            asset_checks=[each for each in self.more if isinstance(each, dg.AssetChecksDefinition)],
            resources={"warehouse": warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
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
        """One tick of the sensor, after which its cursor is kept; returns what the tick says."""
        sensor = alert_sensor(self.alerts, self.feeds, clock=self.now)
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            said = sensor.evaluate_tick(context)
        self.cursor = said.cursor
        assert said.skip_message is not None
        return said.skip_message

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    def told(self) -> list[str]:
        """The titles of what a tick sends."""
        before = len(self.hook.received)
        self.tick()
        return self.hook.titles[before:]

    def backfill(self, status: BulkActionStatus) -> str:
        """Makes the one backfill there is, or changes its status."""
        made = PartitionBackfill(
            "bbbbbbbb", status, from_failure=False, tags={}, backfill_timestamp=0.0
        )
        if self.instance.get_backfill(made.backfill_id):
            self.instance.update_backfill(made)
        else:
            self.instance.add_backfill(made)
        return made.backfill_id


@pytest.fixture
def office(server: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """With a first tick behind it, so that what ends from now on is told."""
    monkeypatch.delenv("FEED_ASSETS_UI_URL", raising=False)
    server.answer = lambda path: GOOD
    with (
        webhook() as hook,
        dg.DagsterInstance.ephemeral(settings={"run_retries": {"enabled": True}}) as instance,
    ):
        monkeypatch.setenv("FEED_ASSETS_ALERTS", hook.url)
        office = Office(instance, server, hook, f"duckdb://{tmp_path}/warehouse.duckdb")
        assert office.told() == []
        yield office


def failing(*parts: str) -> Callable[[str], Answer]:
    """A feed's server that refuses requests with any of these in their URL."""
    return lambda path: NO if any(part in path for part in parts) else GOOD


def test_a_failed_import_is_told_once_and_so_is_its_recovery(office: Office) -> None:
    office.server.answer = failing("20200102", "20200103")
    run = office.run("2020-01-01", "2020-01-04")
    assert office.told() == ["orders: import of 2 days failed"]
    assert office.told() == []
    body = office.hook.received[0]["message"]
    assert f"2020-01-02: {office.server.url}?date=20200102 answered 403 Forbidden;" in body
    assert "materialize 2020-01-02 to 2020-01-03 of orders again" in body
    assert body.endswith(f"Run: {UI}/runs/{run}")

    office.server.answer = failing("20200103")
    office.run("2020-01-02")
    assert office.told() == []
    office.server.answer = lambda path: GOOD
    run = office.run("2020-01-03")
    assert office.told() == ["orders: recovered"]
    assert office.hook.received[-1]["message"] == (
        "2020-01-02 to 2020-01-03 of orders, whose import had failed, has been imported now."
        f"\n\nRun: {UI}/runs/{run}"
    )


def test_imports_that_go_well_are_not_told(office: Office) -> None:
    office.run("2020-01-01", "2020-01-02")
    office.run(assets=["leads", "orders_latest"])
    assert office.told() == []


def test_several_feeds_that_fail_in_a_run_are_told_together(office: Office) -> None:
    office.server.answer = lambda path: NO
    office.run("2020-01-01", assets=["orders", "leads"])
    assert office.told() == ["2 imports failed: leads, orders"] or office.told() == [
        "2 imports failed: orders, leads"
    ]
    body = office.hook.received[0]["message"]
    assert f"\n\norders 2020-01-01: {office.server.url}" in f"\n\n{body}"
    assert f"\n\nleads: {office.server.url}" in f"\n\n{body}"


def test_a_bad_line_is_told_with_what_can_be_done(office: Office) -> None:
    office.server.answer = lambda path: lines({"id": 1}, "[1, 2")
    office.run(assets=["leads"])
    assert office.told() == ["leads: import failed"]
    body = office.hook.received[0]["message"]
    assert body.startswith("line 2 is not")
    assert "or let that many pass (max_bad_lines)" in body


def test_an_asset_of_somebody_else_is_not_told_of(office: Office) -> None:
    @dg.asset
    def mart() -> None:
        raise ValueError("hunter2")

    office.more = [mart]
    office.run(assets=["mart", "leads"])
    assert office.told() == []


def test_the_view_of_the_latest_state_belongs_to_its_feed(office: Office) -> None:
    office.warehouse = "nonsense"
    office.run(assets=["orders_latest"])
    assert office.told() == ["orders_latest: import failed"]
    assert "names no warehouse; write duckdb:///" in office.hook.received[0]["message"]


def test_of_an_error_that_nobody_expected_only_its_kind_is_sent(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: object, **kwargs: object) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr("feed_assets.orchestration.import_run.last_import", breaks)
    office.run("2020-01-01")
    assert office.told() == ["orders: import of 2020-01-01 failed"]
    body = office.hook.received[0]["message"]
    assert "2020-01-01: KeyError was raised\n\nThe run's log tells more." in body
    assert "hunter2" not in body


@pytest.mark.parametrize("stored", [None, "2020-01-02"])
def test_a_run_whose_process_died_is_told_but_for_days_it_had_recorded(
    office: Office, stored: str | None
) -> None:
    definitions = dg.Definitions(
        [feed_asset(office.feeds[0])],
        resources={IO_MANAGER: dg.mem_io_manager},
        executor=dg.in_process_executor,
    )
    run = office.instance.create_run_for_job(
        definitions.resolve_implicit_global_asset_job_def(),
        tags={RANGE_START: "2020-01-01", RANGE_END: "2020-01-03"},
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([dg.AssetKey("orders")]),
    )
    if stored:
        data = StepMaterializationData(dg.AssetMaterialization("orders", partition=stored))
        event = dg.DagsterEvent("ASSET_MATERIALIZATION", run.job_name, event_specific_data=data)
        office.instance.report_dagster_event(event, run.run_id)
    office.instance.report_run_failed(run, "The run's process died")
    days, named = (2, "2020-01-01, 2020-01-03") if stored else (3, "2020-01-01 to 2020-01-03")
    assert office.told() == [f"orders: import of {days} days failed"]
    assert f"{named}: The run's process died" in office.hook.received[0]["message"]


def test_a_run_that_will_be_retried_is_told_once_its_last_retry_has_failed(office: Office) -> None:
    office.server.answer = lambda path: NO
    first = office.run("2020-01-01", tags={"dagster/max_retries": "1"})
    assert office.told() == []
    retry = office.run("2020-01-01", tags={"dagster/max_retries": "0"})
    office.instance.add_run_tags(first, {"dagster/auto_retry_run_id": retry})
    assert office.told() == ["orders: import of 2020-01-01 failed"]
    assert office.hook.received[0]["message"].endswith(retry)
    office.later += FOR_RETRY
    assert office.told() == []


def test_a_run_whose_retry_goes_well_is_not_told_of(office: Office) -> None:
    office.server.answer = lambda path: NO
    first = office.run("2020-01-01", tags={"dagster/max_retries": "1"})
    office.tick()
    office.server.answer = lambda path: GOOD
    retry = office.run("2020-01-01")
    office.instance.add_run_tags(first, {"dagster/auto_retry_run_id": retry})
    assert office.told() == []


def test_a_promised_retry_that_never_comes_is_waited_for_an_hour(office: Office) -> None:
    office.server.answer = lambda path: NO
    office.run("2020-01-01", tags={"dagster/max_retries": "1"})
    assert office.tick() == "failed runs that may be retried, or whose backfill goes on: 1"
    office.later += FOR_RETRY
    assert office.told() == ["orders: import of 2020-01-01 failed"]


def test_a_retry_that_dagster_gives_up_is_told(office: Office) -> None:
    office.server.answer = lambda path: NO
    run = office.run("2020-01-01", tags={"dagster/max_retries": "1"})
    office.tick()
    office.instance.add_run_tags(run, {"dagster/will_retry": "false"})
    assert office.told() == ["orders: import of 2020-01-01 failed"]


def test_a_backfill_of_many_runs_is_told_once_when_it_is_over(office: Office) -> None:
    tags = {"dagster/backfill": office.backfill(BulkActionStatus.REQUESTED)}
    office.server.answer = failing("20200101", "20200102", "20200104")
    for day in ("2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"):
        office.run(day, tags=tags)
        assert office.told() == []
    office.backfill(BulkActionStatus.COMPLETED_FAILED)
    assert office.told() == ["orders: backfill of 3 days failed"]
    body = office.hook.received[0]["message"]
    assert body.endswith(f"Backfill: {UI}/runs/b/bbbbbbbb")
    assert "materialize 2020-01-01 to 2020-01-02, 2020-01-04 of orders again" in body
    assert office.told() == []


def test_a_backfill_without_an_end_is_told_after_a_day(office: Office) -> None:
    tags = {"dagster/backfill": office.backfill(BulkActionStatus.REQUESTED)}
    office.server.answer = lambda path: NO
    office.run("2020-01-01", tags=tags)
    office.tick()
    office.later += FOR_BACKFILL
    assert office.told()[0] == "orders: backfill of 2020-01-01 failed"


def test_a_backfill_that_nobody_knows_any_more_is_told(office: Office) -> None:
    office.server.answer = lambda path: NO
    office.run("2020-01-01", tags={"dagster/backfill": "gone"})
    assert office.told() == ["orders: backfill of 2020-01-01 failed"]


@pytest.mark.parametrize("blocking", [False, True])
def test_a_check_of_severity_error_is_told_and_when_it_passes_again(
    office: Office, blocking: bool
) -> None:
    passes = False

    @dg.asset_check(asset="leads", blocking=blocking)
    def key_is_unique() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes, description="3 of 10 keys came twice")

    office.more = [key_is_unique]
    office.run(assets=["leads"])
    assert office.told() == ["leads: check key_is_unique failed"]
    assert "check key_is_unique: 3 of 10 keys came twice" in office.hook.received[0]["message"]
    passes = True
    office.run(assets=["leads"])
    assert office.told() == ["leads: recovered"]
    assert office.hook.received[1]["message"].startswith(
        "What failed before passes now: check key_is_unique."
    )


def test_a_check_that_only_warns_is_not_told(office: Office) -> None:
    @dg.asset_check(asset="leads")
    def schema_change() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)

    office.more = [schema_change]
    office.run(assets=["leads"])
    assert office.told() == []


def test_a_late_feed_is_told_once_and_when_it_has_come(office: Office) -> None:
    office.run(assets=["leads"])
    office.tick()
    office.later = timedelta(days=2)
    assert office.told() == _late(office)
    office.later = timedelta(days=3)
    assert office.told() == []
    office.run(assets=["leads"])
    assert office.told() == ["leads: recovered"]
    assert "leads, whose import was late, is imported now" in office.hook.received[-1]["message"]


def _late(office: Office) -> list[str]:
    """Both feeds are, as their schedules have come and nobody imported them."""
    due = (office.now() - timedelta(hours=3)).replace(hour=5, minute=0)
    if due > office.now() - timedelta(hours=3):
        due -= timedelta(days=1)
    said = f"nothing arrived, and it was due {due:%Y-%m-%d %H:%M} UTC"
    return [f"orders: {said}", f"leads: {said}"]


def test_what_is_put_right_before_it_is_told_is_not_told(office: Office) -> None:
    promised = {"dagster/max_retries": "1"}
    office.server.answer = lambda path: NO
    office.run("2020-01-01", "2020-01-02", tags=promised)
    office.run(assets=["leads"], tags=promised)
    office.tick()
    office.server.answer = lambda path: GOOD
    office.run("2020-01-01")
    office.run(assets=["leads"])

    office.later += FOR_RETRY

    assert office.told() == ["orders: import of 2020-01-02 failed"]


def test_a_feed_whose_failure_was_told_is_not_told_to_be_late(office: Office) -> None:
    office.server.answer = failing("leads")
    office.run(assets=["leads"])
    assert office.told() == ["leads: import failed"]
    office.later = timedelta(days=2)
    assert office.told() == _late(office)[:1]


def test_what_cannot_be_sent_is_tried_again_until_it_can(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.hook.status = 503
    office.server.answer = failing("leads")
    office.run(assets=["leads"])
    assert office.tick() == "not sent yet: leads: import failed"
    office.server.answer = lambda path: GOOD
    office.hook.status = 200
    assert office.tick() == "sent: leads: import failed"
    assert office.hook.titles == ["leads: import failed"]
    assert office.tick() == "nothing to tell"
    assert office.told() == []
    logged = capsys.readouterr().err
    assert "'leads: import failed' could not be sent to json: it answered 503" in logged
    assert "hunter2" not in logged


def test_what_could_not_be_sent_for_a_day_is_given_up(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.hook.status = 503
    office.server.answer = failing("leads")
    office.run(assets=["leads"])
    office.tick()
    office.later += GIVE_UP
    office.tick()
    assert "'leads: import failed' is given up after 1 day" in capsys.readouterr().err


def test_with_two_addresses_the_one_that_was_told_is_not_told_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as other:
        monkeypatch.setenv("FEED_ASSETS_ALERTS", f"{office.hook.url} {other.url}")
        other.status = 500
        office.server.answer = failing("leads")
        office.run(assets=["leads"])
        assert office.told() == ["leads: import failed"]
        other.status = 200
        assert office.told() == []
        assert other.titles == ["leads: import failed"]


def test_without_the_variable_the_tick_says_so_and_the_log_has_the_alert(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = office.hook.url
    monkeypatch.delenv("FEED_ASSETS_ALERTS")
    office.server.answer = failing("leads")
    office.run(assets=["leads"])
    assert office.tick() == "FEED_ASSETS_ALERTS is not set, so no alert is sent"
    assert "leads: import failed" in capsys.readouterr().err
    monkeypatch.setenv("FEED_ASSETS_ALERTS", url)
    assert office.told() == []  # it was before


def test_without_a_url_of_the_ui_the_runs_id_is_told(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.alerts = Alerts()
    office.server.answer = failing("leads")
    run = office.run(assets=["leads"])
    office.tick()
    assert office.hook.received[-1]["message"].endswith(f"\n\nRun: {run}")
    for url, link in (
        ("https://dagster.example.com/ui/", "https://dagster.example.com/ui/runs/"),
        ("https://me:hunter2@dagster.example.com/ui/", ""),  # no URL with a password leaves
    ):
        monkeypatch.setenv("FEED_ASSETS_UI_URL", url)
        run = office.run(assets=["leads"])
        office.tick()
        assert office.hook.received[-1]["message"].endswith(f"\n\nRun: {link}{run}")


def test_what_ended_before_the_first_tick_is_not_told(office: Office) -> None:
    office.server.answer = failing("leads")
    office.run(assets=["leads"])
    office.cursor = None
    assert office.told() == []
    office.run(assets=["leads"])
    office.cursor = "of another version"
    assert office.told() == []
    office.run(assets=["leads"])
    assert office.told() == ["leads: import failed"]


def test_more_runs_than_one_tick_looks_at_are_all_told_in_their_order(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AT_ONCE >= 100
    monkeypatch.setattr("feed_assets.orchestration.run_outcomes.AT_ONCE", 2)
    office.server.answer = failing("leads")
    for _ in range(3):
        office.run(assets=["leads"])
    office.server.answer = lambda path: GOOD
    office.run(assets=["leads"])
    titles = [title for _ in range(4) for title in office.told()]
    assert titles == ["leads: import failed"] * 3 + ["leads: recovered"]


@pytest.mark.parametrize(
    "later",
    [timedelta(minutes=1), timedelta(minutes=-5)],
    ids=["a minute later", "a clock that is behind"],
)
def test_a_run_that_ended_this_moment_is_left_to_the_next_tick(
    office: Office, later: timedelta
) -> None:
    office.server.answer = failing("leads")
    office.run(assets=["leads"])
    office.later = timedelta(0)
    assert office.told() == []
    office.later = later
    assert office.told() == ["leads: import failed"]
