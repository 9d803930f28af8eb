"""The engine agrees with an oracle that shares no code with it, on feeds nobody would think of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from feed_assets.errors import NotNdjson
from feed_assets.ndjson.datatypes.kinds import BY_NAME
from feed_assets.schema.selection import Selection
from feed_assets_tests.support.examples import TIMES
from feed_assets_tests.unit.ndjson import feeds
from feed_assets_tests.unit.ndjson.declared_feeds import assert_stored, declared_feed
from feed_assets_tests.unit.ndjson.declared_values import FORMATTED
from feed_assets_tests.unit.ndjson.feeds import (
    made_up,
    made_up_few,
    made_up_in_plenty,
    read_bytes,
    values_of,
)
from feed_assets_tests.unit.ndjson.oracle import expected


def assert_agrees(data: bytes, **options: Any) -> None:
    """Bad lines, names, types, order and values."""
    want = expected(data, **options)
    got = read_bytes(data, max_bad_lines=len(data), **options)
    assert [bad.line for bad in got.bad_lines] == want.bad_lines
    assert {field.name: str(field.type) for field in got.table.schema} == want.types
    assert got.table.schema.names == list(want.types)
    assert got.rows == len(want.rows)
    if want.types:
        # repr, so that -0.0 is not 0.0 and true is not 1
        assert repr(_utc(got.table.to_pylist())) == repr(want.rows)


def _utc(value: Any) -> Any:
    """Arrow's UTC is another class than datetime's."""
    if isinstance(value, list):
        return [_utc(each) for each in value]
    if isinstance(value, dict):
        return {key: _utc(each) for key, each in value.items()}
    if getattr(value, "tzinfo", None) is not None:
        return value.replace(tzinfo=UTC)
    return value


@made_up_in_plenty
@given(feeds.feeds, feeds.null_values)
def test_every_value_and_type_is_as_the_oracle_has_it(
    data: bytes, null_values: Sequence[str]
) -> None:
    assert_agrees(data, null_values=null_values)


@made_up_few
@given(feeds.feeds, feeds.selections, feeds.null_values)
def test_selected_columns_are_as_the_oracle_has_them(
    data: bytes, columns: Selection, null_values: Sequence[str]
) -> None:
    assert_agrees(data, columns=columns, null_values=null_values)


@made_up
@given(st.lists(feeds.simple_rows, min_size=1, max_size=6))
def test_columns_of_scalars_are_as_the_oracle_has_them(rows: list[str]) -> None:
    assert_agrees("\n".join(["{}", *rows]).encode())


@pytest.mark.parametrize("seed", range(150 * TIMES))
def test_a_feed_with_a_few_bytes_changed_is_as_the_oracle_has_it(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(_SOUND)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(3, len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.choice(b'{}[]",:\\u0eE.-+ \n\r\t\x00\x7f\xc3\xff19nN')
            case 1:
                del data[at : at + chance.randint(1, 3)]
            case _:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.randint(1, 12)]
    try:
        assert_agrees(bytes(data))
    except NotNdjson:
        pytest.fail("the first line is a row, so this is not a foreign format")


_SOUND = """{}
{"id":1,"total":96.12,"at":"2020-01-20","z":"2020-01-20T10:00:00Z","s":"Z\u00fcrich","t":"a\\u00e9\\n"}
{"id":9007199254740993,"total":5,"at":"2020-01-20T10:11:12.5","z":null,"s":"\\ud83c\\udf89","n":null}
{"items":[{"sku":"A","n":2,"tags":["x",null]},{"sku":"B","n":1e3,"tags":[]}],"c":{"d":{"e":true}}}
{"items":[],"mix":[[1, 2],[3],"x",{"y": 1.50}],"c":{"d":{"e":false},"f":-0.0},"u":{},"m":1}
{"m":{"k" : [1.0, "2"]},"z":"2020-01-20T10:00:00.123456789+05:30","s":""}
""".encode()


PATHS = ("a", "b", "c", "a.b", "a.c", "b.a", "b.a.c", "c.ü", "k 1")
TYPES = tuple(dict.fromkeys(each.name for each in BY_NAME.values()))


@made_up
@given(feeds.feeds, st.dictionaries(st.sampled_from(PATHS), st.sampled_from(TYPES), max_size=3))
def test_declared_types_only_ever_refuse_whole_lines(data: bytes, types: dict[str, str]) -> None:
    assume(not any(path.startswith(f"{parent}.") for path in types for parent in types))
    want = expected(data)
    got = read_bytes(data, max_bad_lines=len(data), types=types)
    invalid = {bad.line for bad in got.bad_lines if " that is not " in bad.reason}
    assert [bad.line for bad in got.bad_lines if bad.line not in invalid] == want.bad_lines
    assert not invalid & set(want.bad_lines)
    assert got.rows == len(want.rows) - len(invalid)
    assert got.frame().shape == (got.rows, got.table.num_columns)
    for path, name in types.items():
        if "." not in path:
            assert BY_NAME[name].arrow == got.table.schema.field(path).type


@pytest.mark.parametrize("seed", range(5 * TIMES))
@pytest.mark.parametrize("name", TYPES)
def test_a_declared_column_accepts_the_same_values_as_the_oracle(name: str, seed: int) -> None:
    assert_stored(declared_feed(name, seed, 100))


@pytest.mark.parametrize("name", FORMATTED)
def test_a_column_with_a_format_accepts_the_same_values_as_the_oracle(name: str) -> None:
    for seed in range(5 * TIMES):
        assert_stored(declared_feed(name, seed, 30))


@made_up
@given(feeds.feeds, st.sets(st.sampled_from("abc"), min_size=1))
def test_a_column_declared_string_and_one_known_as_string_have_the_same_values(
    data: bytes, names: set[str]
) -> None:
    """But for `{}` and `[]`, which are text only where STRING is declared."""
    declared = read_bytes(data, max_bad_lines=len(data), types=dict.fromkeys(names, "STRING"))
    known = [pa.field(name, pa.string()) for name in names]
    known_string = read_bytes(data, max_bad_lines=len(data), known=known)
    for name in names & set(known_string.table.schema.names):
        both = zip(values_of(known_string, name), values_of(declared, name), strict=True)
        assert all(
            text == other or (text is None and "".join(other.split()) in ("{}", "[]"))
            for text, other in both
        )
    assert names <= {*known_string.table.schema.names, *known_string.untyped} | (
        names - set(known_string.observed.fields)
    )
