"""Small feeds that must not cost much: work and memory follow the bytes, not rows times columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.errors import ContentError, NotNdjson
from feed_assets.ndjson import strict_json
from feed_assets.ndjson.columnar.cell_limits import CellLimit, count_cells
from feed_assets.ndjson.inference.infer import infer_columns
from feed_assets.ndjson.input.lines import BOM, JSON_SPACE, split_lines
from feed_assets.ndjson.rowwise import arrow_builders
from feed_assets_tests.unit.ndjson.feeds import made_up, read_bytes, read_lines, values_of
from feed_assets_tests.unit.ndjson.peak_memory import SMALL, one_of, peak_mb, rows_with_keys
from feed_assets_tests.unit.ndjson.test_block_reader import blocks_of, rowwise_only


def elements(keys: int, count: int) -> bytes:
    return b'{"a":[%s]}' % b",".join(b'{"k%d":1}' % (each % keys) for each in range(count))


WIDE = b"{" + b",".join(b'"k%d":1' % key for key in range(9_000)) + b"}\n"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "one of many keys in each row": (
        lambda: one_of(3_000, 25_000),
        "a row has 3,000 different keys",
    ),
    "narrow rows, then a wide one": (
        lambda: b'{"a":1}\n' * 9_000 + WIDE,
        "a row has 9,001 different",
    ),
    "a wide row, then narrow ones": (
        lambda: WIDE + b'{"a":1}\n' * 9_000,
        "a row has 9,001 different",
    ),
    "a map": (
        lambda: rows_with_keys(20_000, 4_000, 2),
        r"by has 4,000 different keys.*types: {by: JSON}",
    ),
    "a line with an array of objects": (
        lambda: elements(2_000, 10_000),
        r"a has 2,000 different keys.*types: {a: JSON}",
    ),
    "an array of objects in many lines": (
        lambda: elements(2_000, 2_000) + (b"\n" + elements(1, 1_000)) * 35,
        r"a has 2,000 different keys.*types: {a: JSON}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_of_cells_that_are_nearly_all_empty_is_refused(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ContentError, match=f"cells or more, nearly all of them empty: {reason}"):
        read_bytes(data())


def test_declaring_the_object_named_in_the_refusal_as_json_makes_it_one_column() -> None:
    for name, path in (("a map", "by"), ("a line with an array of objects", "a")):
        assert path in read_bytes(REFUSED[name][0](), types={path: "JSON"}).types


@pytest.mark.parametrize(
    ("size", "cells", "is_refused"),
    [
        (1, 64 << 20, False),
        (1, (64 << 20) + 1, True),
        (10 << 20, 320 << 20, False),
        (10 << 20, (320 << 20) + 1, True),
    ],
)
def test_the_limit_of_cells_grows_with_the_size_of_the_feed(
    size: int, cells: int, is_refused: bool
) -> None:
    reading = read_lines('{"a":{"b":1,"c":2}}')
    limit = CellLimit(size, infer_columns(reading.observed))
    assert limit.columns_per_row == 3
    if is_refused:
        with pytest.raises(ContentError, match=f"{cells:,} cells or more.*a has 2 different keys"):
            limit.check(cells)
    else:
        limit.check(cells)


def test_cells_are_counted_in_records_and_arrays() -> None:
    table = read_lines('{"a":[1,2],"o":{"b":1},"r":[{"x":1},{"x":2},{}]}', '{"n":1}').table
    (batch,) = table.to_batches()
    found = dict(zip(batch.schema.names, map(count_cells, batch.columns), strict=True))
    assert found == {"a": 2 + 2, "o": 2 + 2, "r": 2 + 3 + 3, "n": 2}


def test_absent_values_are_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted = 0
    original = arrow_builders.integers

    def counted(values: Sequence[int | None], to: pa.DataType) -> pa.Array:
        nonlocal converted
        converted += len(values)
        return original(values, to)

    monkeypatch.setattr(arrow_builders, "integers", counted)
    with rowwise_only():
        found = read_bytes(rows_with_keys(3_000, 500, 2))
    assert found.rows == 3_000
    assert converted == 3 * 3_000  # of 1.5 million cells


@pytest.mark.parametrize("key", ["k1", "s", "n"])
def test_few_values_in_many_columns_stay_in_their_rows_and_columns(key: str) -> None:
    values = {"k1": "1", "s": '"x"', "n": '{"a":{"b":[1,2]}}'}
    rows = ["{}", *(f'{{"k{row}":{row}}}' for row in range(60)), f'{{"{key}":{values[key]}}}', "{}"]
    with rowwise_only():
        slow = read_lines(*rows)
    fast = read_lines(*rows)
    assert slow.table.equals(fast.table)
    assert values_of(slow, key)[-2] == {"k1": 1, "s": "x", "n": {"a": {"b": [1, 2]}}}[key]
    assert values_of(slow, "k7")[7:10] == [None, 7, None]


def test_blank_lines_are_not_read_one_by_one() -> None:
    data = b'{"a":1}\n' + b"\n" * 300_000 + b" \r\n" * 1_000 + b'{"a":2}\n'
    with blocks_of(64 << 10, 1 << 10) as parts:
        found = read_bytes(data)
    assert (found.rows, found.lines) == (2, 301_002)
    assert len(parts) <= len(data) // (64 << 10) + 2  # none was halved


space = st.text(" \t\r", max_size=3).map(str.encode)
line = st.tuples(space, st.sampled_from([b"", b"", b"{}", b"[\xff"]), space).map(b"".join)


@made_up
@given(st.lists(line, max_size=9), st.sampled_from([b"", BOM]), st.booleans(), st.integers(2, 9))
def test_lines_are_numbered_and_limited_with_blank_ones_between(
    given_lines: list[bytes], mark: bytes, ends: bool, most: int
) -> None:
    data = mark + b"\n".join(given_lines) + b"\n" * ends
    want: list[tuple[int, bytes]] = []
    longest = 0
    for number, each in enumerate(data.split(b"\n"), 1):
        longest = max(longest, len(each.rstrip(b"\r")))
        if text := each.removeprefix(mark if number == 1 else b"").strip(JSON_SPACE):
            want.append((number, text))
    assert list(split_lines(data, max_bytes=99)) == want
    if longest > most:
        with pytest.raises(NotNdjson, match=f"is longer than {most} bytes"):
            list(split_lines(data, max_bytes=most))
    else:
        assert list(split_lines(data, max_bytes=most)) == want


@made_up
@given(st.lists(st.sampled_from(["[", "{", "]", "}", '"', "a", "é", "[" * 120, "}" * 90])))
def test_the_depth_is_the_same_whichever_way_brackets_are_counted(parts: list[str]) -> None:
    text = "[" + "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_MANY_BRACKETS", 10**9)
        want = strict_json.nested_too_deep(text)
        patch.setattr(strict_json, "_MANY_BRACKETS", 0)
        patch.setattr("feed_assets.ndjson.buffers._WINDOW", 7)
        assert strict_json.nested_too_deep(text) == want


@pytest.mark.process
@pytest.mark.parametrize("name", SMALL)
def test_small_feeds_take_little_memory(name: str) -> None:
    assert peak_mb(name) < SMALL[name].mb
