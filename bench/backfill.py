"""A year of days as one backfill, against a Dagster run for each day: seconds, rows, and the ratio.

python -m bench.backfill FOLDER [--days N] [--rows N] [--single N]

Each run is `dg launch`, a process of its own with its start-up, as the daemon's runs are; the feed
is served on loopback by this process and stored in DuckDB. Of single days N are run and scaled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
import yaml

from bench import feeds

_CHECKOUT = Path(__file__).parents[1]
_FIRST = date(2020, 1, 1)
_INSTANCE = "telemetry: {enabled: false}\nnux: {enabled: false}\n"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=lambda path: Path(path).absolute())
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rows", type=int, default=1000, help="of a day")
    parser.add_argument("--single", type=int, default=10, help="days run one by one")
    asked = parser.parse_args()
    feeds.flat(asked.folder / "day.ndjson", asked.rows)
    days = [(_FIRST + timedelta(number)).isoformat() for number in range(asked.days)]
    with _served((asked.folder / "day.ndjson").read_bytes()) as url:
        with tempfile.TemporaryDirectory(dir=asked.folder) as made:
            project = _project(Path(made), url)
            single = [_launched(project, "--partition", day) for day in days[: asked.single]]
        with tempfile.TemporaryDirectory(dir=asked.folder) as made:
            project = _project(Path(made), url)
            backfill = _launched(project, "--partition-range", f"{days[0]}...{days[-1]}")
            stored = _stored(project)
    assert stored == asked.days * asked.rows, f"{stored} rows are stored"
    each = statistics.mean(single)
    print("| what | days | rows | seconds | ratio |")
    print("|---|---|---|---|---|")
    print(
        f"| one run a day (of {asked.single}: mean {each:.2f} s) | {asked.days} | {stored:,} "
        f"| {each * asked.days:.0f} | {each * asked.days / backfill:.0f} |"
    )
    print(f"| one backfill run | {asked.days} | {stored:,} | {backfill:.1f} | 1 |")


@contextmanager
def _served(body: bytes) -> Iterator[str]:
    """A feed that has the same rows every day."""

    class Feed(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert parse_qs(urlsplit(self.path).query)["date"]
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the parent's name)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Feed) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/feed.ndjson"
        server.shutdown()


def _project(folder: Path, url: str) -> Path:
    """A copy of the project with this one feed, and an instance of its own."""
    for name in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(_CHECKOUT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "defs")
    shutil.copytree(_CHECKOUT / "feed_assets", folder / "feed_assets", ignore=ignored)
    declared = folder / "feed_assets" / "defs" / "orders" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    attributes = {
        "name": "orders",
        "url": url,
        "dataset": "crm",
        "partition_by_date": {"start_date": _FIRST.isoformat()},
    }
    feed = {"type": "feed_assets.JsonFeed", "attributes": attributes}
    declared.write_text(yaml.safe_dump(feed), encoding="utf-8")
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text(_INSTANCE, encoding="utf-8")
    return folder


def _launched(project: Path, *partitions: str) -> float:
    """Seconds that a run takes, from the command to its end."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(project / "home"),
        "PYTHONPATH": str(project),
        "FEED_ASSETS_WAREHOUSE": f"duckdb://{project}/warehouse.duckdb",
    }
    command = [Path(sys.executable).parent / "dg", "launch", "--assets", "orders", *partitions]
    begun = time.perf_counter()
    done = subprocess.run(  # noqa: S603  (our own program)
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds


def _stored(project: Path) -> int:
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as warehouse:
        names = warehouse.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'crm'"
        ).fetchall()
        union = " UNION ALL ".join(f"SELECT count(*) AS rows FROM crm.{name}" for (name,) in names)
        found = warehouse.execute(f"SELECT sum(rows) FROM ({union})").fetchone()
    return int(found[0]) if found else 0


if __name__ == "__main__":
    main()
