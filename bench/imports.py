"""Feeds over HTTP into tables of DuckDB and BigQuery: ours, and how its peers do it, several times.

python -m bench.imports FOLDER [--rows-flat N] [--rows-nested N] [--rounds N] [--peers PYTHON]

Each import is a process of its own; the clock runs from after its imports. BigQuery is the emulator
that the tests use. The peers are no dependencies: name the Python of an environment that has them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench import feeds
from bench.importers import WAYS, Way
from feed_assets_tests.support.bigquery.emulator import emulator

_PORT = 8043
_STARTED_IN = 10  # seconds


@dataclass(frozen=True)
class Done:
    """An import: MB are the most that its process had for itself."""

    seconds: float
    peak: float
    failure: str | None


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows-flat", type=int, default=1_000_000)
    parser.add_argument("--rows-nested", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", help="a Python that has them")
    asked = parser.parse_args()
    feeds.flat(asked.folder / "flat.ndjson", asked.rows_flat)
    feeds.nested(asked.folder / "nested.ndjson", asked.rows_nested)
    print("| feed | into | way | seconds | ours is faster by | peak anonymous MB |")
    print("|---|---|---|---|---|---|")
    with served(asked.folder) as url:
        for feed in ("flat", "nested"):
            for warehouse in ("DuckDB", "BigQuery"):
                _compare(f"{url}/{feed}.ndjson", feed, warehouse, asked.rounds, asked.peers)


def _compare(url: str, feed: str, warehouse: str, rounds: int, peers: str | None) -> None:
    ways = [way for way in WAYS if warehouse in way.warehouses and (way.ours or peers)]
    found: dict[str, list[Done]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            with target_in(warehouse) as target:
                found[way.name] += imported(way, target, [url], peers)
    ours = statistics.median(done.seconds for done in found[ways[0].name])
    for name, every in found.items():
        if failure := every[0].failure:
            print(f"| {feed} | {warehouse} | {name} | failed: {failure} | | |", flush=True)
            continue
        seconds = statistics.median(done.seconds for done in every)
        print(
            f"| {feed} | {warehouse} | {name} | {seconds:.2f} | {seconds / ours:.2f} "
            f"| {max(done.peak for done in every):.0f} |",
            flush=True,
        )


@contextmanager
def target_in(warehouse: str) -> Iterator[str]:
    """A DuckDB file that is not there yet, or an emulator's URL."""
    if warehouse == "BigQuery":
        with emulator() as running:
            yield running.url
        return
    folder = tempfile.mkdtemp()
    try:
        yield f"{folder}/warehouse.duckdb"
    finally:
        shutil.rmtree(folder)


def imported(way: Way, target: str, urls: Sequence[str], peers: str | None) -> list[Done]:
    """Return the result of each, in one process."""
    python = sys.executable if way.ours or peers is None else peers
    runner = Path(__file__).with_name("run_import.py")
    done = subprocess.run(  # noqa: S603  (our own program, by its path)
        [python, runner, way.name, target, *urls],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    return [Done(**json.loads(line)) for line in lines]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's files over HTTP, by another process."""
    url = f"http://127.0.0.1:{_PORT}"
    command = [sys.executable, Path(__file__).with_name("serve.py"), str(_PORT)]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            _wait_for(url)
            yield url
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    end = time.monotonic() + _STARTED_IN
    while True:
        try:
            with urlopen(url):  # noqa: S310  (it is our own)
                return
        except URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    main()
