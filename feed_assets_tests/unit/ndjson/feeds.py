"""Feeds for the tests: from lines to a reading, and feeds that Hypothesis makes up."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from feed_assets.byte_source import ByteSource, unnamed_temp_file
from feed_assets.errors import SettingError
from feed_assets.ndjson import Observed, Options, Reading, read
from feed_assets.ndjson.rowwise.observe import Observer
from feed_assets.ndjson.strict_json import parse
from feed_assets.schema.selection import Selection
from feed_assets_tests.support.examples import TIMES

made_up = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""The same examples in every run: a test here never depends on luck."""

made_up_in_plenty = settings(made_up, max_examples=70 * TIMES)
made_up_few = settings(made_up, max_examples=30 * TIMES)


def is_consistent(selection: Selection) -> bool:
    """Return whether a selection has no contradiction."""
    try:
        selection.check()
    except SettingError:
        return False
    return True


def read_bytes(data: bytes, *, known: Iterable[pa.Field] = (), **options: Any) -> Reading:
    """Read a feed of these bytes."""
    with unnamed_temp_file() as file:
        file.write(data)
        file.flush()
        return read(ByteSource(file), options=Options(**options), known=known)


def read_lines(*lines: str, **options: Any) -> Reading:
    """Read a feed of these lines."""
    return read_bytes("\n".join(lines).encode(), **options)


def read_column(*values: str, **options: Any) -> Reading:
    """A feed of one column, c, whose values are given as JSON."""
    return read_lines(*(f'{{"c":{value}}}' for value in values), **options)


def type_of(reading: Reading, name: str = "c") -> str | None:
    """The column's type as Arrow writes it; None if the column does not exist."""
    schema = reading.table.schema
    return str(schema.field(name).type) if name in schema.names else None


def values_of(reading: Reading, name: str = "c") -> list[Any]:
    """Return the stored values, row by row."""
    stored: list[Any] = reading.table.column(name).to_pylist()
    return stored


def observe_lines(*lines: str, first: int = 1) -> Observed:
    """The observation of lines, of which the first has that number."""
    observer = Observer()
    for number, line in enumerate(lines, first):
        observer.row(parse(line.encode())[1], number)
    return observer.observed


PLACES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "c": ('{{"c":{0}}}', lambda row: row["c"]),
    "o.c": ('{{"o":{{"b":1,"c":{0}}}}}', lambda row: row["o"]["c"]),
    "l.c": ('{{"l":[{{"c":{0}}},{{"c":{0}}}]}}', lambda row: row["l"][1]["c"]),
}
"""A column by its path: a line with a value in it, and how to find that in the row."""
NUMBERS = (
    "0",
    "-0",
    "1",
    "-1",
    "7",
    "1.50",
    "-0.0",
    "1e3",
    "1E+2",
    "12.0",
    "0.1",
    "9007199254740992",
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "1e308",
    "1e309",
    "-1e400",
    "5e-324",
    "1e-400",
    "0e999",
    "0.000",
    "123456789012345678901234567890",
    "0.1000000000000000055511151231257827",
    "1.7976931348623157e308",
    "2.5e-7",
)
STRINGS = (
    "",
    "n/a",
    "00123",
    "true",
    "null",
    "2020-01-20",
    "2020-02-30",
    "2020-01-20T10:00",
    "2020-01-20 10:00:59.1234567",
    "2020-01-20T10:00:00Z",
    "2020-01-20T23:59:59.999999-0530",
    "0001-01-01T00:00:00+01:00",
    "20200120",
    "Zürich",
    "日本 🎉",
    '"quoted" \\ / {[,:]}',
    "a\nb\t\x00\x7f",
    "\u2028 \ufeff",
)
null_values = st.sampled_from([(), ("",), ("", "n/a"), ("x", "2020-01-20", "Zürich", "{}")])
_PATHS = ("a", "b", "c", "ü", "a.b", "b.a", "a.c", "c.b", "a.b.c", "b.k 1")


def made_up_selections(count: int) -> list[Selection]:
    """Return selections without a contradiction, the same in every run."""
    chance, found = random.Random(0), list[Selection]()
    while len(found) < count:
        names, hashed, new = (tuple(chance.sample(_PATHS, chance.randrange(4))) for _ in range(3))
        exclude, include = chance.choice([(names, ()), ((), names)])
        rename = {path: f"new_{place}" for place, path in enumerate(new)}
        selection = Selection(exclude, include, hashed, rename, b"the key of the hashes")
        if is_consistent(selection):
            found.append(selection)
    return found


KEYS = ("a", "b", "c", "ü", "k 1", "日")


def _string_text(value: str) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(value), json.dumps(value, ensure_ascii=False)])


strings = st.one_of(
    st.sampled_from(STRINGS).flatmap(_string_text),
    st.text(max_size=8).flatmap(_string_text),  # no surrogates: st.text leaves them out
    st.sampled_from(['"\\u0041\\/\\b"', '"\\ud83c\\udf89"', '"\\uD83C\\uDF89x"']),
)
numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
scalars = st.one_of(st.sampled_from(["null", "true", "false"]), numbers, strings)
_spaces = st.sampled_from(["", "", " ", "\t", "  "])
_keys = st.sampled_from(KEYS).flatmap(_string_text)


def _arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.lists(values, max_size=3), _spaces).map(
        lambda made: f"[{made[1]}{(made[1] + ',' + made[1]).join(made[0])}{made[1]}]"
    )


def objects_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """JSON text of objects. A key may come twice, which makes a bad line."""
    fields = st.tuples(_keys, _spaces, values).map(
        lambda made: f"{made[0]}{made[1]}:{made[1]}{made[2]}"
    )
    return st.tuples(st.lists(fields, max_size=4), _spaces).map(
        lambda made: f"{{{made[1]}{(made[1] + ',').join(made[0])}{made[1]}}}"
    )


values = st.recursive(scalars, lambda inner: _arrays(inner) | objects_of(inner), max_leaves=6)
rows = objects_of(values)
simple_rows = objects_of(st.one_of(scalars, st.sampled_from(["1", "2", '"x"', "null"])))

_bad_lines = st.sampled_from(
    [
        b'{"a":NaN}',
        b'{"a":[Infinity]}',
        b'{"a":-Infinity}',
        b'{"a":1,}',
        b'{"a":[1,]}',
        b"{'a':1}",
        b'{"a":1}{"a":2}',
        b'{"a":1} {"b":2}',
        b'{"a":1} x',
        b'{"a":1},',
        b"[1]",
        b'[{"a":1}',
        b"5",
        b"null",
        b'"text"',
        b"true",
        b"{",
        b"}",
        b'{"a"}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":.5}',
        b'{"a":+1}',
        b'{"a":"\x01"}',
        b'{"a":"\t"}',
        b'{"a":"\xff"}',
        b'{"\xc3":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"\\uDFFF":1}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12"}',
        b'{"a":1}//',
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":{"b":1,"c":2,"b":3}}',
        b"\x00",
        b'{"a":tru}',
        b'{"a":1\x0b}',
        "{\u00a0}".encode(),
    ]
)
_blank_lines = st.sampled_from([b"", b" ", b"\t", b"\r"])
lines = st.one_of(
    rows.map(str.encode),
    rows.map(str.encode),
    rows.map(str.encode),
    simple_rows.map(str.encode),
    _bad_lines,
    _blank_lines,
)
feeds = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(lines, max_size=8),
    st.sampled_from([b"\n", b"\r\n", b" \n"]),
    st.booleans(),
).map(
    # The first line is a row, so that the feed is not refused as a whole.
    lambda made: made[0] + made[2].join([b"{}", *made[1]]) + (made[2] if made[3] else b"")
)
selections = st.sampled_from(made_up_selections(100))
