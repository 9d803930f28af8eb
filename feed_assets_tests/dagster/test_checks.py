"""The checks tab shows the result of each day; a blocking check refuses the import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.config.feed import Feed
from feed_assets.importing import checks
from feed_assets.importing.checks import CheckResult, check_content
from feed_assets.importing.key_columns import ISO
from feed_assets.orchestration.run_outcomes import read_run
from feed_assets.schema.table import Table
from feed_assets_tests.dagster.test_not_modified import VersionedFeed
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.dagster.project import Project, metadata_of
from feed_assets_tests.support.servers.feed import Answer, lines

DAY = "2020-01-20"
BY_DATE = {"start_date": "2020-01-01"}
LATEST = {"partition_by_date": BY_DATE, "key": ["id"], "updated_at": "at"}


def evaluated(project: Project, day: str | None = None) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the last results of a day's checks, as the UI shows them."""
    found = {}
    for name in ("rows", "key", "updated_at", "schema"):
        records = project.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("orders"), name),
            limit=1,
            partition_filter=PartitionKeyFilter(key=day),
        )
        for record in records:
            assert record.evaluation, f"{name} is planned, and was never evaluated"
            target = record.evaluation.target_materialization_data
            assert target, f"{name} is a check of nothing"
            assert target.run_id == record.run_id
            found[name] = record.evaluation
    return found


def numbers(check: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in check.metadata.items()}


def test_a_good_day_passes_all_checks(project: Callable[..., Project]) -> None:
    orders = project(**LATEST)
    orders.server.answer = lambda path: lines(
        {"id": 1, "at": "2020-01-20T00:00:00Z"}, {"id": 2, "at": "2020-01-20T23:59:59Z"}
    )

    assert orders.run(DAY).success

    found = evaluated(orders, DAY)
    assert {name: check.description for name, check in found.items()} == {
        "rows": "2 of 2 rows are stored",
        "key": "each of 2 rows has a unique id",
        "updated_at": "2 of 2 rows are of the day",
        "schema": "the columns are unchanged",
    }
    assert all(check.passed for check in found.values())
    assert numbers(found["rows"]) == {"rows in the feed": 2, "rows stored": 2, "bad lines": 0}


def test_each_day_of_a_run_has_its_own_checks(project: Callable[..., Project]) -> None:
    orders = project(**LATEST, max_attempts=1, quote_rows=True)
    answers = {
        "20200101": lines({"id": 1, "at": "2020-01-01T05:00:00Z"}),
        "20200102": lines(
            {"id": 1, "at": "2020-01-02T05:00:00Z"}, {"id": 1, "at": "2020-01-03T00:00:00Z"}
        ),
        "20200103": Answer(status=404),
    }
    orders.server.answer = lambda path: answers[path.rpartition("=")[2]]

    run = orders.run("2020-01-01", "2020-01-03")

    assert not run.success
    assert all(check.passed for check in evaluated(orders, "2020-01-01").values())
    second = evaluated(orders, "2020-01-02")
    assert second["key"].description == "of 2 rows 1 have the id of another row"
    assert numbers(second["key"])["for example"] == ["1 (2 times)"]
    assert second["updated_at"].description == (
        "of 2 rows 1 have an at that is not on 2020-01-02 in UTC"
    )
    assert numbers(second["updated_at"])["for example"] == ["2020-01-03 00:00:00+00:00"]
    # the view of the latest state takes the newest of the two, so it is not an error
    assert {check.severity for check in second.values() if not check.passed} == {
        dg.AssetCheckSeverity.WARN
    }
    orders.server.answer = lambda path: lines({"id": 3, "at": "2020-01-03T05:00:00Z"})
    assert orders.run("2020-01-03").success
    assert evaluated(orders, "2020-01-03")["key"].passed


def test_a_key_that_is_repeated_in_a_snapshot_alerts(project: Callable[..., Project]) -> None:
    orders = project(key=["customer.id", "no"], quote_rows=True)
    row = {"customer": {"id": "C1"}, "no": 1}
    orders.server.answer = lambda path: lines(row, row, {"customer": {"id": "C1"}, "no": 2})

    run = orders.run()

    assert run.success
    check = evaluated(orders)["key"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert numbers(check)["for example"] == ["C1, 1 (2 times)"]
    (problem,) = read_run(orders.instance, run.dagster_run, {"orders"}).problems
    assert problem.check == "key"
    assert problem.reason == "of 3 rows 1 have the customer.id, no of another row"


def test_new_columns_and_changed_types_are_a_warning(project: Callable[..., Project]) -> None:
    orders = project(**LATEST)
    orders.server.answer = lambda path: lines({"id": 1, "at": "2020-01-20", "total": 1})
    orders.run(DAY)
    orders.server.answer = lambda path: lines(
        {"id": 1, "at": "2020-01-21", "total": 1.5, "by": "x"}
    )

    orders.run("2020-01-21")

    check = evaluated(orders, "2020-01-21")["schema"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "by is new, STRING; total was INTEGER and is FLOAT"
    assert numbers(check) == {"new columns": 1, "changed types": 1}


def test_accepted_bad_lines_count_as_rows_that_are_not_stored(
    project: Callable[..., Project],
) -> None:
    orders = project(max_bad_lines=1)
    orders.server.answer = lambda path: Answer(b'{"id": 1}\nno\n')

    orders.run()

    check = evaluated(orders)["rows"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert numbers(check) == {"rows in the feed": 2, "rows stored": 1, "bad lines": 1}


def test_the_last_day_of_a_run_checks_the_wildcard_query(
    project: Callable[..., Project],
    bigquery: Emulator,
    dataset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
    orders = project(bigquery=bigquery, **{**LATEST, "dataset": dataset})
    orders.server.answer = lambda path: lines({"id": 1, "at": "2020-01-20"})
    days = [f"2020-01-{day}" for day in (18, 19, 20)]
    assert orders.run(days[0], days[-1]).success
    assert all(evaluated(orders, day)["schema"].passed for day in days)

    view = f"{dataset}.orders_mine"
    bigquery.client().query_and_wait(f"CREATE VIEW `{view}` AS SELECT 1 AS id")
    assert orders.run(days[0], days[-1]).success

    first, second, last = (evaluated(orders, day)["schema"] for day in days)
    assert first.passed
    assert second.passed
    assert (last.passed, last.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (last.description or "").startswith(f"{dataset}.orders_* cannot be queried: Views")


def test_in_bigquery_days_are_checked_in_the_same_way(
    project: Callable[..., Project],
    bigquery: Emulator,
    dataset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
    orders = project(bigquery=bigquery, **{**LATEST, "dataset": dataset})
    orders.server.answer = lambda path: lines({"id": 1, "at": "2020-01-19T05:00:00"})

    assert orders.run(DAY).success

    found = evaluated(orders, DAY)
    assert found["rows"].passed
    assert not found["updated_at"].passed


def test_an_unchanged_snapshot_repeats_its_last_checks(
    project: Callable[..., Project],
) -> None:
    orders = project(key=["id"])
    VersionedFeed(orders.server, lines({"id": 1}, {"id": 1}))
    orders.run()

    run = orders.run()

    assert metadata_of(run)[""]["unchanged"] is True
    check = evaluated(orders)["key"]
    assert check.description == "of 2 rows 1 have the id of another row"
    assert not check.passed


@pytest.mark.parametrize("days", [(DAY,), ("2020-01-19", DAY)])
def test_a_failed_import_leaves_the_last_checks_of_the_table(
    days: tuple[str, ...], project: Callable[..., Project]
) -> None:
    """Dagster shows a check that a failed run has planned as failed."""
    orders = project(**LATEST, max_attempts=1)
    orders.server.answer = lambda path: lines({"id": 1, "at": "2020-01-20T00:00:00Z"})
    done = orders.run(DAY)
    before = evaluated(orders, DAY)

    orders.server.answer = lambda path: Answer(status=404)
    assert not orders.run(*days).success

    checks = [dg.AssetCheckKey(dg.AssetKey("orders"), name) for name in before]
    for info in orders.instance.event_log_storage.get_asset_check_partition_info(
        checks, None, [DAY]
    ):
        assert info.latest_execution_status is AssetCheckExecutionRecordStatus.SUCCEEDED
        (record,) = orders.instance.event_log_storage.get_asset_check_execution_history(
            info.check_key, limit=1, partition_filter=PartitionKeyFilter(key=DAY)
        )
        assert record.evaluation
        assert record.evaluation.description == before[info.check_key.name].description
        target = record.evaluation.target_materialization_data
        assert target
        assert target.run_id == done.run_id


def test_days_of_a_resumed_run_are_checked_in_the_new_run_too(
    project: Callable[..., Project],
) -> None:
    orders = project(**LATEST, max_attempts=1)
    good = lines({"id": 1, "at": "2020-01-01T05:00:00Z"})
    orders.server.answer = lambda path: Answer(status=404) if "0102" in path else good
    first = orders.run("2020-01-01", "2020-01-02")
    tags = {"dagster/parent_run_id": first.run_id, "dagster/is_resume_retry": "true"}
    orders.server.answer = lambda path: good

    run = orders.run("2020-01-01", "2020-01-02", tags=tags)

    logged = orders.instance.all_logs(
        run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    checked = [e.dagster_event.asset_check_evaluation_data for e in logged if e.dagster_event]
    assert Counter(each.partition for each in checked) == {"2020-01-01": 4, "2020-01-02": 4}


@pytest.mark.parametrize(
    ("rows", "blocking", "summary"),
    [
        (
            [{"id": 1, "at": "2020-01-20"}, {"id": 1, "at": "2020-01-20"}],
            "key",
            "of 2 rows 1 have the id of another row",
        ),
        (
            [{"id": 1, "at": "2020-01-19"}],
            "updated_at",
            "of 1 rows 1 have an at that is not on 2020-01-20 in UTC (2020-01-19 00:00:00)",
        ),
    ],
)
def test_a_blocking_check_refuses_before_the_load(
    rows: list[dict[str, Any]], blocking: str, summary: str, project: Callable[..., Project]
) -> None:
    quoting = blocking == "updated_at"
    orders = project(**LATEST, blocking_checks=[blocking], quote_rows=quoting)
    orders.server.answer = lambda path: lines({"id": 0, "at": "2020-01-20"})
    orders.run(DAY)
    orders.server.answer = lambda path: lines(*rows)

    run = orders.run(DAY)

    assert not run.success
    assert orders.reason(run) == (
        f"orders {DAY}: {orders.server.url}?date=20200120 did not pass the check {blocking}, which "
        f"is among blocking_checks: {summary}; correct the feed, or remove {blocking} from "
        f"blocking_checks"
    )
    assert [row["id"] for row in orders.rows(Table("crm", "orders_20200120"))] == [0]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"blocking_checks": ["key"]}, "has key among its blocking_checks, and no key"),
        (
            {"blocking_checks": ["updated_at"], "updated_at": "at"},
            "which needs partition_by_date and updated_at",
        ),
        ({"blocking_checks": ["rows"]}, "Input should be 'key' or 'updated_at'"),
    ],
)
def test_blocking_a_check_that_the_feed_does_not_have_is_refused(
    attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        feed(**attributes)


def feed(**attributes: Any) -> Feed:
    return Feed(name="orders", url="https://example.com/feed", dataset="crm", **attributes)


def of(name: str, declared: Feed, *rows: dict[str, Any], day: str = DAY) -> CheckResult:
    from datetime import date

    table = pa.Table.from_pylist(list(rows))
    found = check_content(declared, date.fromisoformat(day), table)
    return next(each for each in found if each.name == name)


@pytest.mark.parametrize(
    ("day", "at", "passes"),
    [
        ("2020-03-29", "2020-03-28T23:00:00+00:00", True),  # a day of 23 hours
        ("2020-03-29", "2020-03-29T21:59:59+00:00", True),
        ("2020-03-29", "2020-03-29T22:00:00+00:00", False),
        ("2020-10-25", "2020-10-24T22:00:00+00:00", True),  # a day of 25 hours
        ("2020-10-25", "2020-10-25T22:59:59+00:00", True),
        ("2020-10-25", "2020-10-25T23:00:00+00:00", False),
        ("2020-02-29", "2020-02-29T00:00:00", True),  # a DATETIME is compared without a time zone
        ("2020-02-29", "2020-02-29T23:59:59", True),
        ("2020-02-29", "2020-03-01T00:00:00", False),
    ],
)
def test_the_day_of_updated_at_is_in_the_feeds_time_zone(day: str, at: str, passes: bool) -> None:
    from datetime import datetime

    declared = feed(
        partition_by_date={"start_date": "2020-01-01", "timezone": "Europe/Berlin"}, updated_at="at"
    )
    assert of("updated_at", declared, {"at": datetime.fromisoformat(at)}, day=day).passed is passes


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["yesterday"], f"at is STRING, which has no day; {ISO}"),
        (["2020-01-20", "20.01.2020"], f"at is STRING, which has no day; {ISO}"),
        (["1579478400", "x"], f"at is STRING, which has no day; {ISO}"),
        ([1579478], f"at is INTEGER, which has no day; {ISO}"),
        (
            [1579478400],
            "at is INTEGER, which has no day; declare its type in the feed's YAML "
            "(types: {at: {type: TIMESTAMP, format: epoch_s}})",
        ),
        (["2020-01-20", ""], 'at is STRING, which has no day; set null_values: [""] in the'),
        (["2020-01-20"], "at is STRING, which has no day; declare its type in the feed's YAML "),
    ],
    ids=str,
)
def test_an_updated_at_without_a_day_gives_advice(values: list[Any], says: str) -> None:
    declared = feed(partition_by_date=BY_DATE, updated_at="at")
    check = of("updated_at", declared, *({"at": value} for value in values))

    assert not check.passed
    assert check.summary.startswith(says)


def test_a_row_without_a_key_is_an_error_even_if_there_is_a_view() -> None:
    declared = feed(partition_by_date=BY_DATE, key=["a", "b"], updated_at="at")

    check = of("key", declared, {"a": 1, "b": 1}, {"a": 1, "b": None}, {"a": None, "b": 1})

    assert (check.passed, check.is_error) == (False, True)
    assert check.summary == "of 3 rows 2 have no a, b"


KEYS = st.tuples(
    st.one_of(st.none(), st.integers(0, 3), st.sampled_from([2**53, 2**53 + 1])),
    st.one_of(st.none(), st.sampled_from(["", "a", "b", "ä"])),
)


@given(st.lists(KEYS, min_size=1, max_size=60))
def test_repeated_keys_are_counted_exactly(keys: list[tuple[Any, Any]]) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    rows = pa.Table.from_pylist([{"a": a, "b": b} for a, b in keys], schema)
    declared = feed(key=["a", "b"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_BATCH", 7)
        patch.setattr(checks, "MAX_COMPARED", 3)
        (check,) = check_content(declared, None, rows)

    whole = [key for key in keys if None not in key]
    assert check.numbers == {
        "rows": len(keys),
        "repeated keys": len(whole) - len(set(whole)),
        "rows without a key": len(keys) - len(whole),
    }
    assert check.passed is (len(whole) == len(set(whole)) == len(keys))


def test_keys_with_equal_hashes_are_compared_by_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    monkeypatch.setattr(checks, "_hashes", lambda parts: np.zeros(len(parts[0]), np.uint64))

    assert of("key", feed(key=["a"]), {"a": 1}, {"a": 2}).passed
    assert of("key", feed(key=["a"]), {"a": 1}, {"a": 2}, {"a": 1}).numbers["repeated keys"] == 1
