"""The first hour on a real BigQuery project: every promise that no emulator can prove, in one run.

`make test-bigquery PROJECT=my-project` imports small feeds into a dataset of its own, through
Dagster as in production, deletes the dataset, and prints a report that names no project, account
or bucket. docs/production.md says what to give it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import dagster as dg
import pyarrow as pa
from google.api_core.exceptions import Forbidden, GoogleAPIError, PreconditionFailed
from google.cloud import bigquery

from feed_assets.errors import FeedAssetsError
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets_tests.support.dagster.project import Project
from feed_assets_tests.support.servers.feed import Answer, feed_server, lines
from feed_assets_tests.support.storing import store_shard

DAYS = ["2020-01-01", "2020-01-02", "2020-01-03"]
BY_DATE = {"partition_by_date": {"start_date": DAYS[0]}}
CREATED = "feed_assets_first_hour_"
Rows = Sequence[dict[str, Any]]


class NotRun(Exception):
    """A step needs something that was not given, or that is not there."""


@dataclass(frozen=True)
class Settings:
    """Options of the command. Without `dataset`, one is created and deleted."""

    project: str
    location: str = "EU"
    dataset: str = ""
    bucket: str = ""
    policy_tag: str = ""

    @property
    def url(self) -> str:
        bucket = f"&staging_bucket={self.bucket}" if self.bucket else ""
        return f"bigquery://{self.project}?location={self.location}{bucket}"


@dataclass(frozen=True)
class Outcome:
    """Result of a step: `ok`, `FAILED` or `not run`."""

    step: str
    result: str
    seconds: float
    note: str = ""


@dataclass
class Hour:
    """The dataset of one run, and the feeds that are imported into it."""

    settings: Settings
    dataset: str
    warehouse: BigQueryWarehouse
    client: bigquery.Client
    opened: ExitStack
    folder: Path
    tables: list[str] = field(default_factory=list)

    def feed(self, table: str, **attributes: Any) -> Project:
        """Declare a feed, with a server on this machine."""
        instance = self.opened.enter_context(dg.DagsterInstance.ephemeral())
        server = self.opened.enter_context(feed_server())
        self.tables.append(table)
        feed = Project(
            server, self.folder, instance, dataset=self.dataset, table=table, **attributes
        )
        feed.url, feed.tables = self.settings.url, self.warehouse
        return feed

    def name(self, table: str) -> str:
        return f"{self.settings.project}.{self.dataset}.{table}"

    def query(self, sql: str) -> list[dict[str, Any]]:
        return [dict(row.items()) for row in self.client.query_and_wait(sql)]

    def wildcard(self, table: str, order: str = "id") -> list[dict[str, Any]]:
        return self.query(f"SELECT * FROM `{self.name(table)}_*` ORDER BY {order}")

    def shard(self, table: str, day: str) -> Table:
        return Table(self.dataset, table).shard(date.fromisoformat(day))


def import_days(feed: Project, days: dict[str, Rows], asset: str = "orders") -> None:
    """Import these days, each with these rows. Raises AssertionError with the run's reason."""
    answers = {day.replace("-", ""): lines(*rows) for day, rows in days.items()}

    def answer(path: str) -> Answer:
        return answers[path.rpartition("date=")[2]]

    feed.server.answer = answer
    for day in days:
        _check_run(feed, feed.run(day, asset=asset))


def import_snapshot(feed: Project, rows: Rows) -> None:
    feed.server.answer = lambda path: lines(*rows)
    _check_run(feed, feed.run())


def _check_run(feed: Project, run: dg.ExecuteInProcessResult) -> None:
    assert run.success, feed.reason(run)


def check_equal(found: object, wanted: object) -> None:
    assert found == wanted, f"{found!r} instead of {wanted!r}"


# --- the steps, in their order


def empty_day(hour: Hour) -> str:
    """An empty day, from Parquet and from NDJSON"""
    for table, types in (("empty_parquet", {}), ("empty_ndjson", {"payload": "JSON"})):
        feed = hour.feed(table, **BY_DATE, types=types)
        import_days(feed, {DAYS[0]: [{"id": "N1", "payload": '{"a":1}'}], DAYS[1]: []})
        empty = hour.shard(table, DAYS[1])
        columns = [(column.name, column.type) for column in feed.tables.columns(empty) or ()]
        check_equal(columns, [("id", "STRING"), ("payload", types.get("payload", "STRING"))])
        check_equal(feed.rows(empty), [])
    return ""


def flexible_name(hour: Hour) -> str:
    """A column named `a b-c` is read back"""
    feed = hour.feed("flexible")
    import_snapshot(feed, [{"id": "N1", "a b-c": "x", "Straße": 1.5}])
    (row,) = feed.rows(Table(hour.dataset, "flexible"))
    check_equal(row, {"id": "N1", "a b-c": "x", "Straße": 1.5})
    return ""


BIGNUMERIC = "12345678901234567890.00000000000000000000000000000000000001"
EVERY_TYPE: dict[str, tuple[Any, Any]] = {
    "NUMERIC": ("0.000000001", Decimal("0.000000001")),
    "BIGNUMERIC": (BIGNUMERIC, Decimal(BIGNUMERIC)),
    "DATE": ("0001-01-01", date(1, 1, 1)),
    "TIME": ("23:59:59.999999", clock(23, 59, 59, 999999)),
    "DATETIME": ("9999-12-31T23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    "TIMESTAMP": ("1969-12-31T23:59:59.000001Z", datetime(1969, 12, 31, 23, 59, 59, 1, UTC)),
    "STRING": ("Köln \U0001f600", "Köln \U0001f600"),
    "BYTES": ("AP8=", b"\x00\xff"),
    "INTEGER": (-(2**63), -(2**63)),
    "FLOAT": (0.1, 0.1),
    "BOOLEAN": (True, True),
    "GEOGRAPHY": ("POINT(1.5 -2)", "POINT(1.5 -2)"),
}
"""A value of each type as in a feed, and as read back."""
AS_JSON = ({"a": [1, None]}, '{"a":[1,null]}')


def every_type(hour: Hour) -> str:
    """Every type is read back, from Parquet and with JSON from NDJSON"""
    for table, json in (("types_parquet", {}), ("types_ndjson", {"JSON": AS_JSON})):
        values = {f"c_{kind}": pair for kind, pair in {**EVERY_TYPE, **json}.items()}
        types = {name: name.removeprefix("c_") for name in values}
        feed = hour.feed(table, types=types)
        row = {name: value for name, (value, _) in values.items()}
        import_snapshot(feed, [{**row, "many": [1, 2], "record": {"at": "2020-01-01"}}])
        columns = feed.tables.columns(Table(hour.dataset, table)) or ()
        check_equal({c.name: c.type for c in columns if c.name in types}, types)
        (row,) = feed.rows(Table(hour.dataset, table))
        wanted = {name: value for name, (_, value) in values.items()}
        check_equal({name: row[name] for name in types}, wanted)
        check_equal((row["many"], row["record"]), ([1, 2], {"at": datetime(2020, 1, 1)}))
    return ""


def new_column(hour: Hour) -> str:
    """The second day has a new column, and the wildcard sees it"""
    feed = hour.feed("orders", **BY_DATE)
    import_days(feed, {DAYS[0]: [{"id": "N1"}], DAYS[1]: [{"id": "N2", "coupon": "X"}]})
    wanted = [{"id": "N1", "coupon": None}, {"id": "N2", "coupon": "X"}]
    check_equal(hour.wildcard("orders"), wanted)
    return ""


def old_day_again(hour: Hour) -> str:
    """An old day again, with a new column: the wildcard sees the column, and no row twice"""
    feed = hour.feed("again", **BY_DATE)
    import_days(feed, {DAYS[0]: [{"id": "N1"}], DAYS[1]: [{"id": "N2"}]})
    import_days(feed, {DAYS[0]: [{"id": "N1", "note": "x"}]})
    check_equal(hour.wildcard("again"), [{"id": "N1", "note": "x"}, {"id": "N2", "note": None}])
    return ""


def seven_wider_columns(hour: Hour) -> str:
    """Seven columns become FLOAT at once, in all days"""
    names = [f"n{number}" for number in range(7)]
    feed = hour.feed("wider", **BY_DATE)
    integers: dict[str, Any] = dict.fromkeys(names, 1)
    import_days(feed, {day: [{"id": day, **integers}] for day in DAYS[:2]})
    started = time.monotonic()
    import_days(feed, {DAYS[2]: [{"id": DAYS[2], **dict.fromkeys(names, 0.5)}]})
    for day in DAYS:
        columns = {c.name: c.type for c in feed.tables.columns(hour.shard("wider", day)) or ()}
        check_equal({columns[name] for name in names}, {"FLOAT"})
    check_equal([row["n6"] for row in hour.wildcard("wider")], [1.0, 1.0, 0.5])
    return f"{time.monotonic() - started:.1f} s for three days"


def protections(hour: Hour) -> str:
    """Survival of what others set: policy tag, default value, row access policy, labels"""
    feed = hour.feed("protected")
    rows = [{"id": "N1", "email": "a@example.com"}]
    import_snapshot(feed, rows)
    table = hour.client.get_table(hour.name("protected"))
    fields = {f["name"]: f for f in table.to_api_repr()["schema"]["fields"]}
    fields["id"]["defaultValueExpression"] = "'none'"
    if hour.settings.policy_tag:
        fields["email"]["policyTags"] = {"names": [hour.settings.policy_tag]}
    table.schema = [bigquery.SchemaField.from_api_repr(each) for each in fields.values()]
    table.labels = {**table.labels, "mine": "yes"}
    hour.client.update_table(table, ["schema", "labels"])
    hour.client.query_and_wait(
        f"CREATE ROW ACCESS POLICY mine ON `{hour.name('protected')}` "
        f"GRANT TO ('allAuthenticatedUsers') FILTER USING (TRUE)"
    )
    for changed in (rows, [{**rows[0], "coupon": "X"}]):
        import_snapshot(feed, changed)
        now = hour.client.get_table(hour.name("protected"))
        after = {f["name"]: f for f in now.to_api_repr()["schema"]["fields"]}
        check_equal(after["id"].get("defaultValueExpression"), "'none'")
        check_equal(after["email"].get("policyTags"), fields["email"].get("policyTags"))
        check_equal(now.labels.get("mine"), "yes")
        path = f"/projects/{hour.settings.project}/datasets/{hour.dataset}/tables/protected"
        connection: Any = hour.client._connection
        policies = connection.api_request("GET", f"{path}/rowAccessPolicies")
        check_equal(len(policies.get("rowAccessPolicies", [])), 1)
    return "" if hour.settings.policy_tag else "without a policy tag: give POLICY_TAG"


def if_match(hour: Hour) -> str:
    """An update with an old ETag is refused (412)"""
    feed = hour.feed("etag")
    import_snapshot(feed, [{"id": "N1"}])
    first, second = (hour.client.get_table(hour.name("etag")) for _ in range(2))
    first.description = "changed meanwhile"
    hour.client.update_table(first, ["description"])
    second.description = "from an old state"
    with suppress(PreconditionFailed):
        hour.client.update_table(second, ["description"])
        raise AssertionError("the update was not refused")
    return ""


def latest_state(hour: Hour) -> str:
    """The latest state has the newest row of each key, also after an old day again"""
    declared = {"key": ["id"], "updated_at": "at"}
    feed = hour.feed("latest", **BY_DATE, **declared)
    first = [{"id": "N1", "at": DAYS[0], "n": 1}, {"id": "N2", "at": DAYS[0], "n": 1}]
    days: dict[str, Rows] = {DAYS[0]: first, DAYS[1]: [{"id": "N1", "at": DAYS[1], "n": 2}]}
    again: dict[str, Rows] = {DAYS[1]: [{"id": "N2", "at": DAYS[1], "n": 3}]}
    for changed, wanted in ((days, {"N1": 2, "N2": 1}), (again, {"N1": 1, "N2": 3})):
        import_days(feed, changed)
        _check_run(feed, feed.run(asset="orders_latest"))
        rows = hour.query(f"SELECT id, n FROM `{hour.name('latest')}` ORDER BY id")
        check_equal({row["id"]: row["n"] for row in rows}, wanted)
    return ""


def staged_load(hour: Hour) -> str:
    """A load by way of the staging bucket, with the documented roles only"""
    if not hour.settings.bucket:
        raise NotRun("give BUCKET")
    feed = hour.feed("staged")
    with patch("feed_assets.warehouse.bigquery.warehouse.STAGED_BYTES", 1):
        import_snapshot(feed, [{"id": "N1"}])
    check_equal(feed.rows(Table(hour.dataset, "staged")), [{"id": "N1"}])
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return ""
    from google.cloud import storage

    bucket = storage.Client(hour.settings.project).bucket(hour.settings.bucket)
    wanted = ["storage.objects.create", "storage.buckets.get", "storage.buckets.update"]
    granted = bucket.test_iam_permissions(wanted)
    return f"the account has {', '.join(granted) or 'none'} of {', '.join(wanted)}"


def same_day_twice(hour: Hour) -> str:
    """Two imports of one day at once, each with a new column: one wins, both columns stay"""
    hour.tables.append("twice")
    table, day = Table(hour.dataset, "twice"), date.fromisoformat(DAYS[0])

    def one(name: str) -> None:
        rows = pa.table({"id": [name], name: [1]})
        with WarehouseResource(url=hour.settings.url).open() as warehouse:
            store_shard(warehouse, table, day, rows, attempt=uuid4().hex)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(one, name) for name in ("a", "b")]:
            done.result()
    (row,) = hour.wildcard("twice")
    check_equal(set(row), {"id", "a", "b"})
    winner = row["id"]
    check_equal(row, {"id": winner, "a": None, "b": None, winner: 1})
    return ""


STEPS: Sequence[Callable[[Hour], str]] = (
    empty_day,
    flexible_name,
    every_type,
    new_column,
    old_day_again,
    seven_wider_columns,
    protections,
    if_match,
    latest_state,
    staged_load,
    same_day_twice,
)


# --- one run


def run_steps(settings: Settings, steps: Sequence[Callable[[Hour], str]] = STEPS) -> list[Outcome]:
    """Run the steps in a dataset that is deleted at the end. A step that fails ends no other."""
    with _hour(settings) as hour:
        return [_outcome(hour, step) for step in steps]


def report(settings: Settings, outcomes: Sequence[Outcome]) -> str:
    """Write the outcomes as Markdown, without the names of project, dataset and bucket."""
    lines = [
        "### First hour on BigQuery",
        "",
        f"feed_assets {version('feed_assets')}, google-cloud-bigquery "
        f"{version('google-cloud-bigquery')}, Python {platform.python_version()}, location "
        f"{settings.location}, {date.today()}",
        "",
        "| step | result | seconds | note |",
        "|---|---|---|---|",
    ]
    for each in outcomes:
        note = re.sub(r"\s+", " ", each.note).replace("|", r"\|")
        lines.append(f"| {each.step} | {each.result} | {each.seconds:.1f} | {note} |")
    text = "\n".join(lines)
    names = {
        settings.project: "PROJECT",
        settings.bucket: "BUCKET",
        settings.policy_tag: "POLICY_TAG",
        settings.dataset: "DATASET",
    }
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = text.replace(name, names[name])
    text = re.sub(rf"{CREATED}\w+", "DATASET", text)
    return re.sub(r"[\w.+-]+@[\w-]+\.[\w.-]+", "ACCOUNT", text)


@contextmanager
def _hour(settings: Settings) -> Iterator[Hour]:
    with ExitStack() as opened:
        warehouse = opened.enter_context(WarehouseResource(url=settings.url).open())
        assert isinstance(warehouse, BigQueryWarehouse)
        client = warehouse._client
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        name = settings.dataset or f"{CREATED}{uuid4().hex[:12]}"
        if not settings.dataset:
            dataset = bigquery.Dataset(f"{settings.project}.{name}")
            dataset.location = settings.location
            client.create_dataset(dataset)
        hour = Hour(settings, name, warehouse, client, opened, folder)
        try:
            yield hour
        finally:
            if settings.dataset:
                _drop_tables(hour)
            else:
                client.delete_dataset(name, delete_contents=True, not_found_ok=True)


def _drop_tables(hour: Hour) -> None:
    """Drop what the steps made in a dataset that they did not create."""
    ours = re.compile(rf"(\w+_)?({'|'.join(hour.tables)})(_\d{{8}})?")
    for item in hour.client.list_tables(hour.dataset) if hour.tables else ():
        table = hour.client.get_table(item.reference)
        if ours.fullmatch(table.table_id) and "managed_by" in table.labels:
            hour.client.delete_table(table.reference)


def _outcome(hour: Hour, step: Callable[[Hour], str]) -> Outcome:
    name, started = (step.__doc__ or "").strip(), time.monotonic()
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    try:
        result, note = "ok", step(hour)
    except NotRun as missing:
        result, note = "not run", str(missing)
    except (AssertionError, FeedAssetsError, GoogleAPIError, OSError) as failure:
        result, note = "FAILED", f"{type(failure).__name__}: {failure}"
    print(result, file=sys.stderr, flush=True)
    return Outcome(name, result, time.monotonic() - started, note)


def main() -> None:
    """Run the first hour, and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("--location", default="EU", help="where its dataset is created")
    parser.add_argument("--dataset", default="", help="an empty one, if the account creates none")
    parser.add_argument("--bucket", default="", help="a staging bucket")
    parser.add_argument("--policy-tag", default="", help="projects/.../policyTags/...")
    settings = Settings(**vars(parser.parse_args()))
    try:
        outcomes = run_steps(settings)
    except Forbidden as refused:
        sys.exit(
            f"{refused.message}\nGive the account roles/bigquery.user on the project, or name an "
            f"empty dataset that it may write to: DATASET=..."
        )
    except FeedAssetsError as failure:
        sys.exit(str(failure))
    print(report(settings, outcomes))
    sys.exit(any(each.result == "FAILED" for each in outcomes))


if __name__ == "__main__":
    main()
