"""NDJSON file to typed Parquet: ours, DuckDB, polars, pandas, one after the other, several times.

python -m bench.engine FOLDER [--rows-flat N] [--rows-nested N] [--rounds N] [--polars PYTHON]

Each run is a process of its own; the clock runs from after its imports. polars is not a dependency:
name the Python of an environment that has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench import feeds

_LONG_LINE = 50 << 20  # bytes
_LATE = {
    "flat, an integer turns text in the last line": b'{"id":"n/a"}\n',
    "flat, a date turns text in the last line": b'{"ordered_at":"n/a"}\n',
    "flat, a fraction turns text in the last line": b'{"total":"n/a"}\n',
    "flat, a new field in the last line": b'{"new":1}\n',
    "flat, a bad line at the end": b'{"id":1,}\n',
    "flat, then a string of 50 MB": b'{"note":"' + b"x" * _LONG_LINE + b'"}\n',
}
_ENGINES = ("ours", "DuckDB", "polars", "pandas")


def main() -> None:
    """Measure, and print the table."""
    asked = _arguments()
    cases = _files(asked.folder, asked.rows_flat, asked.rows_nested)
    print("| feed | MB | engine | seconds (median) | ours is faster by | peak anonymous MB |")
    print("|---|---|---|---|---|---|")
    for name, path in cases.items():
        engines = _ENGINES if name in ("flat", "nested") else _ENGINES[:1]
        if not asked.polars:
            engines = tuple(each for each in engines if each != "polars")
        found: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
        for _ in range(asked.rounds):
            for engine in engines:
                python = asked.polars if engine == "polars" else sys.executable
                found[engine].append(_measured(python, engine, path))
        seconds = {e: statistics.median(run["seconds"] for run in found[e]) for e in engines}
        for engine in engines:
            peak = max(run["peak"] for run in found[engine])
            ratio = f"{seconds[engine] / seconds['ours']:.2f}"
            size = path.stat().st_size / 1e6
            print(
                f"| {name} | {size:.0f} | {engine} | {seconds[engine]:.2f} | {ratio} | {peak:.0f} |"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows-flat", type=int, default=1_000_000)
    parser.add_argument("--rows-nested", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--polars", help="a Python with polars installed")
    return parser.parse_args()


def _files(folder: Path, rows_flat: int, rows_nested: int) -> dict[str, Path]:
    flat, nested = folder / "flat.ndjson", folder / "nested.ndjson"
    feeds.flat(flat, rows_flat)
    feeds.nested(nested, rows_nested)
    found = {"flat": flat, "nested": nested}
    clean = flat.read_bytes()
    found["flat, as a JSON array"] = folder / "flat.json"
    found["flat, as a JSON array"].write_bytes(b"[" + clean[:-1].replace(b"\n", b",") + b"]")
    for number, (name, line) in enumerate(_LATE.items()):
        found[name] = folder / f"late_{number}.ndjson"
        found[name].write_bytes(clean + line)
    return found


def _measured(python: str, engine: str, path: Path) -> dict[str, float]:
    runner = Path(__file__).with_name("run_engine.py")
    done = subprocess.run(  # noqa: S603  (our own program, by its path)
        [python, str(runner), engine, str(path)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
