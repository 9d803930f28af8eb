"""Small feeds that would cost much: seconds and memory of each, to a table or to its refusal.

python -m bench.cliffs FOLDER [--only WORD] [--engine]

Each feed is read by the engine in a process of its own, and in a second one it is read and stored
in a new DuckDB file. The clock runs from after the imports of Python's modules. MB are the most
private memory that the process had; pages mapped from files are not counted.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peak import watched
from feed_assets.errors import FeedAssetsError
from feed_assets.ndjson import Options, open_source, read
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import store_snapshot

_ALLOWED_SECONDS = 120
_BAD_LINES = 100_000


@dataclass(frozen=True)
class Cliff:
    """A feed: the parts that it is joined from, and how many bad lines it may have."""

    name: str
    parts: Callable[[], Iterator[str]]
    max_bad_lines: int = 0
    gzipped: bool = False

    @property
    def file(self) -> str:
        """Name of its file."""
        words = "".join(each if each.isalnum() else "_" for each in self.name)
        return f"{words}.ndjson{'.gz' * self.gzipped}"


def _one_of(keys: int, rows: int) -> Callable[[], Iterator[str]]:
    """Rows with one key each, of so many."""
    return lambda: (f'{{"k{row * 7919 % keys}":1}}\n' for row in range(rows))


def _line(element: str, count: int, *, distinct: bool = False) -> Callable[[], Iterator[str]]:
    """One line with an array of that element so many times; `distinct` numbers each."""

    def parts() -> Iterator[str]:
        yield '{"id":1,"a":['
        for number in range(count):
            yield "," if number else ""
            yield element.replace("#", str(number)) if distinct else element
        yield "]}\n"

    return parts


def _wide(keys: int) -> str:
    return "{" + ",".join(f'"column_{key:05}":{key}' for key in range(keys)) + "}\n"


def _then(before: str, rows: int, after: str) -> Callable[[], Iterator[str]]:
    def parts() -> Iterator[str]:
        yield before
        for _ in range(rows):
            yield '{"a":1}\n'
        yield after

    return parts


def _optional() -> Iterator[str]:
    """Rows with 20 of 200 keys, whose values are of several types."""
    values = ("1", "2.5", '"text"', "true", '"2020-01-20"', '{"a":1}', "[1]", "null")
    for row in range(11_000):
        keys = range(row % 10, 200, 10)
        fields = (f'"optional_{key}":{values[(key * 7 + row) % 8]}' for key in keys)
        yield "{" + ",".join(fields) + "}\n"


def _map_of(keys: int, rows: int, each: int) -> Callable[[], Iterator[str]]:
    """Orders with an object that has some of so many keys."""

    def parts() -> Iterator[str]:
        for row in range(rows):
            fields = (f'"sku_{(row * each + n) * 7919 % keys}":{n}' for n in range(each))
            yield f'{{"id":{row},"total":1.5,"quantities":{{{",".join(fields)}}}}}\n'

    return parts


def _line_of_objects(keys: int, count: int) -> Iterator[str]:
    yield '{"a":['
    for number in range(count):
        yield f'{"," if number else ""}{{"k{number * 7919 % keys}":1}}'
    yield "]}\n"


CLIFFS = (
    Cliff("one of 900 keys in each row", _one_of(900, 450_000)),
    Cliff("one of 9,000 keys in each row", _one_of(9_000, 25_000)),
    Cliff("one of 9,000 keys in each row, 1 MB", _one_of(9_000, 80_000)),
    Cliff("a line of objects with distinct keys", _line('{"k#":1}', 350_000, distinct=True)),
    Cliff("a line of objects with one of 9,000 keys",
          lambda: _line_of_objects(9_000, 350_000)),
    Cliff("a line of arrays", _line("[1,2]", 800_000)),
    Cliff("a line of mixed values", _line('1,"x",[1],{"a":1},null', 200_000)),
    Cliff("a line of empty arrays, 15 MB", _line("[]", 5_000_000)),
    Cliff("a line of zeros, 15 MB", _line("0", 7_500_000)),
    Cliff("newlines", lambda: iter(['{"a":1}\n', "\n" * 4_900_000])),
    Cliff("200 optional keys of several types", _optional),
    Cliff("narrow rows, then one of 9,990 keys", _then("", 20_000, _wide(9_990))),
    Cliff("more narrow rows, then one of 9,990 keys", _then("", 100_000, _wide(9_990))),
    Cliff("a row of 100 keys, then narrow ones", _then(_wide(100), 587_000, "")),
    Cliff("a row of 9,000 keys, then narrow ones", _then(_wide(9_000), 587_000, "")),
    Cliff("orders with a map of 2,000 keys", _map_of(2_000, 40_000, 5)),
    Cliff("50 MB of newlines, gzipped", lambda: iter(['{"a":1}\n', "\n" * 50_000_000]),
          gzipped=True),
    Cliff("bad lines, as many allowed as may be",
          lambda: iter(['{"a":1}\n', "{]\n" * 1_630_000]), _BAD_LINES),
    Cliff("a line of 2.3 million objects, 50 MB", _line('{"a":1,"b":"x","c":2}', 2_300_000)),
)  # fmt: skip


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="the feeds that have this in their name")
    parser.add_argument("--engine", action="store_true", help="leave DuckDB out")
    parser.add_argument("--duckdb", action="store_true", help="with --run: store the rows, too")
    parser.add_argument("--run", help="read this feed here, and print what came of it as JSON")
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(_read(next(each for each in CLIFFS if each.name == asked.run), asked)))
        return
    print("| feed | bytes | seconds | CPU seconds | MB | into DuckDB | MB | result |")
    print("|---|---|---|---|---|---|---|---|")
    for each in CLIFFS:
        if asked.only in each.name:
            path = write(each, asked.folder)
            print(_measured(each, path, engine_only=asked.engine), flush=True)


def write(cliff: Cliff, folder: Path) -> Path:
    """Write its file."""
    path = folder / cliff.file
    data = "".join(cliff.parts()).encode()
    path.write_bytes(gzip.compress(data, 1) if cliff.gzipped else data)
    return path


def _measured(cliff: Cliff, path: Path, *, engine_only: bool) -> str:
    """A row of the table."""
    engine = _run(cliff, path.parent)
    table = "| | "
    if not engine_only and engine["rows"]:
        stored = _run(cliff, path.parent, "--duckdb")
        table = f"| {stored['seconds']:.1f} | {stored['peak']:.0f} "
    return (
        f"| {cliff.name} | {path.stat().st_size:,} | {engine['seconds']:.1f} "
        f"| {engine['cpu']:.1f} | {engine['peak']:.0f} {table}| {engine['result']} |"
    )


def _run(cliff: Cliff, folder: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.cliffs", str(folder), "--run", cliff.name, *more]
    failed = {"seconds": 0, "cpu": 0, "peak": 0, "rows": 0}
    try:
        done = subprocess.run(  # noqa: S603  (our own program)
            command, check=True, stdout=subprocess.PIPE, text=True, timeout=_ALLOWED_SECONDS
        )
    except subprocess.TimeoutExpired:
        return failed | {"seconds": _ALLOWED_SECONDS, "result": "stopped"}
    except subprocess.CalledProcessError as ended:
        return failed | {"result": f"ended with {ended.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _read(cliff: Cliff, asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds, memory and result of the engine, or of that and a DuckDB table."""
    options = Options(max_bad_lines=cliff.max_bad_lines)
    rows, result = 0, ""
    with tempfile.TemporaryDirectory() as folder, watched() as peak:
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            with open_source(asked.folder / cliff.file) as source:
                reading = read(source, options=options)
            rows = reading.rows
            result = f"{rows:,} rows, {reading.table.num_columns:,} columns"
            if asked.duckdb:
                warehouse = DuckDBWarehouse(Path(folder) / "warehouse.duckdb")
                store_snapshot(warehouse, Table("crm", "orders"), reading.table, attempt="1")
        except FeedAssetsError as refused:
            result = f"refused: {refused}"
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak": peak.mb, "rows": rows, "result": result}


if __name__ == "__main__":
    main()
