"""A real Dagster for tests: server and daemon over a copy of the project, asked as the UI does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import requests
import yaml

from feed_assets_tests.support import warm
from feed_assets_tests.support.project_copy import PROJECT, copy_tree, declare_example

T = TypeVar("T")
BIN = Path(sys.executable).parent
PATIENCE = 200.0
"""Seconds until a wait of a test fails; on an idle machine a wait takes at most ten."""

INSTANCE = """
# as the Makefile has it, but looking for queued and killed runs every second
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {pools: {default_limit: 1, granularity: run}}
run_launcher: {module: feed_assets.orchestration.run_launcher, class: CheckedRunLauncher}
run_monitoring: {enabled: true, poll_interval_seconds: 1, max_runtime_seconds: 43200}
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
"""
CODE = "feed_assets_tests.support.dagster.code_server:main"
DAEMON = "feed_assets_tests.support.dagster.daemon:main"
WORKSPACE = (
    "load_from: [grpc_server: {{host: 127.0.0.1, port: {port}, location_name: feed_assets}}]"
)

LOCATION = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
LAUNCH_BACKFILL = """mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename ... on LaunchBackfillSuccess { backfillId } } }"""
LAUNCH_RUN = """mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }"""
BACKFILL = """query Backfill($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status numPartitions runs { id } error { message } } } }"""
RUN = """query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status
  assetMaterializations { assetKey { path } partition }
  eventConnection { events { ... on ExecutionStepFailureEvent {
    stepKey error { message } } } } } } }"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
FAILURE = "dagster._core.definitions.events.Failure: "
"""Prefix that Dagster adds to our sentence."""
CHECKS = """query Checks($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) {
  ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks { name partitionStatuses {
  ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } } } } } } } } }"""
FRESHNESS = """query Freshness($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) {
  ... on AssetNode { internalFreshnessPolicy { ... on CronFreshnessPolicy {
  deadlineCron timezone } } } } }"""
RUNS_OF = """query RunsOf($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) {
  ... on AssetNode { assetMaterializations { runId runOrError { ... on Run { status
  tags { key value } } } } } } }"""
ASSET = """query Asset($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) {
  ... on AssetNode {
    partitionStats { numMaterialized numFailed numMaterializing }
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
    assetMaterializations { partition runId metadataEntries {
      label
      ... on IntMetadataEntry { intValue }
      ... on FloatMetadataEntry { floatValue }
      ... on TextMetadataEntry { text }
      ... on TableSchemaMetadataEntry { schema { columns { name type } } }
    } } } } }"""


@dataclass(frozen=True)
class Run:
    """A run that has ended; `failures` is what the UI shows of its failed steps, by asset."""

    id: str
    status: str
    failures: Mapping[str, str]
    materialized: Sequence[str | None]


@dataclass(frozen=True)
class Backfill:
    """A backfill that has ended, and its runs."""

    status: str
    partitions: int
    runs: Sequence[Run]


@dataclass(frozen=True)
class Asset:
    """Content of an asset's page: days by status, and the newest metadata of each."""

    statuses: Sequence[tuple[str, str, str]]
    materializations: Mapping[str | None, Mapping[str, Any]]


@dataclass(frozen=True)
class Dagster:
    """A running web server, at `url`, asked over GraphQL as its UI does."""

    url: str
    session: requests.Session = field(default_factory=requests.Session, repr=False)

    def ask(self, query: str, **variables: Any) -> Any:
        """The one answer to a query with one field."""
        answer = self.session.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60
        ).json()
        assert "errors" not in answer, answer["errors"]
        (value,) = answer["data"].values()
        return value

    def location(self) -> str:
        """Return the state of the code location: LOADED, LOADING, or its error."""
        (entry,) = self.ask(LOCATION)["locationEntries"]
        found = entry["locationOrLoadError"] or {}
        return str(found.get("message", entry["loadStatus"]))

    def ready(self) -> bool:
        """Return whether server, code location and daemon are up."""
        with suppress(requests.ConnectionError):
            return self.location() != "LOADING" and self.healthy()
        return False

    def healthy(self) -> bool:
        daemons = self.ask(DAEMONS)["daemonHealth"]["allDaemonStatuses"]
        return all(daemon["healthy"] for daemon in daemons if daemon["required"])

    def launch_backfill(self, asset: str, days: Sequence[str]) -> str:
        """Send the request of the UI's *Launch backfill*."""
        launched = self.ask(
            LAUNCH_BACKFILL,
            backfillParams={
                "assetSelection": [{"path": [asset]}],
                "partitionNames": list(days),
                "fromFailure": False,
                "tags": [],
            },
        )
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def launch_run(self, *assets: str) -> str:
        """Send the request of the UI's *Materialize* for assets without partitions."""
        checks = [(asset, name) for asset in assets for name in self.checks(asset)]
        launched = self.ask(
            LAUNCH_RUN,
            executionParams={
                "mode": "default",
                "executionMetadata": {"tags": []},
                "runConfigData": "{}",
                "selector": {
                    "repositoryLocationName": "feed_assets",
                    "repositoryName": "__repository__",
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": [asset]} for asset in assets],
                    "assetCheckSelection": [
                        {"assetKey": {"path": [asset]}, "name": name} for asset, name in checks
                    ],
                },
            },
        )
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["id"])

    def backfill(self, backfill_id: str) -> Backfill:
        """Wait until a backfill has ended."""

        def ended() -> Any:
            found = self.ask(BACKFILL, id=backfill_id)
            return found if found["status"].startswith(("COMPLETED_", "FAILED")) else None

        found = waited_for(f"backfill {backfill_id}", ended)
        assert found["error"] is None, found["error"]
        runs = [self.run(run["id"]) for run in found["runs"]]
        return Backfill(found["status"], found["numPartitions"], runs)

    def run(self, run_id: str) -> Run:
        """Wait until a run has ended."""

        def ended() -> bool:
            return self.ask(STATUS, id=run_id)["status"] in {"SUCCESS", "FAILURE", "CANCELED"}

        waited_for(f"run {run_id}", ended)
        found = self.ask(RUN, id=run_id)
        failures = [event for event in found["eventConnection"]["events"] if event]
        return Run(
            run_id,
            found["status"],
            {
                event["stepKey"]: event["error"]["message"].removeprefix(FAILURE).rstrip()
                for event in failures
            },
            [event["partition"] for event in found["assetMaterializations"]],
        )

    def sensor_run(self, asset: str, sensor: str) -> Run:
        """Wait until a sensor has materialized an asset."""

        def launched() -> str | None:
            for found in self.ask(RUNS_OF, asset={"path": [asset]})["assetMaterializations"]:
                tags = {tag["key"]: tag["value"] for tag in found["runOrError"]["tags"]}
                if tags.get("dagster/sensor_name") == sensor:
                    return str(found["runId"])
            return None

        return self.run(waited_for(f"{asset} by {sensor}", launched))

    def checks(self, asset: str) -> dict[str, list[tuple[str, str, str]]]:
        """The bars of the checks tab: by check, status, first day and last day."""
        node = self.ask(CHECKS, asset={"path": [asset]})
        return {
            check["name"]: [
                (each["status"], each["startKey"], each["endKey"])
                for each in (check["partitionStatuses"] or {}).get("ranges", [])
            ]
            for check in node["assetChecksOrError"]["checks"]
        }

    def deadline(self, asset: str) -> dict[str, str]:
        """The cron, and its time zone, by which the UI calls an asset fresh."""
        node = self.ask(FRESHNESS, asset={"path": [asset]})
        found: dict[str, str] = node["internalFreshnessPolicy"]
        return found

    def asset(self, name: str) -> Asset:
        found = self.ask(ASSET, asset={"path": [name]})
        ranges = (found["assetPartitionStatuses"] or {}).get("ranges", [])
        newest_last = reversed(found["assetMaterializations"])
        return Asset(
            [(each["status"], each["startKey"], each["endKey"]) for each in ranges],
            {each["partition"]: _metadata(each["metadataEntries"]) for each in newest_last},
        )


def _metadata(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        entry["label"]: next((value for key, value in entry.items() if key != "label"), None)
        for entry in entries
    }


def waited_for(what: str, check: Callable[[], T | None]) -> T:
    """Wait until `check` returns a true value, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.1)
    return found


def copied_project(to: Path, url: str, more: Mapping[str, Mapping[str, Any]]) -> Path:
    """Copy the project with the example's feeds, now of the server at `url`, and `more` by name.

    Of a feed whose `url` is a path, it is one of that server.
    The copy's schedules rest until the next 29 February, so that no clock starts a run.
    """
    for name in ("pyproject.toml", "workspace.yaml"):
        to.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, to)
    package = to / "feed_assets"
    copy_tree(PROJECT / "feed_assets", package)
    declare_example(to)
    for path in package.glob("defs/*/defs.yaml"):
        declared = yaml.safe_load(path.read_text())
        if declared["type"] != "feed_assets.JsonFeed":
            continue
        _declare(path, declared["attributes"] | {"url": f"{url}/feed.ndjson"})
    for name, attributes in more.items():
        path = package / "defs" / name / "defs.yaml"
        path.parent.mkdir()
        where = {"url": f"{url}{attributes.get('url', '/feed.ndjson')}"}
        _declare(path, {"name": name, "dataset": "crm", **attributes, **where})
    return to


def _declare(path: Path, attributes: Mapping[str, Any]) -> None:
    attributes = {**attributes, "schedule": "0 0 29 2 *"}
    path.write_text(yaml.safe_dump({"type": "feed_assets.JsonFeed", "attributes": attributes}))


@contextmanager
def dagster_over(project: Path, home: Path, environment: Mapping[str, str]) -> Iterator[Dagster]:
    """A code server, `dagster-webserver` and `dagster-daemon`; the end kills them and all runs."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(INSTANCE)
    # Two programs that both find no database make it at once, and stamp its version twice.
    dg.DagsterInstance.from_config(str(home)).dispose()
    env = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(project), **environment}
    (home / "workspace.yaml").write_text(WORKSPACE.format(port=(code_port := free_port())))
    served = ["-m", "feed_assets.definitions", "-p", str(code_port), "-d", "."]
    workspace = ["-w", str(home / "workspace.yaml")]
    port = str(free_port())
    with ExitStack() as programs:

        def start(name: str, *arguments: str) -> warm.Program:
            log = programs.enter_context((home / f"{name}.log").open("wb"))
            return programs.enter_context(warm.start(name, arguments, project, env, log))

        started = [start(CODE, "api", "grpc", *served)]
        waited_for("the code location", lambda: listens(code_port))
        started += [
            start("dagster-webserver", *workspace, "-p", port),
            start(DAEMON, "run", *workspace),
        ]
        dagster = Dagster(f"http://127.0.0.1:{port}")
        dagster.session.trust_env = False  # loopback needs no proxy

        def ready() -> bool:
            for program in started:
                assert program.poll() is None, f"{program.args} ended; its log is in {home}"
            return dagster.ready()

        waited_for("Dagster", ready)
        yield dagster


def listens(port: int) -> bool:
    """Return whether a program of this machine takes connections at a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def process(
    command: Sequence[str | Path], cwd: Path, env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program and all that it starts, which end with it; what they print goes to `log`."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT, process_group=0
        ) as program,
    ):
        try:
            yield program
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(program.pid, signal.SIGKILL)


_GIVEN: set[int] = set()


def free_port() -> int:
    """Below those that the kernel gives to whoever asks for any, so nobody takes it meanwhile.

    Each is given once, and processes, whose numbers follow each other, begin 100 ports apart.
    """
    for port in range(20_000 + os.getpid() * 100 % 11_900, 32_000):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port
    raise AssertionError("no port is free")
