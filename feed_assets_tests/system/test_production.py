"""deploy/ on real parts: the image's environment, each service as a process, PostgreSQL."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit
from zipfile import ZipFile

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import WorkerStatus
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.tags import GRPC_INFO_TAG

from feed_assets_tests.support.dagster.client import free_port, waited_for
from feed_assets_tests.support.dagster.deployed import (
    DEPLOY,
    SERVICES,
    Deployed,
    Image,
    built,
    deployed,
    project_with,
)
from feed_assets_tests.support.dagster.postgres import postgres
from feed_assets_tests.support.servers.feed import Answer, feed_server, lines

pytestmark = [
    pytest.mark.timeout(600),  # beside other tests, a run takes a minute to start
    pytest.mark.xdist_group("services"),  # one after the other: beside them, others compute
]

INSTANCE = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
AT_ONCE = INSTANCE["concurrency"]["runs"]["max_concurrent_runs"]
FEEDS = [f"shop_{letter}" for letter in "abcdefgh"[: AT_ONCE + 1]]
TWICE, OTHER = FEEDS[:2]
LAUNCHED = [TWICE, *FEEDS]
"""One run each, of one feed more than may be imported at once."""
RUN = {dg.DagsterEventType.RUN_STARTING: 1, dg.DagsterEventType.RUN_SUCCESS: -1}
"""Change in the number of active runs, by event."""


@dataclass
class Gate:
    """A server of a feed that answers only when it is opened, and counts waiting requests."""

    opened: threading.Event = field(default_factory=threading.Event)
    waiting: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    """Most simultaneous requests of each feed."""

    def answer(self, path: str) -> Answer:
        feed = urlsplit(path).query.removeprefix("shop=")
        self.waiting[feed] += 1
        self.most[feed] = max(self.most[feed], self.waiting[feed])
        assert self.opened.wait(300)
        self.waiting[feed] -= 1
        return lines({"id": "N1", "shop": feed})


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def image(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    here = tmp_path_factory.mktemp("production")
    with feed_server() as server:
        server.answer = gate.answer
        address = server.url.removesuffix("/feed")
        feeds = {name: {"url": f"/feed.ndjson?shop={name}", "dataset": "shops"} for name in FEEDS}
        yield built(project_with(here / "project", address, feeds), here / "image")


@pytest.fixture(scope="module")
def production(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    warehouse = tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb"
    secrets = {"FEED_ASSETS_WAREHOUSE": f"duckdb://{warehouse}"}
    with (
        postgres(free_port()) as database,
        deployed(image, database.environment, secrets) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def instance(production: Deployed) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in production.database.items():
            patched.setenv(name, value)
        with dg.DagsterInstance.from_config(str(production.image.home)) as opened:
            yield opened


def test_the_wheel_has_the_project_and_nothing_else(image: Image) -> None:
    with ZipFile(image.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    build = image.root / "build"
    every = (path for path in (build / "feed_assets").rglob("*") if path.is_file())
    files = {path for path in every if path.suffix != ".pyc"}
    assert names == {str(path.relative_to(build)) for path in files}
    assert {"feed_assets/py.typed", "feed_assets/defs/shop_a/defs.yaml"} <= names


def test_only_production_packages_of_the_lock_are_installed(image: Image) -> None:
    found = image.packages.glob("*.dist-info")
    installed = {path.name.partition("-")[0].lower() for path in found}
    assert {"feed_assets", "dagster_postgres", "dagster_k8s"} <= installed
    assert not {"pytest", "mypy", "bqemulator", "dagster_dg_cli"} & installed


GUEST = {
    "defs/resources.py": """
        import dagster as dg


        @dg.definitions
        def resources() -> dg.Definitions:
            return dg.Definitions(resources={"warehouse": "a resource of their own"})
    """,
    "defs/report.py": """
        import os

        import dagster as dg
        import duckdb


        @dg.asset(
            deps=["orders_latest", "leads"],
            required_resource_keys={"warehouse"},
            automation_condition=dg.AutomationCondition.eager(),
        )
        def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            file = os.environ["FEED_ASSETS_WAREHOUSE"].removeprefix("duckdb://")
            sql = "SELECT count(*) FROM crm.orders JOIN crm.leads USING (id)"
            with duckdb.connect(file, read_only=True) as database:
                (rows,) = database.sql(sql).fetchone()
            assert context.resources.warehouse == "a resource of their own"
            return dg.MaterializeResult(metadata={"rows": rows})
    """,
    "run.py": """
        import gc, json, logging, os, warnings

        logging.basicConfig()

        import dagster as dg

        def process():
            return [gc.isenabled(), gc.get_freeze_count(), list(warnings.filters), dict(os.environ),
                    {name: list(logger.filters) for name, logger in
                     logging.root.manager.loggerDict.items() if getattr(logger, "filters", None)}]

        before = process()
        from acme.definitions import defs
        definitions = defs()
        assert process() == before

        repository = definitions.get_repository_def()
        job = definitions.resolve_implicit_global_asset_job_def()
        asset_graph = repository.asset_graph
        sensors = {
            sensor.name: sorted(
                key.to_user_string() for key in sensor.asset_selection.resolve(asset_graph)
            )
            for sensor in repository.sensor_defs if sensor.asset_selection
        }
        with dg.DagsterInstance.ephemeral() as instance:
            def materialize(*names, **options):
                keys = [dg.AssetKey(name) for name in names]
                return job.execute_in_process(
                    instance=instance, asset_selection=keys, raise_on_error=True, **options)
            materialize("orders", partition_key="2020-01-01")
            done = materialize("orders_latest", "leads", "report")
        logging.getLogger("urllib3.connectionpool").warning("their own https://a.b/?x=1")
        (rows,) = [event.materialization.metadata["rows"].value
                   for event in done.get_asset_materialization_events()
                   if event.asset_key == dg.AssetKey("report")]
        print(json.dumps({"sensors": sensors, "executor": job.executor_def.name, "rows": rows}))
    """,
}
"""Files of another team's Dagster project: its resource, its asset downstream, and a run of all."""


def test_another_project_has_feeds_beside_its_own_assets(image: Image, tmp_path: Path) -> None:
    """Its definitions are those of docs/production.md."""
    page = (DEPLOY.parent / "docs/production.md").read_text()
    (definitions,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    package = tmp_path / "acme"
    with feed_server() as server:
        server.answer = lambda path: lines({"id": "N1", "at": "2020-01-01"})
        feed = {"url": "{{ env.FEED_URL }}", "dataset": "crm"}
        by_date = {"partition_by_date": {"start_date": "2020-01-01"}, "key": ["id"]}
        feeds: dict[str, dict[str, object]] = {
            "orders": {**feed, **by_date, "updated_at": "at"},
            "leads": {**feed},
        }
        files = {name: dedent(text) for name, text in GUEST.items()}
        files["definitions.py"] = definitions.replace("in_process", "multiprocess")
        for name, attributes in feeds.items():
            declared = {"type": "feed_assets.JsonFeed", "attributes": {"name": name, **attributes}}
            files[f"defs/{name}/defs.yaml"] = yaml.safe_dump(declared)
        for name, text in files.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(text)
        (tmp_path / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "acme"\n')
        (package / "__init__.py").touch()
        done = image.run(
            *("python", "-W", "ignore", str(package / "run.py")),
            PYTHONPATH=str(tmp_path),
            FEED_URL=server.url,
            FEED_ASSETS_WAREHOUSE=f"duckdb://{tmp_path}/warehouse.duckdb",
        )
    assert done.returncode == 0, done.stderr
    assert "their own https://a.b/?x=1" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "sensors": {
            "latest_state": ["orders_latest"],
            "default_automation_condition_sensor": ["leads", "orders", "report"],
        },
        "executor": "multiprocess",
        "rows": 1,
    }


def test_every_service_comes_up_and_the_feeds_load_from_the_wheel(production: Deployed) -> None:
    assert production.dagster.location() == "LOADED"
    assert production.dagster.deadline(FEEDS[0])["deadlineCron"] == "0 3 29 2 *"
    checked = [name for name in ("code", "webserver", "daemon") if "healthcheck" in SERVICES[name]]
    assert [name for name in checked if production.check(name)] == checked == ["code", "daemon"]


def test_runs_are_limited_to_one_per_feed_and_a_maximum_in_total(
    production: Deployed, instance: dg.DagsterInstance, gate: Gate
) -> None:
    runs = {production.dagster.launch_run(feed): feed for feed in LAUNCHED}

    def waits_for_its_turn(run: str) -> bool:
        found = instance.get_run_by_id(run)
        if found and found.status is dg.DagsterRunStatus.QUEUED:
            return True
        pool = instance.event_log_storage.get_concurrency_info(runs[run])
        return any(
            step.run_id == run and not step.assigned_timestamp for step in pool.pending_steps
        )

    waited_for("imports of two feeds", lambda: gate.waiting[TWICE] and gate.waiting[OTHER])
    waited_for("some in the queue", lambda: "won't launch more" in production.log("daemon"))
    waited_for("the second run of one", lambda: any(map(waits_for_its_turn, list(runs)[:2])))
    gate.opened.set()
    assert {production.dagster.run(run).status for run in runs} == {"SUCCESS"}

    assert gate.most == dict.fromkeys(FEEDS, 1)
    of_all = [
        (entry.timestamp, RUN[entry.dagster_event.event_type])
        for run in runs
        for entry in instance.all_logs(run, of_type=set(RUN))
        if entry.dagster_event
    ]
    assert most_at_once(of_all) == AT_ONCE


def most_at_once(changes: Sequence[tuple[float, int]]) -> int:
    """Return the maximum at once, from starts (1) and ends (-1) by time."""
    return max(accumulate(change for _, change in sorted(changes)))


def test_a_run_that_its_code_server_does_not_run_counts_as_killed(
    production: Deployed, instance: dg.DagsterInstance
) -> None:
    """Run like one whose code server's container was killed."""
    server = {"host": "127.0.0.1", "port": int(production.ports["4000"])}
    tags = {GRPC_INFO_TAG: json.dumps(server)}
    started = dg.DagsterRun("a job", status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.run_storage.add_run(started)
    health = instance.run_launcher.check_run_worker_health(started)
    assert (health.status, health.msg) == (
        WorkerStatus.NOT_FOUND,
        "its code server was started again, and does not run it",
    )
    instance.delete_run(started.run_id)


def test_the_history_is_in_postgresql_and_nowhere_else(
    production: Deployed, instance: dg.DagsterInstance
) -> None:
    assert {type(storage).__module__.partition(".")[0] for storage in storages(instance)} == {
        "dagster_postgres"
    }
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert list(production.image.home.rglob("*.db")) == []


def storages(instance: dg.DagsterInstance) -> list[object]:
    found = [instance.run_storage, instance.event_log_storage, instance.schedule_storage]
    return [getattr(each, "_storage", each) for each in found]
