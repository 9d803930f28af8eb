"""Feeds made up for as long as you like: does the engine agree with itself, and stay in bounds?

python -m feed_assets_tests.unit.ndjson.fuzz --minutes 30 [--seed N]
python -m feed_assets_tests.unit.ndjson.fuzz --declared 100000 [--seed N]

Each feed comes from its seed. It is read in blocks of a random size, and again line by line: both
must give the same rows, types and bad lines, or the same refusal. Feeds that are mostly alike, with
something odd in few places, are what the fast way through a feed could get wrong; hostile ones must
end in rows or in a refusal, within the time and the memory of any other feed.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import os
import random
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feed_assets.ndjson.datatypes.kinds import TYPES
from feed_assets.schema.selection import Selection
from feed_assets_tests.unit.ndjson.declared_feeds import assert_stored, declared_feed
from feed_assets_tests.unit.ndjson.declared_values import FORMATS, FORMATTED, NAMES
from feed_assets_tests.unit.ndjson.feeds import NUMBERS, STRINGS, is_consistent
from feed_assets_tests.unit.ndjson.test_block_reader import (
    assert_same,
    blocks_of,
    result_of,
    rowwise_only,
)

LONGEST_SECONDS = 60
MOST_ANONYMOUS_MB = 800
_DECLARED_VALUES = 3_000  # in a feed
_FIRST_BYTES = b'{"id":0}\n'

Value = Callable[[random.Random], str]


def main() -> None:
    """End with the first feed that is read wrongly, and leave it in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=time.time_ns() >> 20)
    parser.add_argument("--declared", type=int, help="values of each declared type, and no more")
    asked = parser.parse_args()
    if asked.declared:
        for name in (*NAMES, *FORMATTED):
            check_declared(name, asked.declared, asked.seed)
        return
    threading.Thread(target=_watch_memory, daemon=True).start()
    end, seed, size = time.monotonic() + asked.minutes * 60, asked.seed, 0
    while time.monotonic() < end:
        seed += 1
        data, _ = feed(seed)
        size += len(data)
        feed_file = Path(f"fuzz-{seed}.ndjson")
        feed_file.write_bytes(data)
        faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
        check(seed)
        faulthandler.cancel_dump_traceback_later()
        feed_file.unlink()
        if sys.stderr.isatty():
            print(f"\r{seed - asked.seed} feeds, {size / 1e6:.0f} MB", end="", file=sys.stderr)
    print(
        f"{seed - asked.seed} feeds, {size / 1e6:.0f} MB, from seed {asked.seed + 1}: no difference"
    )


def check_declared(name: str, count: int, seed: int) -> None:
    """Raise AssertionError at a value of that type that is stored or refused wrongly."""
    values = invalid = 0
    for each in itertools.count(seed):
        if values >= count:
            break
        feed = declared_feed(name, each, _DECLARED_VALUES)
        assert_stored(feed)
        values, invalid = values + len(feed.texts), invalid + len(feed.bad_lines)
    print(f"{name}: {values} values, {invalid} of them refused: no difference", flush=True)


def _watch_memory() -> None:
    """End the process when it uses too much memory; the feed's file is left behind."""
    while True:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        anonymous = int(status.partition("RssAnon:")[2].split()[0]) >> 10
        if anonymous > MOST_ANONYMOUS_MB:
            print(f"{anonymous} MB of anonymous memory", file=sys.stderr)
            os._exit(1)
        time.sleep(0.02)


def check(seed: int) -> None:
    """Raise AssertionError where the two ways through a feed differ."""
    data, options = feed(seed)
    chance = random.Random(seed)
    with rowwise_only():
        want = result_of(data, **options)
    sizes = [len(data) // 40 + 64, 16 << 10, 4 << 20]  # not thousands of parts
    smallest = [len(data) // 400 + 1, 4 << 10]  # single lines where the feed is small
    with blocks_of(chance.choice(sizes), chance.choice(smallest)):
        assert_same(result_of(data, **options), want)


def feed(seed: int) -> tuple[bytes, dict[str, Any]]:
    """A feed, and the options to read it with."""
    chance = random.Random(seed)
    options: dict[str, Any] = {
        "max_bad_lines": chance.choice([0, 1, 10**9]),
        "null_values": chance.choice([()] * 4 + [("",), ("", "n/a", "2020-01-20")]),
    }
    if chance.random() < 0.3:
        types: list[Any] = [each.name for each in TYPES]
        types += [{"type": name, "format": text} for name, text in FORMATS]
        options["types"] = {chance.choice("abcdefgh"): chance.choice(types)}
    if chance.random() < 0.3:
        options["columns"] = _selection(chance)
    data = chance.choice([_alike, _alike, _alike, _hostile])(chance)
    if chance.random() < 0.3:
        data = _changed(chance, data)
    return data, options


def _selection(chance: random.Random) -> Selection:
    while True:
        names = [tuple(chance.sample(_PATHS, chance.randrange(4))) for _ in range(3)]
        exclude, include = chance.choice([(names[0], ()), ((), names[0])])
        new = {path: chance.choice([f"new_{path[-1]}", "a"]) for path in names[2]}
        found = Selection(exclude, include, names[1], new, b"the key of the hashes")
        if is_consistent(found):
            return found


_PATHS = (*"abcdefgh", *(f"{key}.{inner}" for key in "abcdefgh" for inner in "ab"))


def _alike(chance: random.Random) -> bytes:
    """Rows of one kind, and a few with something else in them."""
    columns = {
        key: chance.choice(_VALUES) for key in chance.sample("abcdefgh", chance.randint(1, 8))
    }
    odd = chance.choice([0, 0.001, 0.01, 0.5])
    rows = [_row(chance, columns, odd) for _ in range(int(10 ** chance.uniform(0, 3.6)))]
    end = chance.choice(["\n", "\n", "\r\n", "\n\n"])
    return _FIRST_BYTES + (end.join(rows) + end * chance.randrange(2)).encode()


def _row(chance: random.Random, columns: dict[str, Value], odd: float) -> str:
    fields = []
    for key, value in columns.items():
        if chance.random() < 0.05:
            continue
        if chance.random() < odd:
            fields.append(f'"{key}":{chance.choice(["{}", "[]", "[{}]", "[[]]", "NaN"])}')
            continue
        if chance.random() < odd:
            value, key = chance.choice(_VALUES), chance.choice([key, key, key + "2"])
        fields.append(f'"{key}":{"null" if chance.random() < 0.1 else value(chance)}')
    return "{" + ",".join(fields) + "}"


def _text(value: Callable[[random.Random], Any]) -> Value:
    return lambda chance: json.dumps(value(chance), ensure_ascii=chance.random() < 0.5)


def _moment(chance: random.Random) -> str:
    day = f"20{chance.randrange(10, 30)}-{chance.randrange(1, 13):02}-1{chance.randrange(10)}"
    return f"{day}T10:00:00{chance.choice(['', 'Z', '+02:00', '.123456789', '.5Z'])}"


def _object(chance: random.Random) -> str:
    return _row(chance, {"a": _VALUES[0], "b": chance.choice(_VALUES[:8])}, 0.01)


def _array(chance: random.Random) -> str:
    element = chance.choice(_VALUES[:8])
    return "[" + ",".join(element(chance) for _ in range(chance.randrange(4))) + "]"


_VALUES: list[Value] = [
    lambda chance: str(chance.randrange(-10, 1000)),
    lambda chance: repr(chance.choice([0.5, -0.0, 1.0, 1e22, 3.25]) * chance.randrange(9)),
    lambda chance: chance.choice(NUMBERS),
    lambda chance: chance.choice(["true", "false"]),
    _text(lambda chance: f"text {chance.randrange(99)}"),
    _text(lambda chance: chance.choice(STRINGS)),
    _text(_moment),
    _text(lambda chance: _moment(chance)[:10]),
    _text(lambda chance: f"1{chance.randrange(10)}:30{chance.choice(['', ':00', ':59.1234567'])}"),
    _text(lambda chance: b64encode(chance.randbytes(chance.randrange(9))).decode()),
    _text(lambda chance: f"POINT({chance.randrange(-180, 181)} {chance.randrange(-99, 99)}.5)"),
    _object,
    _array,
    lambda chance: "[" + ",".join(_object(chance) for _ in range(chance.randrange(3))) + "]",
]


def _hostile(chance: random.Random) -> bytes:
    size = int(10 ** chance.uniform(2, 5.3))
    kind = chance.randrange(8)
    if kind == 0:  # deep
        opening, closing = chance.choice([("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")])
        depth = chance.choice([10, 30, 40, 199, 210, 2_000, size])
        line = (
            '{"x":' + opening * depth + "1" + closing * chance.choice([depth, depth - 1, 0]) + "}\n"
        )
        return _FIRST_BYTES + (line * chance.choice([1, 3])).encode()
    if kind == 1:  # keys that are data
        many = chance.choice([10, 300, 9_000, 10**9])
        rows = [
            {
                "id": row,
                "by": {f"k{chance.randrange(many)}": row for _ in range(chance.choice([1, 20]))},
            }
            for row in range(size // 100)
        ]
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if kind == 2:  # dense
        part = chance.choice(["[],", "{},", "null,", "0,", '"",', "[[]],", '{"a":[]},'])
        line = '{"x":[' + (part * size)[:-1] + "]}\n"
        return _FIRST_BYTES + (line * chance.choice([1, 3])).encode()
    if kind == 3:  # long strings and numbers
        text = chance.choice(["x", "\\n", "\\\\", '\\"', "9", "\\u00e9", "é", "{["]) * size
        return _FIRST_BYTES + f'{{"x":"{text}"}}\n{{"y":{"9" * min(size, 9_000)}}}\n'.encode()
    if kind == 4:  # anything
        return chance.randbytes(size)
    if kind == 5:  # foreign
        head = chance.choice(
            [
                b"<html>",
                b"[\n",
                b"[{},{}]",
                b"\x1f\x8b\x08",
                b"PK\x03\x04",
                b"\xff\xfe{\0",
                b"{\n ",
                b"",
            ]
        )
        return head + chance.randbytes(chance.randrange(100))
    if kind == 6:  # JSON's own characters
        return bytes(chance.choices(b'{}[]",:\\0123456789.eE-+ \n\r\ttruefalsn', k=size))
    return b"\n" * size + b"{}" * chance.randrange(3)


def _changed(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(3):
            case 0 if at < len(changed):
                changed[at] = chance.choice(b'{}[]",:\\u0eE.-+ \n\r\t\x00\x7f\xc3\xff19nN')
            case 1:
                del changed[at : at + chance.randint(1, 3)]
            case _:
                changed[at:at] = changed[chance.randrange(len(changed) + 1) :][
                    : chance.randint(1, 12)
                ]
    return bytes(changed)


if __name__ == "__main__":
    main()
