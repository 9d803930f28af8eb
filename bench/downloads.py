"""Reading a feed while it is downloaded, against reading the same file from disk.

python -m bench.downloads FOLDER [--rows-flat N] [--rounds N]

Each is a process of its own, started when the others are over; the server is one more process on
the same machine, and takes its share of it. The clock runs from after the imports.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import feeds
from bench.imports import served


def main() -> None:
    """Measure, and print the table; with `--read`, read once and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--read", help="a file or a URL")
    parser.add_argument("--rows-flat", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.read:
        print(_read(asked.read))
        return
    plain, packed = asked.folder / "flat.ndjson", asked.folder / "flat.ndjson.gz"
    feeds.flat(plain, asked.rows_flat)
    with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with served(asked.folder) as url:
        ways = {
            "file": str(plain),
            "HTTP": f"{url}/{plain.name}",
            "HTTP, gzip": f"{url}/{packed.name}",
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(asked.rounds):
            for way, where in ways.items():
                seconds[way].append(_measured(where))
    from_file = statistics.median(seconds["file"])
    print("| read from | seconds (median) | more than from a file |")
    print("|---|---|---|")
    for way, found in seconds.items():
        middle = statistics.median(found)
        print(f"| {way} | {middle:.2f} | {middle / from_file - 1:+.0%} |")


def _measured(where: str) -> float:
    command = [sys.executable, "-m", "bench.downloads", "--read", where]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return float(done.stdout)


def _read(where: str) -> float:
    from feed_assets import ndjson
    from feed_assets.byte_source import ByteSource
    from feed_assets.config.feed import Feed
    from feed_assets.download.prefetch import PendingDay, prefetch_days

    begun = time.perf_counter()
    if where.startswith("http"):
        feed = Feed(name="orders", url=where, dataset="crm")
        for _, delivered in prefetch_days(feed, [None]):
            if not isinstance(delivered, PendingDay):
                raise SystemExit(f"not delivered: {delivered}")
            ndjson.read(delivered.download.source).frame()
    else:
        with ByteSource.from_path(Path(where)) as source:
            ndjson.read(source).frame()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
