"""Feeds whose keys are data must not cost a column for each key, as long as the feed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.errors import ContentError
from feed_assets.ndjson.columnar.cell_limits import distinct_keys
from feed_assets_tests.unit.ndjson.feeds import read_bytes
from feed_assets_tests.unit.ndjson.peak_memory import rows_with_keys


def test_more_columns_than_a_table_can_have_are_refused_with_the_way_out() -> None:
    with pytest.raises(ContentError, match=r"more than 10000 columns.*declare the object"):
        read_bytes(rows_with_keys(20_000, 10**9, 20))


def test_an_object_with_many_keys_declared_string_is_stored_as_text() -> None:
    found = read_bytes(rows_with_keys(3_000, 10**9, 20), types={"by": "STRING"})
    assert found.rows == 3_000
    assert found.table.column("by")[1].as_py().startswith('{"k')


@pytest.mark.parametrize(("rows", "keys", "each"), [(2_000, 1_000, 3), (60, 3_000, 50)])
def test_a_wide_object_is_stored_with_all_its_values(rows: int, keys: int, each: int) -> None:
    data = rows_with_keys(rows, keys, each)
    found = read_bytes(data)
    for line, stored in zip(data.splitlines(), found.table.to_pylist(), strict=True):
        values = {key: value for key, value in stored["by"].items() if value is not None}
        assert values == json.loads(line)["by"]


TEXT = st.text(':",\\{}[] ka', max_size=4)
OBJECTS = st.recursive(
    st.dictionaries(TEXT, TEXT | st.integers(), max_size=4),
    lambda inner: st.dictionaries(TEXT, inner | st.lists(inner, max_size=2), max_size=3),
    max_leaves=6,
)


@given(st.lists(OBJECTS, max_size=4), st.sampled_from([":", ": ", " :"]))
def test_all_distinct_keys_are_found_whatever_is_beside_them(
    rows: list[dict[str, object]], colon: str
) -> None:
    lines = [json.dumps(row, separators=(",", colon)) for row in rows]
    found = distinct_keys("\n".join(lines).encode())
    assert {key.decode() for key in found} == {
        json.dumps(key)[1:-1] for row in rows for key in _keys(row)
    }


def _keys(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return set(value).union(*map(_keys, value.values())) if isinstance(value, dict) else set()
