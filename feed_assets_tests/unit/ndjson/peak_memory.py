"""Peak memory of reading small feeds that could take gigabytes, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bench.peak import anonymous_mb, watched
from feed_assets.byte_source import ByteSource, unnamed_temp_file
from feed_assets.errors import ContentError
from feed_assets.ndjson import Options, read
from feed_assets_tests.support.forked import PROCESSES


def rows_with_keys(rows: int, keys: int, each: int) -> bytes:
    """Rows with an object that has so many of the keys k0, k1 and so on."""
    made = (
        {"id": row, "by": {f"k{(row * each + key) * 7919 % keys}": key for key in range(each)}}
        for row in range(rows)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in made)


def one_of(keys: int, rows: int) -> bytes:
    """Rows with one key each, of so many."""
    return b"".join(b'{"k%d":1}\n' % (row % keys) for row in range(rows))


@dataclass(frozen=True)
class Small:
    """A feed, and a limit in MB that reading it would pass if memory did not follow its bytes."""

    data: Callable[[], bytes]
    mb: int
    options: dict[str, Any] = field(default_factory=dict)
    is_refused: bool = False


SMALL = {
    "a map of 2,000 keys": Small(lambda: rows_with_keys(8_000, 2_000, 5), 150),
    "one of 3,000 keys in each row": Small(lambda: one_of(3_000, 10_000), 200),
    "bad lines": Small(lambda: b"{}" + b"\n{]" * 100_000, 70, {"max_bad_lines": 10**9}),
    "a line of zeros": Small(lambda: b'{"a":[0' + b",0" * 750_000 + b"]}", 175),
    "a key of its own in each row": Small(  # it was more than 20 GB
        lambda: rows_with_keys(60_000, 10**9, 2), 175, is_refused=True
    ),
}


def peak_mb(name: str) -> float:
    """Return the MB that reading a feed of SMALL takes, besides those of the process before."""
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as forked:
        return forked.submit(_peak_mb, name).result()


def _peak_mb(name: str) -> float:
    feed = SMALL[name]
    data, is_refused = feed.data(), False
    before = anonymous_mb()
    with watched() as peak, unnamed_temp_file() as file:
        file.write(data)
        file.flush()
        try:
            read(ByteSource(file), options=Options(**feed.options))
        except ContentError:
            is_refused = True
    assert is_refused == feed.is_refused
    return peak.mb - before
