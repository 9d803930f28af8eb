"""One engine, one file, one time: prints seconds and peak anonymous memory as JSON."""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # in the environment of another tool

from bench.peak import watched


def _ours(source: Path, target: Path) -> Callable[[], object]:
    importlib.import_module("feed_assets.arrow_memory").prefer_jemalloc()
    ndjson = importlib.import_module("feed_assets.ndjson")
    open_source = importlib.import_module("feed_assets.byte_source").ByteSource.from_path
    parquet = importlib.import_module("feed_assets.warehouse.bigquery.parquet_file")

    if source.suffix == ".json":
        document = importlib.import_module("feed_assets.json_document.lines").JsonLines

        @contextmanager
        def open_source(path: Path) -> Iterator[Any]:
            with path.open("rb") as file, ndjson.open_decompressed(file, document(None)) as opened:
                yield opened

    def run() -> int:
        options = ndjson.Options(max_bad_lines=1)
        with open_source(source) as opened:
            reading = ndjson.read(opened, options=options)
        with target.open("wb") as file:
            parquet.write(reading.table.to_reader(), file, compression="snappy")
        rows: int = reading.rows
        return rows

    return run


def _duckdb(source: Path, target: Path) -> Callable[[], object]:
    duckdb = importlib.import_module("duckdb")
    return lambda: duckdb.sql(
        f"COPY (FROM read_json('{source}', format='newline_delimited', sample_size=-1)) "
        f"TO '{target}' (FORMAT parquet, COMPRESSION snappy)"
    )


def _polars(source: Path, target: Path) -> Callable[[], object]:
    polars = importlib.import_module("polars")
    return lambda: polars.scan_ndjson(source, infer_schema_length=None).sink_parquet(
        target, compression="snappy"
    )


def _pandas(source: Path, target: Path) -> Callable[[], object]:
    pandas = importlib.import_module("pandas")
    importlib.import_module("pyarrow.parquet")
    return lambda: pandas.read_json(source, lines=True).to_parquet(target)


def main() -> None:
    """Arguments: engine, file, and the bytes of memory that it may have."""
    engine, source = sys.argv[1], Path(sys.argv[2])
    if limit := int(sys.argv[3]) if sys.argv[3:] else 0:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        engines = {"ours": _ours, "DuckDB": _duckdb, "polars": _polars, "pandas": _pandas}
        run = engines[engine](source, Path(folder) / "out.parquet")
        with watched() as peak:
            begun = time.perf_counter()
            result = run()
            seconds = time.perf_counter() - begun
    rows = result if isinstance(result, int) else 0
    print(json.dumps({"seconds": seconds, "peak": peak.mb, "rows": rows}))


if __name__ == "__main__":
    main()
