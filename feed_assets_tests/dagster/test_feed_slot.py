"""One run imports a feed at a time, and a run that was killed does not occupy the feed's slot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._cli.utils import TMP_DAGSTER_HOME_PREFIX
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._core.storage.tags import GRPC_INFO_TAG

from feed_assets.orchestration.feed_slot import TEMPORARY, blocked_by
from feed_assets.orchestration.run_process import RunProcess, started_by_ps
from feed_assets_tests.support.dagster.client import INSTANCE
from feed_assets_tests.support.dagster.instances import instance_of
from feed_assets_tests.support.dagster.project import Project
from feed_assets_tests.support.servers.feed import FeedServer, feed_server, lines

STARTED, SUCCESS, FAILURE = (
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    with instance_of(home) as instance:
        yield instance


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with feed_server() as server:
        server.answer = lambda path: lines({"id": 1})
        yield server


@pytest.fixture(scope="module")
def ended() -> RunProcess:
    """A process of this machine that has ended."""
    code = "from feed_assets.orchestration.run_process import RunProcess as P; "
    code += "print(P.current().claim_by('orders'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    process = RunProcess.parse(done.stdout.strip())
    assert process is not None
    return process


HERE = RunProcess.current()
ELSEWHERE = replace(HERE, host="elsewhere:1")
CLAIMS = {
    "here": HERE.claim_by("orders"),
    "elsewhere": ELSEWHERE.claim_by("orders"),
    "op": "orders",
}


def claimed(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, claim: str) -> dg.DagsterRun:
    """A run that occupies the slot of the feed `orders`."""
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("orders")
    pools = RunOpConcurrency(
        root_key_counts={"orders": 1}, has_unconstrained_root_nodes=False, all_pools={"orders"}
    )
    run = dg.DagsterRun("a job", status=status, run_op_concurrency=pools)
    instance.run_storage.add_run(run)
    assert storage.claim_concurrency_slot("orders", run.run_id, claim).is_claimed
    return run


def test_a_process_is_known_until_it_ends(ended: RunProcess) -> None:
    assert HERE.exists is True
    assert ended.exists is False
    assert replace(HERE, started="another").exists is False, "its number was given again"
    assert ELSEWHERE.exists is None
    assert RunProcess.parse(HERE.claim_by("orders")) == HERE
    assert RunProcess.parse("orders") is None


def test_a_zombie_has_ended() -> None:
    code = "from feed_assets.orchestration.run_process import RunProcess as P; "
    code += "print(P.current().claim_by('orders'), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        process = RunProcess.parse(child.stdout.readline().strip())
        assert process is not None
        assert process.exists
        assert started_by_ps(process.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert process.exists is False
        assert started_by_ps(process.pid) is None
    assert started_by_ps(process.pid) is None


@pytest.mark.parametrize("status", [STARTED, SUCCESS, FAILURE])
def test_the_slot_of_a_process_that_ended_is_free_and_its_run_has_failed(
    instance: dg.DagsterInstance,
    server: FeedServer,
    ended: RunProcess,
    status: dg.DagsterRunStatus,
    tmp_path: Path,
) -> None:
    run = claimed(instance, status, ended.claim_by("orders"))

    assert Project(server, tmp_path, instance).run().success

    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is (FAILURE if status is STARTED else status)
    failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    expected = f"{ended} was killed during the import; the table is whole, so import again"
    assert [failure.message for failure in failures] == [expected] * (status is STARTED)
    assert instance.event_log_storage.get_concurrency_info("orders").claimed_slots == []


@pytest.mark.parametrize(
    ("status", "claim", "waits"),
    [
        (STARTED, "here", True),
        (FAILURE, "here", True),  # it was marked as failed, and still imports
        (STARTED, "elsewhere", True),
        (FAILURE, "elsewhere", False),
        (STARTED, "op", True),
        (FAILURE, "op", False),
    ],
)
def test_a_run_waits_only_for_one_that_may_still_import(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, claim: str, waits: bool
) -> None:
    run = claimed(instance, status, CLAIMS[claim])
    sentence = blocked_by(instance, "orders", "mine")
    left = instance.event_log_storage.get_concurrency_info("orders").claimed_slots
    assert bool(sentence) is bool(left) is waits
    if waits:
        where = {
            "here": f" in {HERE}",
            "elsewhere": f" in process {HERE.pid} of elsewhere",
            "op": "",
        }
        assert sentence == (
            f"orders waits for run {run.run_id}, which imports it{where[claim]}; terminate that "
            f"run in the UI if it hangs"
        )


def test_the_slot_of_a_run_that_was_deleted_is_free(instance: dg.DagsterInstance) -> None:
    run = claimed(instance, STARTED, CLAIMS["elsewhere"])
    instance.run_storage.delete_run(run.run_id)
    assert blocked_by(instance, "orders", "mine") == ""
    assert instance.event_log_storage.get_concurrency_info("orders").claimed_slots == []


def test_a_run_that_was_killed_while_waiting_does_not_get_the_slot(
    instance: dg.DagsterInstance, server: FeedServer, ended: RunProcess, tmp_path: Path
) -> None:
    storage = instance.event_log_storage
    first = claimed(instance, STARTED, CLAIMS["here"])
    waiting = dg.DagsterRun("a job", status=STARTED)
    instance.run_storage.add_run(waiting)
    storage.claim_concurrency_slot("orders", waiting.run_id, ended.claim_by("orders"))
    storage.free_concurrency_slot_for_step(first.run_id, CLAIMS["here"])

    assert Project(server, tmp_path, instance).run().success


def test_a_pool_without_slots_is_named(instance: dg.DagsterInstance) -> None:
    assert blocked_by(instance, "orders", "mine").startswith(
        "orders waits, as its pool has no slot"
    )


@pytest.mark.parametrize(
    ("claim", "where", "status"),
    [
        ("here", None, WorkerStatus.RUNNING),
        ("ended", None, WorkerStatus.NOT_FOUND),
        ("ended", {"host": "localhost", "socket": "/nowhere"}, WorkerStatus.NOT_FOUND),
        ("here", {"host": "localhost", "socket": "/nowhere"}, WorkerStatus.RUNNING),
        ("elsewhere", None, WorkerStatus.RUNNING),
        ("op", None, WorkerStatus.RUNNING),
        ("op", {"host": "localhost", "socket": "/nowhere"}, WorkerStatus.NOT_FOUND),
        ("op", {"host": "localhost", "port": 1}, WorkerStatus.NOT_FOUND),
        ("op", {"host": "code.invalid", "port": 1}, WorkerStatus.RUNNING),
    ],
    ids=str,
)
def test_run_monitoring_finds_whether_a_run_still_has_its_process(
    instance: dg.DagsterInstance,
    ended: RunProcess,
    claim: str,
    where: dict[str, object] | None,
    status: WorkerStatus,
) -> None:
    run = claimed(instance, STARTED, {**CLAIMS, "ended": ended.claim_by("orders")}[claim])
    if where:
        instance.add_run_tags(run.run_id, {GRPC_INFO_TAG: json.dumps(where)})
    assert instance.run_launcher.supports_check_run_worker_health
    assert instance.run_launcher.check_run_worker_health(run).status is status


def test_a_temporary_instance_logs_a_warning(server: FeedServer, tmp_path: Path) -> None:
    assert TEMPORARY == TMP_DAGSTER_HOME_PREFIX
    home = tmp_path / f"{TEMPORARY}1"
    home.mkdir()
    with instance_of(home) as instance:
        run = Project(server, tmp_path, instance).run()
        logs = [log.user_message for log in instance.all_logs(run.run_id)]
    assert run.success
    assert sum("DAGSTER_HOME is not set, so the UI never shows" in log for log in logs) == 1
