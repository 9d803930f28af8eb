"""Days of a feed into BigQuery at the latencies of real life: ours, and dlt.

python -m bench.latency FOLDER [--days N] [--rows N] [--call SECONDS] [--load SECONDS]
    [--peers PYTHON] [--ways NAME ...]

A proxy before the tests' emulator answers each call `--call` seconds later, and reports a load job
as done `--load` seconds after it began, or when the emulator has done it if that is later. CPU
seconds tell whose share the machine's own time is.
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import feeds
from bench.importers import BACKFILLS, DAYS_OF_URL, Way
from bench.imports import Done, imported, served
from feed_assets_tests.support.bigquery.emulator import emulator
from feed_assets_tests.support.bigquery.fault_proxy import (
    Answer,
    Exchange,
    FaultProxy,
    as_json,
    fault_proxy,
)


class Latencies:
    """The proxy's fault for every call: wait, then forward; a load job takes its time."""

    def __init__(self, call: float, load: float) -> None:
        self.call, self.load = call, load
        self.failed: list[Answer] = []
        self._jobs: dict[str, _Job] = {}

    def __call__(self, exchange: Exchange) -> None:
        time.sleep(self.call)
        call, job = exchange.call, self._jobs.get(exchange.call.last)
        if call.name in ("upload", "send upload"):
            exchange.answer(self._begin(exchange))
        elif call.name == "get job" and job and not job.is_done(self.load):
            exchange.answer(as_json(job.resource))
        else:
            exchange.answer(exchange.forward())

    def _begin(self, exchange: Exchange) -> Answer:
        """Answer that the job runs, while the emulator does it."""
        resource = exchange.proxy.uploaded(exchange.call) | {"status": {"state": "RUNNING"}}
        job = self._jobs[resource["jobReference"]["jobId"]] = _Job(resource)

        def load() -> None:
            answer = exchange.forward()
            if answer.status != 200:
                self.failed.append(answer)
            job.loaded.set()

        threading.Thread(target=load, daemon=True).start()
        return as_json(resource)


@dataclass(frozen=True)
class _Job:
    resource: dict[str, Any]
    began: float = field(default_factory=time.monotonic)
    loaded: threading.Event = field(default_factory=threading.Event)

    def is_done(self, seconds: float) -> bool:
        return time.monotonic() - self.began >= seconds and self.loaded.is_set()


@dataclass(frozen=True)
class Measured:
    """A way's seconds and calls, and CPU seconds of the importer and of the emulator."""

    done: Done
    calls: Counter[str]
    importer: float
    emulator: float
    tables: int


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, nargs="+", default=[1, 365], help="of each run")
    parser.add_argument("--rows", type=int, default=1000, help="of a day")
    parser.add_argument("--call", type=float, default=0.12, help="seconds of a call")
    parser.add_argument("--load", type=float, default=2.5, help="seconds of a load job")
    parser.add_argument("--peers", help="a Python that has dlt")
    parser.add_argument("--ways", nargs="*", help="only these")
    asked = parser.parse_args()
    feeds.flat(asked.folder / "orders.ndjson", asked.rows)
    ways = [way for way in BACKFILLS if way.ours or asked.peers]
    ways = [way for way in ways if not asked.ways or way.name in asked.ways]
    print("| way | days | seconds | calls a day | polls a day | peak MB | CPU s | emulator CPU s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with served(asked.folder) as url:
        for way in ways:
            for days in asked.days:
                found = _measured(way, f"{url}/orders.ndjson", days, asked)
                print(_row(way, days, found), flush=True)
                assert found.done.failure or found.tables == max(days, 2), f"{found.tables} tables"


def _row(way: Way, days: int, found: Measured) -> str:
    if found.done.failure:
        return f"| {way.name} | {days} | failed: {found.done.failure} | | | | | |"
    polls = found.calls["get job"]
    calls = found.calls.total() - polls
    return (
        f"| {way.name} | {days} | {found.done.seconds:.1f} | {calls / days:.1f} "
        f"| {polls / days:.1f} | {found.done.peak:.0f} | {found.importer:.1f} "
        f"| {found.emulator:.1f} |"
    )


def _measured(way: Way, feed: str, days: int, asked: argparse.Namespace) -> Measured:
    """Import the first days in one run; a single day after the first one."""
    first = 1 if days == 1 else 0
    with emulator() as running, _slow(running.url, asked.call, asked.load) as proxy:
        if first:
            imported(way, proxy.url, [f"{feed}?{DAYS_OF_URL}=0-0"], asked.peers)
            proxy.calls.clear()
        before = _children()
        (done,) = imported(
            way, proxy.url, [f"{feed}?{DAYS_OF_URL}={first}-{first + days - 1}"], asked.peers
        )
        importer = _children() - before
        calls = proxy.counted()
        tables = sum(
            table.table_id.startswith("orders_2")
            for table in running.client().list_tables("crm", max_results=10_000)
        )
    return Measured(done, calls, importer, _children() - before - importer, tables)


@contextmanager
def _slow(url: str, call: float, load: float) -> Iterator[FaultProxy]:
    with fault_proxy(url) as proxy:
        slow = Latencies(call, load)
        proxy.on(None, slow)
        yield proxy
        for answer in slow.failed:
            print(answer.body.decode())


def _children() -> float:
    """CPU seconds of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
