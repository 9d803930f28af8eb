"""Dagster's default run launcher, which lets run monitoring fail the runs that were killed."""

from __future__ import annotations

import dagster as dg

from feed_assets.orchestration.dagster_internals import (
    CanCancelExecutionRequest,
    CanCancelExecutionResult,
    CheckRunHealthResult,
    DagsterUserCodeUnreachableError,
    DagsterUserCodeUnreachableTimeoutError,
    WorkerStatus,
    deserialize_value,
)
from feed_assets.orchestration.feed_slot import killed
from feed_assets.orchestration.run_process import RunProcess

LOCAL = {"localhost", "127.0.0.1", "::1"}


class CheckedRunLauncher(dg.DefaultRunLauncher):
    """Launches runs as Dagster's default does, and knows when the process of one was killed.

    For `dagster.yaml`: `run_launcher: {module: feed_assets.orchestration.run_launcher, class:
    CheckedRunLauncher}`. With `run_monitoring: {enabled: true}`, Dagster's daemon then fails a run
    whose process has ended, and the next run of its feed starts.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the system for the process that imports the feed, else the run's code server."""
        for process in self._processes(run):
            if process.exists:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            if process.exists is False:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, killed(process))
        return self._ask_code_server(run)

    def _processes(self, run: dg.DagsterRun) -> list[RunProcess]:
        """The processes that occupy slots for the run."""
        pools = list(run.run_op_concurrency.all_pools or ()) if run.run_op_concurrency else []
        infos = self._instance.event_log_storage.get_concurrency_infos(pools)
        claims = [slot for info in infos.values() for slot in info.claimed_slots]
        found = [RunProcess.parse(each.step_key) for each in claims if each.run_id == run.run_id]
        return [process for process in found if process]

    def _ask_code_server(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:  # a run from the command line, before or after its imports
            return CheckRunHealthResult(WorkerStatus.RUNNING, "nothing tells whether it runs")
        try:
            request = CanCancelExecutionRequest(run_id=run.run_id)
            answer = deserialize_value(
                client.can_cancel_execution(request, timeout=10), CanCancelExecutionResult
            )
        except DagsterUserCodeUnreachableTimeoutError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server is busy")
        except DagsterUserCodeUnreachableError:
            if client.socket or client.host in LOCAL:
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server has ended")
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server does not answer")
        if answer.can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, "its code server was started again, and does not run it"
        )
