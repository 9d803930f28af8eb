"""A feed over HTTP into a DuckDB table: ours, pandas, and dlt in two ways, several times.

python -m bench.imports FOLDER [--rows-flat N] [--rounds N] [--dlt PYTHON]

Each import is a process of its own; the clock runs from after its imports. dlt is no dependency:
name the Python of an environment that has it, with duckdb and pyarrow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench import feeds

_ENGINES = ("ours", "pandas.read_json", "dlt, Parquet files", "dlt, given Arrow tables")
_PORT = 8043
_STARTED_IN = 10  # seconds


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows-flat", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dlt", help="a Python with dlt installed")
    asked = parser.parse_args()
    feeds.flat(asked.folder / "flat.ndjson", asked.rows_flat)
    engines = [each for each in _ENGINES if asked.dlt or "dlt" not in each]
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
    with served(asked.folder) as url:
        for _ in range(asked.rounds):
            for engine in engines:
                python = asked.dlt if "dlt" in engine else sys.executable
                found[engine].append(_measured(python, engine, f"{url}/flat.ndjson"))
    seconds = {e: statistics.median(run["seconds"] for run in found[e]) for e in engines}
    print("| engine | seconds (median) | ours is faster by | peak anonymous MB |")
    print("|---|---|---|---|")
    for engine in engines:
        peak = max(run["peak"] for run in found[engine])
        ratio = seconds[engine] / seconds["ours"]
        print(f"| {engine} | {seconds[engine]:.2f} | {ratio:.2f} | {peak:.0f} |")


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


def _measured(python: str, engine: str, url: str) -> dict[str, float]:
    runner = Path(__file__).with_name("run_import.py")
    done = subprocess.run(  # noqa: S603  (our own program, by its path)
        [python, str(runner), engine, url], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
