"""The command for the first hour on a real project, tried against the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feed_assets_tests import first_hour
from feed_assets_tests.first_hour import STEPS, Hour, Outcome, Settings, report, run_steps
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.storage import cloud_storage

TAG = "projects/p/locations/eu/taxonomies/1/policyTags/2"
GIVEN = Settings("hour-project", bucket="stage", policy_tag=TAG)


@pytest.fixture
def running(bigquery: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, and a storage that writes to the folder the emulator reads."""
    (bigquery.buckets / "stage").mkdir(exist_ok=True)
    with cloud_storage(bigquery.buckets) as storage:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        monkeypatch.setattr("feed_assets.warehouse.bigquery.alter_tables.UPDATE_SECONDS", 0)
        yield bigquery


def test_every_step_succeeds_and_nothing_is_left(running: Emulator) -> None:
    outcomes = run_steps(GIVEN)
    assert [each for each in outcomes if each.result != "ok"] == []
    assert [each.step for each in outcomes] == [step.__doc__ for step in STEPS]
    assert list(running.client("hour-project").list_datasets()) == []


def test_steps_without_their_settings_are_reported_as_not_run(running: Emulator) -> None:
    steps = [first_hour.protections, first_hour.staged_load]
    outcomes = run_steps(Settings("hour-project"), steps)
    assert [(each.result, each.note) for each in outcomes] == [
        ("ok", "without a policy tag: give POLICY_TAG"),
        ("not run", "give BUCKET"),
    ]


def test_in_a_given_dataset_only_its_own_tables_are_dropped(running: Emulator) -> None:
    client = running.client("hour-project")
    client.create_dataset("mine")
    for name in ("etag_20200101", "other"):
        client.query_and_wait(f"CREATE TABLE mine.{name} (a INT64)")
    (outcome,) = run_steps(Settings("hour-project", dataset="mine"), [first_hour.if_match])
    assert outcome.result == "ok"
    left = {table.table_id for table in client.list_tables("mine")}
    assert left == {"etag_20200101", "other"}
    client.delete_dataset("mine", delete_contents=True)


def test_a_failed_step_is_in_the_report_and_the_others_still_run(running: Emulator) -> None:
    def wrong(hour: Hour) -> str:
        """Something | else"""
        first_hour.check_equal(hour.settings.project, hour.dataset)
        return ""

    outcomes = run_steps(GIVEN, [wrong, first_hour.if_match])
    assert [each.result for each in outcomes] == ["FAILED", "ok"]
    text = report(GIVEN, outcomes)
    assert "| FAILED |" in text
    for secret in (GIVEN.project, "feed_assets_first_hour_"):
        assert secret not in text


def test_a_report_names_no_project_account_or_bucket() -> None:
    note = f"a@example.com and my-sa@hour-project.iam.gserviceaccount.com in {TAG}, gs://stage |"
    text = report(GIVEN, [Outcome("a step", "FAILED", 1.25, note)])
    assert text.splitlines()[-1] == (
        "| a step | FAILED | 1.2 | ACCOUNT and ACCOUNT in POLICY_TAG, gs://BUCKET \\| |"
    )
