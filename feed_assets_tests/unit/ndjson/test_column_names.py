"""Names of columns, derived from keys."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.ndjson.inference.column_names import column_names, fold_name
from feed_assets.schema.arrow_metadata import shorten_key
from feed_assets_tests.support.examples import examples
from feed_assets_tests.unit.ndjson.feeds import made_up, read_lines

NAMES = [
    # unchanged: letters, digits (also in front), marks, connectors, dashes, a few symbols
    ("orderId", "orderId"),
    ("2020", "2020"),
    ("Größe 日本 नाम", "Größe 日本 नाम"),
    ("a-b\u2013c_d\u203fe", "a-b\u2013c_d\u203fe"),
    ("&%=+:'<>#| ", "&%=+:'<>#| "),
    # a character that is refused becomes _
    ("a.b", "a_b"),
    ("a`b\"c\\d/e", "a_b_c_d_e"),
    ('!"$()*,./;?@[\\]^`{}~', "_" * 20),
    ("a\tb\nc\0d", "a_b_c_d"),
    ("a\u00a0b🎉", "a_b_"),
    ("", "_"),
    # reserved prefixes
    ("_TABLE_SUFFIX", "__TABLE_SUFFIX"),
    ("_table_suffix", "__table_suffix"),
    ("_FILE_NAME", "__FILE_NAME"),
    ("_PARTITIONTIME", "__PARTITIONTIME"),
    ("_Row_Timestamp", "__Row_Timestamp"),
    ("__ROOT__x", "___ROOT__x"),
    ("_COLIDENTIFIER", "__COLIDENTIFIER"),
    ("_CHANGE_SEQUENCE_NUMBER", "__CHANGE_SEQUENCE_NUMBER"),
    ("_CHANGE_TYPE", "__CHANGE_TYPE"),
    ("_CHANGE_TIMESTAMP", "__CHANGE_TIMESTAMP"),
    (".TABLE_x", "__TABLE_x"),
    ("_CHANGED", "_CHANGED"),
    # length
    ("x" * 301, "x" * 300),
    ("_TABLE_" + "x" * 293, "__TABLE_" + "x" * 292),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name"), NAMES)
def test_a_key_becomes_a_name_that_bigquery_accepts(key: str, name: str) -> None:
    assert column_names([key]) == {key: name}


LONG = "x" * 300


@pytest.mark.parametrize(
    ("known", "names"),
    [
        ({"id": "id"}, {"id": "id", "ID": "ID_2"}),
        ({"id": "id"}, {"ID": "ID_2"}),
        ({"ID": "ID", "id": "id_2"}, {"id": "id_2", "Id": "Id_3"}),
        ({"a b": "a_b"}, {"a b": "a_b", "a-b": "a_b_2", "a_b": "a_b_3"}),
        ({"a b": "a_b", "a_b_2": "a_b_2"}, {"a-b": "a_b_3"}),
        ({"A": "A_2", "a": "a"}, {"A_2": "A_2_2", "A": "A_2"}),
        ({"A": "A_2", "a": "a"}, {"a_2_2": "a_2_2", "a_2": "a_2_3"}),
        (
            {"Größe": "Größe"},
            {"Größe": "Größe", "Gr__e": "Gr__e"},
        ),  # names of an existing table
        ({LONG: LONG}, {LONG + "!": "x" * 298 + "_2", LONG + "?": "x" * 298 + "_3"}),
        (
            {LONG: LONG, LONG + "!": "x" * 298 + "_2"},
            {LONG.upper(): "X" * 298 + "_3", "x" * 298 + "_2": "x" * 298 + "_4"},
        ),
        ({LONG[:299] + "y": LONG[:299] + "y"}, {LONG: LONG}),
        ({shorten_key(LONG * 9): LONG}, {LONG * 9: LONG, LONG * 8: "x" * 298 + "_2"}),
    ],
)
def test_a_key_seen_before_keeps_its_name_and_no_other_gets_it(
    known: dict[str, str], names: dict[str, str]
) -> None:
    assert column_names(names, flexible=False, known=known) == names
    assert column_names(reversed(names), flexible=False, known=known) == names


PLAIN = [
    ("orderId", "orderId"),
    ("order id", "order_id"),
    ("Größe", "Gr__e"),
    ("a-b", "a_b"),
    ("1st", "_1st"),
    ("", "_"),
    ("_table_x", "__table_x"),
]


@pytest.mark.parametrize(("key", "name"), PLAIN)
def test_a_plain_name_is_one_that_wildcard_queries_take(key: str, name: str) -> None:
    assert column_names([key], flexible=False) == {key: name}


@pytest.mark.parametrize(
    "names",
    [
        {"ID": "ID", "Id": "Id_2", "id": "id_3"},
        {"A": "A", "a": "a_3", "a_2": "a_2"},
        {"a!": "a_", "a_": "a__2"},
        {"a.b": "a_b", "a/b": "a_b_2", "a_b": "a_b_3", "b": "b"},
        {"STRASSE": "STRASSE", "straße": "straße_2"},
        {"e\u0301": "e\u0301", "\u00e9": "\u00e9_2"},
        {"A_2": "A_2", "a_2": "a_2_2", "A": "A", "a": "a_3"},
        {
            "X" * 299 + "A": "X" * 299 + "A",
            "X" * 299 + "B": "X" * 299 + "B",
            "x" * 299 + "a": "x" * 298 + "_2",
            "x" * 299 + "b": "x" * 298 + "_3",
        },
        {"X" * 301: "X" * 300, "x" * 301: "x" * 298 + "_2"},
    ],
)
def test_names_that_collide_are_numbered_by_spelling(names: dict[str, str]) -> None:
    assert column_names(names) == names
    assert column_names(reversed(names)) == names


@made_up
@given(st.lists(st.text(alphabet="aAbB_2.!", max_size=4), unique=True, max_size=8))
def test_names_are_different_and_do_not_depend_on_order(keys: list[str]) -> None:
    names = column_names(keys)
    assert len({fold_name(name) for name in names.values()}) == len(keys)
    assert column_names(sorted(keys)) == names
    for key, name in names.items():
        assert name == key or fold_name(name) != fold_name(key) or key not in names.values()


COLLIDING = ["a", "A", "a b", "a-b", "a_b", "A_b", "a_2", "A_2", "a b_2", "a_2_2"]
SOME = st.integers(0, 2 ** len(COLLIDING) - 1).map(
    lambda bits: {key for place, key in enumerate(COLLIDING) if bits >> place & 1}
)


@examples(400)
@given(st.lists(st.tuples(SOME, SOME), max_size=5), st.booleans())
def test_in_any_history_a_name_belongs_to_one_key(
    days: list[tuple[set[str], set[str]]], flexible: bool
) -> None:
    """For each day: its keys, and those without a value, which do not become known."""
    known: dict[str, str] = {}
    for keys, untyped in days:
        names = column_names(sorted(keys), flexible=flexible, known=known)
        assert names == column_names(sorted(keys, reverse=True), flexible=flexible, known=known)
        assert all(names[key] == known[key] for key in keys & known.keys())
        known |= {key: names[key] for key in keys - untyped}
        assert len({fold_name(name) for name in (known | names).values()}) == len(known | names)


def test_every_renaming_is_reported_by_path() -> None:
    reading = read_lines(
        '{"a.b":1,"o!":{"x?":[{"_table_x":1,"ok":null}]},"Id":1,"id":{"y":2},"n.n":null}'
    )
    assert reading.renamed == {
        "a.b": "a_b",
        "o!": "o_",
        "o!.x?": "o_.x_",
        "o!.x?._table_x": "o_.x_.__table_x",
        "id": "id_2",
        "id.y": "id_2.y",
    }
    assert reading.untyped == ("o!.x?.ok", "n.n")
    assert reading.table.to_pylist() == [
        {"a_b": 1, "o_": {"x_": [{"__table_x": 1}]}, "Id": 1, "id_2": {"y": 2}}
    ]


def test_a_column_without_values_keeps_its_name_reserved() -> None:
    assert read_lines('{"Id":null,"id":1}').table.schema.names == ["id_2"]


def test_thousands_of_names_that_collide_are_numbered_quickly() -> None:
    keys = ["".join(key) for key in product("!?", repeat=12)]
    assert column_names(keys)["?" * 12] == "_" * 12 + "_4096"
