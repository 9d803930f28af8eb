"""Results of a reading: the table on disk, the DataFrame, the report."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import feed_assets
from feed_assets.errors import BadLines, NotNdjson
from feed_assets.ndjson import read_ndjson, reader
from feed_assets.schema.arrow_metadata import keyed_field
from feed_assets_tests.unit.ndjson.feeds import made_up, read_lines


def test_columns_are_in_the_order_in_which_the_feed_first_named_them() -> None:
    found = read_lines(
        '{"b":null,"a":{"y":1,"x":[{"q":1},{"p":2,"q":1}]}}',
        '{"c":1,"a":{"w":1,"y":2},"b":5,"0":true}',
        types={"zz": "DATE", "a.v": "DATE", "yy": "DATE"},
    )
    assert found.table.schema.names == ["b", "a", "c", "0", "zz", "yy"]
    a = found.table.schema.field("a").type
    assert [field.name for field in a] == ["y", "x", "w", "v"]
    assert [field.name for field in a.field("x").type.value_type] == ["q", "p"]


def test_untyped_names_the_outermost_column_without_values() -> None:
    found = read_lines('{"a":{"b":null,"c":1},"d":{"e":null},"f":[{"g":null,"h":1}],"i":[null]}')
    assert found.untyped == ("a.b", "d", "f.g", "i")


def test_the_frame_is_arrow_backed_and_takes_no_memory_of_its_own() -> None:
    lines = (json.dumps({"id": each, "text": "x" * 1000, "n": [each]}) for each in range(2000))
    found = read_lines(*lines)
    before = pa.total_allocated_bytes()
    frame = found.frame()
    assert pa.total_allocated_bytes() == before
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert pa.Table.from_pandas(frame, preserve_index=False).to_pylist() == found.table.to_pylist()
    assert pa.total_allocated_bytes() < before + 100_000  # the pages are the file's


def test_the_size_of_batches_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'{{"a":{each},"b":[{each},null],"c":{{"d":"{each}"}}}}' for each in range(100)]
    whole = read_lines(*lines)
    monkeypatch.setattr(reader, "_BATCH_ROWS", 7)
    parts = read_lines(*lines)
    assert parts.table.column("a").num_chunks == 15
    assert parts.table.equals(whole.table)
    assert parts.dropped_nulls == whole.dropped_nulls == {"b": 100}


STRUCT = pa.struct([("x", pa.int64()), keyed_field("Y", pa.bool_(), "y")])
LIST = pa.list_(pa.int64())


@pytest.mark.parametrize(
    ("values", "path", "known", "line"),
    [
        (["1", "2.5", '"x"'], "c", pa.int64(), 2),
        (["1", "2.5", '"x"'], "C", pa.float64(), 3),
        (["1", "9007199254740993"], "c", pa.float64(), 2),
        (["1", '"x"'], "c", pa.string(), None),
        (["null", '"2020-01-20"', '"n/a"'], "c", pa.timestamp("us"), 3),
        (["null", '"2020-01-20"', '"n/a"'], "c", pa.timestamp("us", "UTC"), 2),
        (["true", "null", "[1]"], "c", pa.bool_(), 3),
        (["true", "{}", "[]"], "c", pa.bool_(), None),
        (["1", "2"], "c", pa.decimal128(38, 9), 1),
        (['{"x":1}', '{"x":1.5}', "5"], "c", STRUCT, 2),
        (['{"x":1}', '{"x":2,"y":0}'], "c", STRUCT, 2),
        (['{"x":1}', "5", '{"x":1.5}'], "c", STRUCT, 2),
        (['{"x":1}', "5", '{"x":1.5}'], "c.x", pa.int64(), 3),
        (['[{"x":1}]', '[{},{"x":"a"}]'], "c.x", pa.int64(), 2),
        (["[1]", '[1,"a"]'], "c", LIST, 2),
        (["[1]", "1"], "c", LIST, 2),
        (["1"], "d", pa.bool_(), None),
    ],
)
def test_the_first_line_that_does_not_fit_a_known_type(
    values: list[str], path: str, known: pa.DataType, line: int | None
) -> None:
    found = read_lines(*(f'{{"c":{value}}}' for value in values))
    assert found.first_conflicting_line(path, known) == line


def test_a_known_type_is_looked_up_by_stored_name() -> None:
    found = read_lines('{"a.b":{"x!":1}}', '{"A_b":true,"a.b":{"x!":"n/a"}}')
    assert found.renamed["a.b"] == "a_b_2"
    assert found.first_conflicting_line("a_b_2.x_", pa.int64()) == 2
    assert found.first_conflicting_line("A_b", pa.int64()) == 2


def test_read_ndjson_gives_the_frame_and_the_report(tmp_path: Path) -> None:
    text = '{"a":1,"b!":"x","u":null,"l":[null]}\nbad\n{"a":"00123","l":[1]}\n'
    path = tmp_path / "feed.ndjson"
    path.write_text(text, encoding="utf-8")
    for source in (path, str(path), io.BytesIO(text.encode()), io.StringIO(text), path.open("rb")):
        frame = read_ndjson(source, types={"a": "INTEGER"}, max_bad_lines=1)
        assert frame["a"].tolist() == [1, 123]
        assert isinstance(frame["a"].dtype, pd.ArrowDtype)
        assert json.loads(json.dumps(frame.attrs)) == {
            "rows": 2,
            "bytes": len(text),
            "bad_lines": [
                {"line": 2, "reason": "is not JSON (expecting value at character 1)", "text": "bad"}
            ],
            "untyped": ["u"],
            "renamed": {"b!": "b_"},
            "dropped_nulls": {"l": 1},
        }
        if hasattr(source, "close"):
            source.close()
    assert feed_assets.read_ndjson is read_ndjson
    with pytest.raises(BadLines):
        read_ndjson(io.BytesIO(b"bad"))


def test_read_ndjson_decodes_gzip_beside_the_reading(tmp_path: Path) -> None:
    rows = b"".join(b'{"n":%d}\n' % number for number in range(100_000))
    path = tmp_path / "feed.ndjson.gz"
    half = len(rows) // 2
    path.write_bytes(gzip.compress(rows[:half]) + gzip.compress(rows[half:]))  # two members
    assert read_ndjson(path)["n"].tolist() == list(range(100_000))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(NotNdjson, match="not valid gzip"):
        read_ndjson(path)


@pytest.mark.process
def test_reading_does_not_import_pandas() -> None:
    program = """
import json, sys
from feed_assets.ndjson import Options
from feed_assets_tests.unit.ndjson.feeds import read_bytes
row = {"a": 0, "b": 0.5, "c": "2020-01-20", "d": True, "e": [1, None], "f": {"g": 0}, "h": ""}
row |= {"i": "2020-01-20T10:00:00.1234567Z", "j": "text"}
odd = [{}, {"a": "x"}, {"b": "x"}, {"c": "x"}, {"e": ["x"]}, {"f": {"g": "x"}}, {"d": 0}]
odd += [{"a": 0.5}, {"f": 0}, {"i": "x"}, {"new": 1}, {"e": 5}]
for last in odd:
    for options in ({}, {"null_values": ["", "x"]}, {"types": {"a": "NUMERIC", "b": "STRING"}}):
        feed = "".join(json.dumps(each) + "\\n" for each in [row] * 200 + [last])
        read_bytes(feed.encode(), max_bad_lines=1, **options)
        assert "pandas" not in sys.modules, (last, options)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=5,
)


@made_up
@given(st.lists(st.dictionaries(st.sampled_from("xyz"), JSON), max_size=5))
def test_every_value_of_a_feed_can_be_read_back_from_the_frame(rows: list[dict[str, Any]]) -> None:
    found = read_lines(*map(json.dumps, rows))
    frame = found.frame()
    for column in frame.columns:
        for row, stored in zip(rows, frame[column].tolist(), strict=True):
            assert _same(row.get(column), None if stored is pd.NA else stored)


def _same(value: Any, stored: Any) -> bool:
    """Compare a value with the stored one, or with its text.

    Null elements are dropped, and an object or array that holds nothing may be missing. An empty
    element is dropped too, unless the other elements are of its kind.
    """
    if stored is None and value in ({}, []):
        return True
    if isinstance(stored, str) and not isinstance(value, str):
        return bool(json.loads(stored) == value)
    if isinstance(value, dict) and isinstance(stored, dict):
        return all(_same(value.get(key), each) for key, each in stored.items()) and all(
            key in stored or _holds_nothing(each) for key, each in value.items()
        )
    if isinstance(value, list) and stored is not None:
        empty: list[list[Any]] = [[], [[]], [{}], [[], {}]]
        for dropped in ([None, *each] for each in empty):
            remaining = [each for each in value if each not in dropped]
            if len(remaining) == len(stored) and all(map(_same, remaining, stored)):
                return True
        return False
    return bool(value == stored)


def _holds_nothing(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_holds_nothing, value.values() if isinstance(value, dict) else value))
    return value is None
