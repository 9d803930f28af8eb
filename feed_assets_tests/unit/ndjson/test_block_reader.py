"""The columnar reader gives the result of the row-wise reader, wherever blocks begin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.errors import FeedAssetsError
from feed_assets.ndjson import Reading, block_reader
from feed_assets.ndjson import reader as reading
from feed_assets.ndjson.block_reader import BlockReader, BlockResult
from feed_assets.ndjson.columnar.arrow_json import Hints
from feed_assets.ndjson.columnar.guards import FallBackToRows
from feed_assets.ndjson.datatypes.kinds import TYPES
from feed_assets.ndjson.inference.observed import Observed
from feed_assets.ndjson.input.blocks import Block
from feed_assets.ndjson.strict_json import parse
from feed_assets.schema.selection import Selection
from feed_assets_tests.unit.ndjson import feeds
from feed_assets_tests.unit.ndjson.feeds import (
    PLACES,
    made_up,
    made_up_few,
    made_up_in_plenty,
    read_bytes,
    read_lines,
)


@contextmanager
def blocks_of(size: int, smallest: int = 1) -> Iterator[list[tuple[int, bool]]]:
    """Read in blocks of `size` bytes; collect size and use of the columnar reader of each part."""
    found: list[tuple[int, bool]] = []
    original = BlockReader._results

    def noted(
        self: BlockReader, block: Block, hints: Hints, known: Observed
    ) -> Iterator[BlockResult]:
        for part in original(self, block, hints, known):
            if part.extent == block.extent:
                found.append((part.extent.size, part.batch is not None))
            yield part

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_BLOCK_BYTES", size)
        patch.setattr(block_reader, "SMALLEST", smallest)
        patch.setattr(BlockReader, "_results", noted)
        yield found


@contextmanager
def rowwise_only() -> Iterator[None]:
    """Read every block row by row."""

    def refuse(*_: object) -> None:
        raise FallBackToRows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockReader, "_read_columnar", refuse)
        yield


def result_of(data: bytes, **options: Any) -> Reading | str:
    try:
        return read_bytes(data, **options)
    except FeedAssetsError as invalid:
        return str(invalid)


def assert_same(one: Reading | str, other: Reading | str) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert one.table.schema.equals(other.table.schema)
    assert one.rows == other.rows
    for first in range(0, one.rows, 100):  # in few rows, or wide tables would fill the memory
        mine, theirs = (each.table.slice(first, 100).to_pylist() for each in (one, other))
        assert repr(mine) == repr(theirs)  # -0.0 is not 0.0
    one.table.validate(full=True)
    assert replace(one, table=None) == replace(other, table=None)


ONE_BLOCK = 1 << 20


def assert_same_in_blocks(data: bytes, *sizes: int, **options: Any) -> None:
    """The result does not depend on the size of blocks."""
    with rowwise_only():
        want = result_of(data, **options)
    for size in sizes:
        with blocks_of(size, ONE_BLOCK if size == ONE_BLOCK else 1):
            assert_same(result_of(data, **options), want)


@pytest.mark.parametrize(("before", "after"), [(b"", b"\r"), (b"    ", b""), (b"\t ", b" \r")])
def test_a_block_with_spaces_around_its_rows_is_read_by_columns(
    before: bytes, after: bytes
) -> None:
    rows = [b'{"n": %d, "text": " a "}' % number for number in range(100)]
    spaced = b"\n".join(before + row + after for row in rows)

    assert_same_in_blocks(spaced, 200, ONE_BLOCK)
    with blocks_of(200) as parts:
        read_bytes(spaced)
    assert all(columnar for _, columnar in parts)


def sizes_to(largest: int) -> st.SearchStrategy[int]:
    """Sizes of blocks: in half of the examples a few bytes, in the others the whole feed."""
    return st.integers(1, largest) | st.just(ONE_BLOCK)


@made_up_in_plenty
@given(feeds.feeds, sizes_to(200), feeds.null_values, st.sampled_from([0, 1, 99]))
def test_any_feed_reads_the_same_in_blocks_of_any_size(
    data: bytes, size: int, null_values: Sequence[str], bad: int
) -> None:
    assert_same_in_blocks(data, size, null_values=null_values, max_bad_lines=bad)


@made_up
@given(
    feeds.feeds,
    sizes_to(200),
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "a.b", "b.a"]),
        st.sampled_from([each.name for each in TYPES]),
        max_size=2,
    ),
)
def test_any_feed_with_declared_types_reads_the_same_in_any_blocks(
    data: bytes, size: int, types: dict[str, str]
) -> None:
    if any(path.startswith(f"{parent}.") for path in types for parent in types):
        return
    assert_same_in_blocks(data, size, types=types, max_bad_lines=99)


@made_up_few
@given(feeds.feeds, sizes_to(200), feeds.selections, feeds.null_values)
def test_any_feed_with_selected_columns_reads_the_same_in_any_blocks(
    data: bytes, size: int, columns: Selection, null_values: Sequence[str]
) -> None:
    assert_same_in_blocks(data, size, columns=columns, null_values=null_values, max_bad_lines=99)


homogeneous = st.lists(
    st.fixed_dictionaries(
        {"i": st.integers(-(2**54), 2**54) | st.integers(0, 3)},
        optional={
            "d": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3),
            "z": st.sampled_from(["2020-01-20", "2020-01-20T10:00", None]),
            "t": st.sampled_from(["2020-01-20T10:00Z", "2020-01-20T10:00:00.1234567+01:00"]),
            "s": st.sampled_from(["", "x", "2020-02-30", "12, 5, 7", '"d":1,']),
            "o": st.fixed_dictionaries(
                {}, optional={"d": st.sampled_from([1, 1.0, 0.5, None]), "n": st.none()}
            ),
            "l": st.lists(st.sampled_from([1, 1.0, -0.5, None]), max_size=3),
            "r": st.lists(
                st.fixed_dictionaries({}, optional={"d": st.sampled_from([1, 2.0, None])})
                | st.none(),
                max_size=2,
            ),
        },
    ),
    max_size=12,
)


@made_up_in_plenty
@given(homogeneous, sizes_to(400), feeds.null_values)
def test_similar_rows_read_the_same_in_any_blocks(
    rows: list[dict[str, Any]], size: int, null_values: Sequence[str]
) -> None:
    data = "\n".join(map(json.dumps, rows)).encode()
    assert_same_in_blocks(data, size, null_values=null_values)


@pytest.mark.parametrize("value", ["NaN", "[1,-Infinity]", '{"x":[{"y":NaN}]}', '{"x":1e400}'])
@pytest.mark.parametrize(
    "options",
    [
        {"types": {"c": "STRING"}},
        {"types": {"c": "JSON"}},
        {"columns": Selection(exclude=("c",))},
        {"columns": Selection(exclude=("c.x",))},
        {"columns": Selection(include=("c.z",))},
        {"columns": Selection(hash=("c.x",), hash_key=b"the key of the hashes")},
    ],
    ids=str,
)
def test_invalid_json_is_found_in_columns_that_are_not_read(
    value: str, options: dict[str, Any]
) -> None:
    data = "\n".join(['{"c":null}', f'{{"id":1,"c":{value}}}', '{"id":2}']).encode()
    assert_same_in_blocks(data, 1, ONE_BLOCK, max_bad_lines=9, **options)


HAND_WRITTEN = [
    ['{"c":1}', '{"c":-0}', '{"c":1.5}'],
    ['{"c":-0}', '{"c":0}', '{"c":"x"}'],
    ['{"c":0}', '{"c":1}', '{"c":"x"}'],
    ['{"c":1.50}', '{"c":2}', '{"c":"x"}'],
    ['{"c":"2020-01-20"}', '{"c":"2020-01-20T10:00"}', '{"c":"n/a"}'],
    ['{"c":"2020-01-20"}', '{"c":"2020-01-20T10:00Z"}'],
    ['{"o":{"c":"2020-01-20"}}', '{"o":{"c":"n/a"}}'],
    ['{"o":[{"c":"2020-01-20"},{}]}', '{"o":[{"c":"n/a"},{"d":1}]}'],
    ['{"o":[{"c":"2020-01-20"},null]}', '{"o":[{"c":"n/a"},{"d":1}]}'],
    ['{"c":[1,null]}', '{"c":["x"]}'],
    ['{"c":[true,null]}', '{"c":"x"}'],
    ['{"c":{"x":[1, null]}}', '{"c":5}'],
    ['{"c":[]}', '{"c":[null,null]}', '{"c":[{"x":[null]}]}'],
    ['{"c":9007199254740993}', '{"c":1}', '{"c":0.5}'],
    ['{"c":9007199254740993.0}', '{"c":1e-400}', '{"c":0.0}'],
    ['{"c":9223372036854775807.0}', '{"c":9223372036854775808}'],
    ['{"c":"2020-01-20T10"}', '{"c":"2020-01-20T10:00"}'],
    ['{"c":"2020-01-20T10:00:00.123456789Z"}', '{"c":"0001-01-01T00:00Z"}'],
    ['{"c":"9999-12-31T23:59:59-01:00"}', '{"c":"2020-01-20T10:00Z"}'],
    ['{"a":null,"b":1}', '{"c":null,"a":2}', '{"b":null,"d":[{"e":null}],"c":1}'],
    ['{"\\u0061":null}', '{"b":1,"a\\"":null}', '{"b":1,"a":1,"a\\"":2}'],
    ['{"a":{"x":null}}', '{"b":{"x":1}}', '{"a":{"x":"y","z":{}}}'],
    ['{"a":{"b":1}', '{"c":2}}'],
    ['{"a":1}{"a":2}', '{"a":', "3}"],
    ['{"a":1}', "", "  ", '{"a":2} ', ' {"a":3}'],
    ['{"a":NaN}', '{"a":1.5}'],
    ['{"a":"\\ud83c\\udf89"}', '{"a":"\\ud83c"}', '{"a":"\\\\ud83c"}'],
    ['{"C":1,"c":"x"}', '{"c":2,"a.b":1,"a":{"b":"2020-01-20"}}'],
]


@pytest.mark.parametrize("lines", HAND_WRITTEN)
def test_a_feed_whose_columns_change_midway_reads_the_same(lines: list[str]) -> None:
    keys = {key for key in "co" if f'{{"{key}":' in "".join(lines)}
    for given_lines in (lines, lines[::-1], [*lines, *lines]):
        data = "\n".join(["{}", *given_lines]).encode()
        declared = ({path: "STRING"} for path in ("c", "o.c") if path[0] in keys)
        for types in ({}, *declared):
            assert_same_in_blocks(data, 1, 20, ONE_BLOCK, types=types, max_bad_lines=9)


FLAT = [
    json.dumps(
        {
            "id": each,
            "total": each / 7,
            "at": f"2020-01-20T10:11:{each % 60:02}Z",
            "due": "2020-01-20",
            "name": f"N {each}",
            "paid": each % 2 == 0,
            "note": None if each % 5 else "Zürich",
        }
    )
    for each in range(2000)
]
NESTED = [
    json.dumps(
        {
            "id": each,
            "customer": {"name": f"N {each}", "since": "2020-01-20", "address": {"zip": "0123"}},
            "tags": ["x"] * (each % 3),
            "items": [{"sku": f"S{n}", "price": n / 8, "gift": None} for n in range(each % 4)],
        }
    )
    for each in range(2000)
]


@pytest.mark.parametrize("lines", [FLAT, NESTED])
def test_a_clean_feed_is_read_columnar_without_copies(lines: list[str]) -> None:
    with blocks_of(32 << 10, 1 << 10) as found:
        read_lines(*lines)
    assert len(found) > 5
    assert all(at_once for _, at_once in found)


@pytest.mark.parametrize(
    "line",
    ['{"id":1,}', '{"id":"text"}', '{"id":1,"id":2}', '{"id":1}{"id":2}', '{"name":[1,"x"]}'],
)
def test_one_unusual_line_leaves_the_rest_to_the_columnar_reader(line: str) -> None:
    with blocks_of(32 << 10, 1 << 10) as found:
        read_lines(*FLAT[:900], line, *FLAT[900:], max_bad_lines=1)
    slow = sum(size for size, at_once in found if not at_once)
    assert 0 < slow <= 1 << 10


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('{"id":1.5}', "id"),
        ('{"id":"n/a"}', "id"),
        ('{"at":"n/a"}', "at"),
        ('{"due":"2020-01-20T10:00Z"}', "due"),
        ('{"new":1}', "new"),
    ],
)
def test_a_type_that_widens_in_the_last_line_parses_no_row_again(
    line: str, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return parse(*args, **options)

    monkeypatch.setattr("feed_assets.ndjson.options.parse", counted)
    with blocks_of(32 << 10, 1 << 10):
        found = read_lines(*FLAT[1:], line)
    assert found.rows == len(FLAT)
    assert parsed < 60  # witnesses, and none of the 250 rows of a block


decimals = st.one_of(
    st.sampled_from(feeds.NUMBERS),
    st.sampled_from(["0.000000001", "1.0000000000", "0.0000000001", "-0.5e-9", "5e-9", "1.5E+3"]),
    st.sampled_from([f"{'9' * 29}.999999999", f"1{'0' * 29}.5", f"{'9' * 28}e1", "1e28", "1e29"]),
    st.decimals(-999, 999, places=9).map(str),
)


@made_up
@given(
    st.lists(decimals, min_size=1, max_size=6),
    st.sampled_from(["n", "\\u006e", "n n"]),
    st.sampled_from(["NUMERIC", "BIGNUMERIC"]),
)
def test_a_declared_numeric_is_exact_in_the_columnar_reader(
    numbers: list[str], key: str, declared: str
) -> None:
    rows = [f'{{"{key}" : {number} ,"o":{{"{key}":{number}}}}}' for number in numbers]
    types = dict.fromkeys(["n", "n n", "o.n"], declared)
    assert_same_in_blocks("\n".join(rows).encode(), ONE_BLOCK, types=types, max_bad_lines=99)


DECLARED = {
    "NUMERIC": ["1.50", '"2"', "null"],
    "BIGNUMERIC": ["123456789012345678901234567890.5", "1", "18446744073709551616"],
    "DATE": ['"2020-01-20"', "null"],
    "TIME": ['"10:30"', '"23:59:59.1234567"', "null"],
    "BYTES": ['"AP8="', '""'],
    "GEOGRAPHY": ['"POINT(1 2)"', '"LINESTRING(0 0,1 1)"'],
    "INTEGER": ['"00123"', '"-7"'],
    "FLOAT": ['"1.5"', "null"],
    "JSON": ['{"a":1.50,"b":"x"}', '{"a":2}', "null"],
}


@pytest.mark.parametrize("declared", DECLARED)
def test_values_that_fit_their_declared_type_are_read_columnar(declared: str) -> None:
    values = DECLARED[declared] if declared != "NUMERIC" else DECLARED[declared][::2]
    lines = [f'{{"id":{row},"c":{values[row % len(values)]}}}' for row in range(3000)]
    data = "\n".join(lines).encode()
    for null_values in ((), ("", "-")):
        options = {"types": {"c": declared}, "null_values": null_values}
        with rowwise_only():
            want = result_of(data, **options)
        with blocks_of(32 << 10, 1 << 10) as found:
            assert_same(result_of(data, **options), want)
        assert all(at_once for _, at_once in found)


FORMATTED: dict[tuple[str, str], list[str]] = {
    ("DATE", "%d.%m.%Y"): ['"31.01.2020"', '"1.2.2020"', "null"],
    ("DATETIME", "%Y%m%d%H%M"): ["202001311530", "null"],
    ("TIMESTAMP", "epoch_s"): ["1580464800", "0", "null"],
    ("TIMESTAMP", "epoch_ms"): ['"1580464800123"', '"-1.5"', '"-"'],
}


@pytest.mark.parametrize(("name", "text"), FORMATTED)
@pytest.mark.parametrize("path", PLACES)
def test_values_of_a_format_are_read_columnar_wherever_they_are(
    name: str, text: str, path: str
) -> None:
    values = FORMATTED[name, text]
    lines = [PLACES[path][0].format(values[row % len(values)]) for row in range(3000)]
    data = "\n".join(lines).encode()
    options: dict[str, Any] = {
        "types": {path: {"type": name, "format": text}},
        "null_values": ["-"],
    }
    with rowwise_only():
        want = result_of(data, **options)
    with blocks_of(32 << 10, 1 << 10) as found:
        assert_same(result_of(data, **options), want)
    assert all(at_once for _, at_once in found)


@pytest.mark.parametrize(
    ("declared", "odd"),
    [
        ("BIGNUMERIC", "1e39"),
        ("DATE", '"2020-01-20T10:00"'),
        ("TIME", '"24:00"'),
        ("BYTES", '"x"'),
        ("GEOGRAPHY", '"POINT(1 2"'),
        ("JSON", '{"a":18446744073709551616}'),
    ],
)
def test_the_columnar_reader_finds_one_value_that_does_not_fit(declared: str, odd: str) -> None:
    values = DECLARED[declared]
    lines = [f'{{"id":{row},"c":{values[row % len(values)]}}}' for row in range(900)]
    with blocks_of(16 << 10, 1 << 10) as found:
        reading = read_lines(
            *lines, f'{{"c":{odd}}}', *lines, types={"c": declared}, max_bad_lines=1
        )
    assert [bad.line for bad in reading.bad_lines] == [901]
    assert 0 < sum(size for size, at_once in found if not at_once) <= 1 << 10
