"""A table has all rows of the import or all rows from before, whichever call fails."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound
from google.api_core.retry import retry_base, retry_unary
from google.resumable_media.requests import _request_helpers as upload_retries

from feed_assets.errors import NotOurs, TableError, WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery import alter_tables, client, load_job, warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.store import Stored, store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import (
    NAMES,
    Exchange,
    Fault,
    FaultProxy,
    changed,
    cut,
    error,
    failing_job,
    garbled,
    hang,
    hung,
    lost,
    refused,
    reset,
    slow_job,
)
from feed_assets_tests.support.storing import store_shard

DAY = date(2020, 1, 2)
BEFORE = [{"id": "N0", "total": 1}]
AFTER = [{"id": "N1", "total": 1.5, "coupon": "X"}, {"id": "N2", "total": 2.5, "coupon": None}]
Rows = list[dict[str, Any]]
KINDS = ("snapshot", "shard", "first shard")
CALLS = {
    "snapshot": ("get table", "start upload", "send upload"),
    "shard": ("get table", "update table", "start upload", "send upload", "query"),
    "first shard": ("get dataset", "create dataset", "create table"),
}
"""The calls of an import; of a first shard only the calls that others do not make."""
CALLED = [pytest.param(kind, call, id=f"{kind}, {call}") for kind in KINDS for call in CALLS[kind]]
UNAVAILABLE = refused(503, "backendError", "The service is unavailable.")
TOO_FAST = refused(
    403, "rateLimitExceeded", "Exceeded rate limits: too many table update operations."
)


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Skip all waits, and return their seconds."""
    slept: list[float] = []
    instead = SimpleNamespace(
        sleep=slept.append, monotonic=lambda: time.monotonic() + sum(slept), time=time.time
    )
    for module in (retry_base, retry_unary, upload_retries, load_job, alter_tables):
        monkeypatch.setattr(module, "time", instead)
    return lambda: sum(slept)


@pytest.fixture(autouse=True)
def resumable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload small files as large ones are: in a session of its own, of several requests."""
    monkeypatch.setattr("google.cloud.bigquery.client._MAX_MULTIPART_SIZE", 0)


class Scene:
    """A table of one kind, with the rows of an import before (but for a first shard)."""

    def __init__(self, kind: str, bigquery: Emulator, dataset: str) -> None:
        self.kind = kind
        self.orders = Table(dataset, "orders")
        self.client = bigquery.client()
        self.table = self.orders if kind == "snapshot" else self.orders.shard(DAY)
        tables = BigQueryWarehouse(self.client)
        if kind == "shard":
            self.store(tables, BEFORE, "earlier", date(2020, 1, 1))
        if kind != "first shard":
            self.store(tables, BEFORE, "before")
        self.before = self.rows()

    def store(self, tables: BigQueryWarehouse, rows: Rows, attempt: str, day: date = DAY) -> Stored:
        table = pa.Table.from_pylist(rows)
        if self.kind == "snapshot":
            return store_snapshot(tables, self.orders, table, attempt=attempt)
        return store_shard(tables, self.orders, day, table, attempt=attempt)

    def rows(self) -> Rows | None:
        """Return the table's rows; None if it does not exist."""
        try:
            found = self.client.query_and_wait(f"SELECT * FROM `{self.table}` ORDER BY id")
        except NotFound:
            return None
        return [dict(row) for row in found]

    def names(self) -> set[str]:
        return {table.table_id for table in self.client.list_tables(self.orders.dataset)}

    def failure(self, proxy: FaultProxy, attempt: str = "1") -> WarehouseFailed:
        """Import through the proxy, and return the error."""
        with pytest.raises(WarehouseFailed) as failed:
            self.store(BigQueryWarehouse(proxy.client()), AFTER, attempt)
        return failed.value

    def store_once(self, proxy: FaultProxy) -> None:
        """Import through the proxy, and check that it succeeds with one load."""
        stored = self.store(BigQueryWarehouse(proxy.client()), AFTER, "1")
        assert stored.rows == len(AFTER)
        assert self.rows() == AFTER
        assert len(proxy.loads) == 1
        self.check_after()

    def check_after(self) -> None:
        """Check that the next import without faults stores its rows and leaves no other table."""
        tables = BigQueryWarehouse(self.client)
        stored = self.store(tables, AFTER, "with the faults gone")
        assert stored.rows == len(AFTER)
        assert self.rows() == AFTER
        beside = {
            "snapshot": set(),
            "shard": {"columns_orders", "orders_20200101"},
            "first shard": {"columns_orders"},
        }
        assert self.names() == {self.table.name} | beside[self.kind]
        if self.kind == "shard":
            every = self.client.query_and_wait(f"SELECT * FROM `{self.orders}_*`")
            assert [field.field_type for field in every.schema] == ["STRING", "FLOAT", "STRING"]
            assert sum(1 for _ in every) == len(BEFORE) + len(AFTER)


def sentence(failure: TableError) -> str:
    """Return its message, which is one sentence."""
    message = str(failure)
    assert "\n" not in message
    assert "http://" not in message
    return message


def always(nth: int) -> bool:
    return True


def once(nth: int) -> bool:
    return nth == 1


def later(nth: int) -> bool:
    return nth > 1


def at_first(nth: int) -> bool:
    """Select the first attempt of every call; a failed call is made again at once."""
    return nth % 2 == 1


@pytest.mark.parametrize(
    "fault",
    [reset, lost, cut, UNAVAILABLE, refused(429, "rateLimitExceeded"), hung],
    ids=["reset", "lost", "cut", "503", "429", "hung"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_import_whose_every_call_fails_once_is_done_once(
    kind: str, fault: Fault, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene(kind, bigquery, dataset)
    proxy.on(None, fault, when=at_first)

    scene.store_once(proxy)


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_that_exceeds_each_rate_limit_once_is_done_once(
    kind: str, bigquery: Emulator, proxy: FaultProxy, dataset: str, waited: Callable[[], float]
) -> None:
    """Here the client does not start an upload again; we do, some seconds later."""
    scene = Scene(kind, bigquery, dataset)
    for call in NAMES:
        proxy.on(call, TOO_FAST, when=once)

    scene.store_once(proxy)

    assert waited() > load_job.WAIT_SECONDS


def test_a_call_that_hangs_is_made_again_after_its_timeout(
    bigquery: Emulator, proxy: FaultProxy, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene("snapshot", bigquery, dataset)
    for module in (warehouse, client, load_job):
        monkeypatch.setattr(module, "CALL_SECONDS", 0.5)
    proxy.on("get table", hang, when=once)
    proxy.on("send upload", hang, when=once)

    scene.store_once(proxy)


FAULTS: dict[str, tuple[Fault, str]] = {
    "503": (UNAVAILABLE, "The service is unavailable; try again later$"),
    "403": (TOO_FAST, "too many table update operations; try again later$"),
    "429": (refused(429, ""), "as the test wants it; try again later$"),
    "garbled": (garbled, "gave no proper answer when .*; try again later$"),
    "reset": (reset, "gave no proper answer when .*; try again later$"),
    "hung": (hung, r"gave no proper answer when .*timeout=\S+\); try again later$"),
}


@pytest.mark.parametrize(("kind", "call"), CALLED)
def test_a_call_that_always_fails_gives_one_sentence_and_changes_nothing(
    kind: str, call: str, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    """Each import fails in its own way, over what the one before has left."""
    scene = Scene(kind, bigquery, dataset)
    expected = scene.before
    for attempt, (fault, says) in FAULTS.items():
        proxy.clear()
        proxy.on(call, fault)

        failed = scene.failure(proxy, attempt)

        assert failed.transient
        assert re.search(says, sentence(failed))
        assert proxy.counted()[call]
        assert len(proxy.loads) <= 1
        if proxy.loads:  # the calls after the load concern the other shards
            expected = AFTER
        assert scene.rows() == expected
    scene.check_after()


PERMISSIONS = {
    "get table": ("bigquery.tables.get", "BigQuery Data Editor on the dataset"),
    "update table": ("bigquery.tables.update", "BigQuery Data Editor on the dataset"),
    "create table": ("bigquery.tables.create", "BigQuery Data Editor on the dataset"),
    "get dataset": ("bigquery.datasets.get", "BigQuery Data Editor on the dataset"),
    "create dataset": ("bigquery.datasets.create", "BigQuery User on the project test-project"),
    "start upload": ("bigquery.jobs.create", "BigQuery Job User on the project test-project"),
    "send upload": ("bigquery.jobs.create", "BigQuery Job User on the project test-project"),
    "query": ("bigquery.jobs.create", "BigQuery Job User on the project test-project"),
}


@pytest.mark.parametrize(("kind", "call"), CALLED)
def test_a_call_that_is_denied_names_the_role_that_is_missing(
    kind: str, call: str, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene(kind, bigquery, dataset)
    permission, role = PERMISSIONS[call]
    denied = f"Access Denied: Permission {permission} denied on resource (or it may not exist)."
    proxy.on(call, refused(403, "accessDenied", denied))

    with pytest.raises(WarehouseFailed, match=f"{permission} denied .*; give .* {role}") as failed:
        scene.store(BigQueryWarehouse(proxy.client()), AFTER, "1")

    assert sentence(failed.value)
    assert not failed.value.transient
    assert proxy.counted()[call] == 1
    assert scene.rows() == (AFTER if proxy.loads else scene.before)
    scene.check_after()


# --- limits

LIMITED = "Exceeded rate limits: too many table update operations for this table."


def five_updates_in_ten_seconds(waited: Callable[[], float]) -> Fault:
    """Refuse a statement that is the sixth update of a table's metadata in ten seconds.

    https://cloud.google.com/bigquery/quotas#standard_tables
    """
    times: dict[bytes, list[float]] = {}

    def fault(exchange: Exchange) -> None:
        found = re.search(rb"ALTER TABLE `([^`]+)`", exchange.call.body)
        if found:
            recent = [at for at in times.get(found[1], []) if at > waited() - 10]
            if len(recent) >= 5:
                exchange.answer(error(400, "invalidQuery", LIMITED))
                return
            times[found[1]] = [*recent, waited()]
        exchange.answer(exchange.forward())

    return fault


def test_seven_columns_that_widen_at_once_keep_within_the_rate_of_updates(
    bigquery: Emulator, proxy: FaultProxy, dataset: str, waited: Callable[[], float]
) -> None:
    orders = Table(dataset, "orders")
    names = "abcdefg"
    narrow, wide = ([dict.fromkeys(names, value)] for value in (1, 1.5))
    tables = BigQueryWarehouse(proxy.client())

    def store(day: int, rows: Rows) -> None:
        table = pa.Table.from_pylist(rows)
        store_shard(tables, orders, date(2020, 1, day), table, attempt=f"{day}")

    store(1, narrow)
    proxy.on("query", five_updates_in_ten_seconds(waited))
    store(2, wide)

    schema = bigquery.client().get_table(str(orders.shard(date(2020, 1, 1)))).schema
    assert {field.field_type for field in schema} == {"FLOAT"}
    refusals = [call for call in proxy.calls if b"ALTER TABLE" in call.body]
    assert len(refusals) == len(names)  # each statement once: none was refused


@pytest.mark.parametrize("code", [400, 403])
@pytest.mark.parametrize("reason", ["invalidQuery", "quotaExceeded", "jobRateLimitExceeded"])
def test_too_many_table_updates_are_a_transient_error(
    code: int, reason: str, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene("shard", bigquery, dataset)
    proxy.on("update table", refused(code, reason, LIMITED))
    failure = scene.failure(proxy)
    assert failure.transient
    assert sentence(failure).endswith("try again later")

    proxy.clear()
    proxy.on("query", refused(code, reason, LIMITED), when=once)
    scene.store(BigQueryWarehouse(proxy.client()), AFTER, "2")
    assert scene.rows() == AFTER


# --- load jobs


@dataclass(frozen=True)
class Job:
    """A faulty load job: its responses, the import's error ("" for none), and the loads done."""

    rules: Sequence[tuple[str, Fault, Callable[[int], bool]]]
    ends: str = ""
    transient: bool = True
    jobs: int = 1
    waits: float = 0.0


HUNG = slow_job(math.inf)
JOBS = {
    "slow": Job([("send upload", slow_job(3), always)]),
    "fails once: backendError": Job(
        [("send upload", failing_job("backendError"), once)], jobs=2, waits=10
    ),
    "fails once: jobInternalError": Job(
        [("send upload", failing_job("jobInternalError"), once)], jobs=2, waits=10
    ),
    "fails once: rateLimitExceeded": Job(
        [("send upload", failing_job("rateLimitExceeded"), once)], jobs=2, waits=10
    ),
    "fails, having run": Job(
        [
            ("send upload", slow_job(2), once),
            ("get job", changed(lambda job: failed(job, "backendError")), lambda nth: nth == 2),
        ],
        jobs=2,
        waits=10,
    ),
    "fails always: backendError": Job(
        [("send upload", failing_job("backendError", "Backend error"), always)],
        "refused loading .*: Backend error; try again later$",
        jobs=3,
        waits=30,
    ),
    "invalid": Job(
        [("send upload", failing_job("invalid", "Error while reading data."), always)],
        "refused loading .*: Error while reading data$",
        transient=False,
    ),
    "quotaExceeded": Job(
        [("send upload", failing_job("quotaExceeded", "Quota exceeded: 1500 loads."), always)],
        "Quota exceeded: 1500 loads; wait until the quota is refilled, or ask Google to raise it$",
        transient=False,
    ),
    "stopped by somebody": Job(
        [("send upload", failing_job("stopped", "Job execution was cancelled"), always)],
        "Job execution was cancelled$",
        transient=False,
    ),
    "hangs": Job(
        [("send upload", HUNG, always)],
        r"did not say in time that .* is loaded; the job \S+-0 was cancelled; try again",
        waits=3500,
    ),
    "hangs and cannot be cancelled": Job(
        [("send upload", slow_job(math.inf, cancel="refused"), always)],
        "could not be cancelled; try again later$",
    ),
    "ends when it is cancelled": Job([("send upload", slow_job(math.inf, cancel="late"), always)]),
    "polls fail at times": Job(
        [
            ("send upload", slow_job(2), always),
            ("get job", refused(504, ""), once),
            ("get job", garbled, once),
        ]
    ),
    "polls always fail": Job(
        [("send upload", HUNG, always), ("get job", UNAVAILABLE, always)],
        "did not say in time .* was cancelled; try again later$",
    ),
    # the last byte arrives, and the answer does not
    "answer lost": Job([("send upload", lost, once)]),
    "answer lost, session gone": Job(
        [("send upload", lost, once), ("send upload", refused(410, ""), always)]
    ),
    "answer lost, then 503 for long": Job(
        [("send upload", lost, once), ("send upload", UNAVAILABLE, always)]
    ),
    "answer lost, job not found at once": Job(
        [("send upload", lost, once), ("get job", refused(404, "notFound"), once)]
    ),
    "answer lost, job slow": Job(
        [("send upload", slow_job(4), always), ("send upload", reset, later)]
    ),
    "session gone before the upload": Job([("send upload", refused(410, ""), once)]),
    "session unknown before the upload": Job([("send upload", refused(404, ""), once)]),
}


def failed(job: Any, reason: str) -> Any:
    return job | {"status": {"state": "DONE", "errorResult": {"reason": reason}}}


DONE = [name for name, job in JOBS.items() if not job.ends]
FAILING = [name for name, job in JOBS.items() if job.ends]
WAYS = {
    "a snapshot": ("snapshot", "send upload"),
    "a shard": ("shard", "send upload"),
    "a small file": ("snapshot", "upload"),  # in one request, without a session
}
"""The kind of table, and the call that brings its rows."""
LOADS = [
    pytest.param(*WAYS[way], names, id=f"{way}: {', '.join(names)}")
    for way in WAYS
    for names in [*([name] for name in DONE), FAILING]
    if not (way == "a small file" and "session" in names[0])
]


@pytest.mark.parametrize(("kind", "upload", "names"), LOADS)
def test_a_load_job_that_goes_wrong_is_done_once_or_fails_with_one_sentence(
    kind: str,
    upload: str,
    names: Sequence[str],
    bigquery: Emulator,
    proxy: FaultProxy,
    dataset: str,
    waited: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Failed loads change nothing, so they share a table."""
    if upload == "upload":
        monkeypatch.setattr("google.cloud.bigquery.client._MAX_MULTIPART_SIZE", 5 << 20)
    scene = Scene(kind, bigquery, dataset)
    for name in names:
        check_job(name, scene, proxy, waited, upload)
    scene.check_after()


def check_job(
    name: str,
    scene: Scene,
    proxy: FaultProxy,
    waited: Callable[[], float],
    upload: str,
) -> None:
    """Import while load jobs go wrong; calls named `upload` bring their rows."""
    job = JOBS[name]
    proxy.clear()
    for call, fault, when in job.rules:
        proxy.on(upload if call == "send upload" else call, fault, when=when)
    already = waited()

    if job.ends:
        with pytest.raises(WarehouseFailed, match=job.ends) as refusal:
            scene.store(BigQueryWarehouse(proxy.client()), AFTER, name)
        assert sentence(refusal.value)
        assert refusal.value.transient is job.transient
        assert not proxy.loads
    else:
        assert scene.store(BigQueryWarehouse(proxy.client()), AFTER, name).rows == len(AFTER)
        assert len(proxy.loads) >= 1
    assert waited() - already >= job.waits
    assert scene.rows() == (scene.before if job.ends else AFTER)
    makes = "start upload" if upload == "send upload" else upload
    made = {c.job["jobReference"]["jobId"] for c in proxy.calls if c.name == makes}
    assert len(made) == job.jobs


def test_a_repeated_attempt_finds_its_job_and_loads_nothing(
    bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene("snapshot", bigquery, dataset)
    for _ in range(2):
        stored = scene.store(BigQueryWarehouse(proxy.client()), AFTER, "1")
        assert stored.rows == len(AFTER)

    assert len(proxy.loads) == 1
    assert scene.rows() == AFTER


# --- places


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_in_another_location_is_named_with_both_and_unchanged(
    kind: str, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene(kind, bigquery, dataset)
    bigquery.client().create_dataset(dataset, exists_ok=True)
    names = scene.names()

    with pytest.raises(WarehouseFailed, match=r"is in EU, and .* has location=US; write") as failed:
        scene.store(BigQueryWarehouse(proxy.client(location="US")), AFTER, "1")

    assert not failed.value.transient
    assert scene.names() == names
    assert scene.rows() == scene.before


@pytest.mark.parametrize(
    ("kind", "of"),
    [("EXTERNAL", "external"), ("MATERIALIZED_VIEW", "materialized view"), ("VIEW", "view")],
)
def test_views_and_external_tables_are_not_replaced(
    kind: str, of: str, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene("snapshot", bigquery, dataset)
    proxy.on("get table", changed(lambda table: table | {"type": kind}))

    with pytest.raises(NotOurs, match=f"orders is a {of}, so rows cannot be stored there; drop it"):
        scene.store(BigQueryWarehouse(proxy.client()), AFTER, "1")

    assert scene.rows() == BEFORE


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    "fault", [reset, lost, cut, UNAVAILABLE], ids=["reset", "lost", "cut", "503"]
)
def test_the_latest_state_is_built_or_the_next_update_builds_it(
    fault: Fault, exists: bool, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene("shard", bigquery, dataset)
    tables = BigQueryWarehouse(scene.client)
    if exists:
        tables.update_latest(scene.orders, ["id"], "total")
    proxy.on(None, fault, when=at_first)

    try:
        tables = BigQueryWarehouse(proxy.client())
        assert tables.update_latest(scene.orders, ["id"], "id")
    except WarehouseFailed as failed:
        lost_answer = failed
        proxy.clear()
        assert tables.update_latest(scene.orders, ["id"], "id")
        assert lost_answer.transient

    view = scene.client.get_table(str(scene.orders))
    assert "latest_orders`" in view.view_query
    assert tables.count(scene.orders.latest) == len(BEFORE)


def test_the_calls_of_an_import_are_counted(
    bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    scene = Scene("snapshot", bigquery, dataset)

    scene.store(BigQueryWarehouse(proxy.client()), AFTER, "1")

    counted = proxy.counted()
    assert counted["start upload"] == counted["send upload"] == 1
    assert sum(counted.values()) == len(proxy.calls)
