"""One import, to Parquet, of a feed larger than the memory it may have: does it stay in bounds?

python -m bench.memory FOLDER [--megabytes N ...] [--limit MB]

The limit is the kernel's (RLIMIT_DATA: all private writable memory, touched or not). Mapped
pages of files are the kernel's own to keep or drop, and are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench import feeds

_SEED_ROWS = 100_000
# Arrow's allocator sets a gigabyte aside, and BLAS some for each core; so they take what they need.
_AS_NEEDED = {
    "OPENBLAS_NUM_THREADS": "1",
    "MIMALLOC_ARENA_EAGER_COMMIT": "0",
    "MIMALLOC_EAGER_COMMIT": "0",
}


def main() -> None:
    """Print the table; fail if an import fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[150, 750, 2000])
    parser.add_argument("--limit", type=int, default=600, help="in MB")
    asked = parser.parse_args()
    print("| feed | MB | seconds | peak anonymous MB |")
    print("|---|---|---|---|")
    for kind in ("flat", "nested", "document"):
        for megabytes in asked.megabytes:
            path = asked.folder / ("large.json" if kind == "document" else "large.ndjson")
            of_size(path, kind, megabytes << 20)
            found = measured(path, asked.limit << 20)
            path.unlink()
            print(f"| {kind} | {megabytes} | {found['seconds']:.1f} | {found['peak']:.0f} |")


def of_size(path: Path, kind: str, size: int, seed_rows: int = _SEED_ROWS) -> None:
    """Write a feed of at least that many bytes: the same rows again and again."""
    (feeds.nested if kind == "nested" else feeds.flat)(path, seed_rows)
    rows = path.read_bytes()
    if kind == "document":
        rows = rows[:-1].replace(b"\n", b",\n") + b","
        path.write_bytes(b"[")
    with path.open("ab") as file:
        while file.tell() < size:
            file.write(rows)
        if kind == "document":
            file.write(b"{}]")


def measured(path: Path, limit: int) -> dict[str, float]:
    """Seconds and peak of an import that may have so many bytes of memory."""
    runner = Path(__file__).with_name("run_engine.py")
    done = subprocess.run(  # noqa: S603  (our own program, by its path)
        [sys.executable, str(runner), "ours", str(path), str(limit)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **_AS_NEEDED},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
