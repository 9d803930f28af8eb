"""One way to import, one feed, one time: prints seconds and peak anonymous memory as JSON."""

from __future__ import annotations

import importlib
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_EVERY = 0.01  # seconds
_ROWS = 100_000


def _ours(url: str, target: Path) -> Callable[[], object]:
    feed = importlib.import_module("feed_assets.feed")
    delivery = importlib.import_module("feed_assets.delivery")
    importing = importlib.import_module("feed_assets.importing")
    warehouses = importlib.import_module("feed_assets.warehouse.duckdb")

    def run() -> None:
        orders = feed.Feed(name="orders", url=url, dataset="crm", table="orders")
        warehouse = warehouses.DuckDBWarehouse(target)
        for _, delivered in delivery.deliver(orders, [None]):
            importing.store(delivered, warehouse, attempt="1")

    return run


def _pandas(url: str, target: Path) -> Callable[[], object]:
    pandas, duckdb = importlib.import_module("pandas"), importlib.import_module("duckdb")
    requests = importlib.import_module("requests")

    def run() -> None:
        body = requests.get(url, timeout=60).content
        frame = pandas.read_json(io.BytesIO(body), lines=True)
        with duckdb.connect(target) as connection:
            connection.register("frame", frame)
            connection.execute("CREATE TABLE orders AS FROM frame")

    return run


def _dlt(url: str, target: Path) -> Callable[[], object]:
    requests = importlib.import_module("requests")
    return _pipeline(target, lambda: _objects(requests, url))


def _dlt_arrow(url: str, target: Path) -> Callable[[], object]:
    requests = importlib.import_module("requests")
    arrow_json = importlib.import_module("pyarrow.json")

    def tables() -> Iterator[Any]:
        yield arrow_json.read_json(io.BytesIO(requests.get(url, timeout=60).content))

    return _pipeline(target, tables)


def _objects(requests: Any, url: str) -> Iterator[Any]:
    rows = []
    with requests.get(url, timeout=60, stream=True) as response:
        for line in response.iter_lines(chunk_size=1 << 20):
            rows.append(json.loads(line))
            if len(rows) == _ROWS:
                yield rows
                rows = []
    yield rows


def _pipeline(target: Path, source: Callable[[], Iterator[Any]]) -> Callable[[], object]:
    dlt = importlib.import_module("dlt")
    importlib.import_module("duckdb")

    def run() -> None:
        pipeline = dlt.pipeline(
            "orders",
            pipelines_dir=str(target.parent / "pipelines"),
            destination=dlt.destinations.duckdb(str(target)),
            dataset_name="crm",
        )
        orders = dlt.resource(source, name="orders", write_disposition="replace")
        pipeline.run(orders, loader_file_format="parquet")

    return run


_ENGINES = {
    "ours": _ours,
    "pandas.read_json": _pandas,
    "dlt, Parquet files": _dlt,
    "dlt, given Arrow tables": _dlt_arrow,
}


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> None:
    """Arguments: engine, URL."""
    engine, url = sys.argv[1:]
    peak, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(_EVERY):
            peak = max(peak, _anonymous())

    with tempfile.TemporaryDirectory() as folder:
        run = _ENGINES[engine](url, Path(folder) / "warehouse.duckdb")
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        begun = time.perf_counter()
        run()
        seconds = time.perf_counter() - begun
        over.set()
        watcher.join()
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main()
