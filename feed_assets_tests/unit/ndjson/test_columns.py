"""Columns are left out, hashed and renamed before anything else reads them."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from feed_assets.errors import BadLines, ContentError, NotNdjson
from feed_assets.ndjson import Reading
from feed_assets.ndjson.column_rules import hasher
from feed_assets.schema.arrow_metadata import stored_key
from feed_assets.schema.selection import Selection
from feed_assets_tests.unit.ndjson.feeds import read_bytes, read_lines
from feed_assets_tests.unit.ndjson.test_block_reader import (
    assert_same,
    blocks_of,
    result_of,
    rowwise_only,
)

KEY = b"0123456789abcdef"


def hashed(text: str) -> str:
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()


def select(
    *lines: str,
    exclude: tuple[str, ...] = (),
    include: tuple[str, ...] = (),
    hash: tuple[str, ...] = (),  # noqa: A002  (its name in YAML)
    rename: Mapping[str, str] | None = None,
    **options: Any,
) -> Reading:
    """Read lines with a selection, both ways."""
    selection = Selection(exclude, include, hash, rename or {}, KEY)
    options |= {"columns": selection}
    with rowwise_only():
        rowwise = read_lines(*lines, **options)
    reading = read_lines(*lines, **options)
    assert_same(reading, rowwise)
    return reading


def rows(reading: Reading) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reading.table.to_pylist()
    return found


ORDER = '{"id":1,"customer":{"id":"U7","email":"ada@x.org"},"items":[{"sku":"A","note":"n"}]}'


@pytest.mark.parametrize(
    ("selection", "row"),
    [
        (
            {"exclude": ("customer.email", "items.note")},
            {"id": 1, "customer": {"id": "U7"}, "items": [{"sku": "A"}]},
        ),
        ({"exclude": ("customer", "items")}, {"id": 1}),
        (
            {"include": ("id", "customer.id", "items.sku")},
            {"id": 1, "customer": {"id": "U7"}, "items": [{"sku": "A"}]},
        ),
        ({"include": ("items",)}, {"items": [{"sku": "A", "note": "n"}]}),
        (
            {"include": ("id", "customer"), "hash": ("id", "customer.email")},
            {"id": hashed("1"), "customer": {"id": "U7", "email": hashed("ada@x.org")}},
        ),
        (
            {
                "include": ("id", "customer.email", "items.sku"),
                "rename": {"id": "order_id", "customer": "buyer", "customer.email": "mail"},
            },
            {"order_id": 1, "buyer": {"mail": "ada@x.org"}, "items": [{"sku": "A"}]},
        ),
        (
            {"exclude": ("customer", "id"), "rename": {"items.note": "sku", "items.sku": "note"}},
            {"items": [{"note": "A", "sku": "n"}]},
        ),
    ],
    ids=str,
)
def test_columns_are_selected_by_path(selection: dict[str, Any], row: dict[str, Any]) -> None:
    assert rows(select(ORDER, **selection)) == [row]


@pytest.mark.parametrize("length", [16, 63, 64, 65, 200])
def test_a_hash_is_hmac_sha256_for_keys_of_any_length(length: int) -> None:
    key = bytes(range(1, length + 1))
    for text in ("", "ada@example.org", "Zürich 🎉", "x" * 1000):
        assert hasher(key)(text) == hmac.new(key, text.encode(), "sha256").hexdigest()


def test_a_path_with_a_dot_also_selects_a_key_with_a_dot() -> None:
    line = '{"a.b":1,"a":{"b":2,"c":3},"d.e":4,"d":{"e":5}}'
    found = rows(select(line, exclude=("a.b",), hash=("d.e",)))
    assert found == [{"a": {"c": 3}, "d_e": hashed("4"), "d": {"e": hashed("5")}}]


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (['"x"', "null", '""'], [hashed("x"), None, hashed("")]),
        (
            ["5", '"5"', "5.50", "-0", "1e3"],
            [hashed(each) for each in ["5", "5", "5.50", "-0", "1e3"]],
        ),
        (["0", "-0", "1"], [hashed("0"), hashed("-0"), hashed("1")]),
        (["true", "false"], [hashed("true"), hashed("false")]),
        (['"2020-01-20"', '"Z\\u00fcrich"'], [hashed("2020-01-20"), hashed("Zürich")]),
        (['["x",null,7]', "[]"], [[hashed("x"), hashed("7")], []]),
        (['"N/A"', '"N\\/A"', '"x"', "{}", "[]"], [None, None, hashed("x"), None, None]),
    ],
    ids=str,
)
def test_a_hash_is_of_the_text_in_the_feed_and_null_stays_null(
    values: list[str], stored: list[Any]
) -> None:
    lines = [f'{{"id":1,"c":{value}}}' for value in values]
    reading = select(*lines, hash=("c",), null_values=["N/A"])
    assert [row["c"] for row in rows(reading)] == stored


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ('{"tel":"555-0199"}', "an object in column c.phone"),
        ('[{"tel":"555-0199"}]', "an object in an array in column c.phone"),
        ('[["555-0199"]]', "an array in an array in column c.phone"),
    ],
)
def test_an_object_in_the_place_of_a_value_to_hash_is_a_bad_line(value: str, what: str) -> None:
    lines = ['{"c":{"phone":"5"}}', f'{{"c":{{"phone":{value}}}}}']
    selection = Selection(hash=("c.phone",), hash_key=KEY)
    with pytest.raises(BadLines) as refused:
        read_lines(*lines, columns=selection)
    assert str(refused.value) == (
        f"line 2 has {what}, which is hashed; hash a field in it by its path"
    )
    assert read_lines(*lines, columns=selection, max_bad_lines=1).rows == 1


TEXTS = [
    ('{"c":{"b" : 1.50 ,"email":"ada@x.org", "a":"x"}}', '{"b" : 1.50,"a":"x"}'),
    ('{"c":[[{"email":"ada@x.org"}, 5]]}', "[[{},5]]"),
    ('{"c":[ ]}', "[ ]"),
]


@pytest.mark.parametrize(("line", "text"), TEXTS[:2])
def test_excluded_columns_are_not_in_json_text(line: str, text: str) -> None:
    declared = select(line, exclude=("c.email",), types={"c": "STRING"})
    mixed = select(line, '{"c":"x"}', exclude=("c.email",))
    known = select(line, exclude=("c.email",), known=[pa.field("c", pa.string())])
    for reading in (declared, mixed, known):
        assert rows(reading)[0]["c"] == text


def test_hashed_columns_are_hashed_in_json_text() -> None:
    line = '{"c":{"email":"ada@x.org","n":[1, 2]}}'
    (row,) = rows(select(line, hash=("c.email",), types={"c": "JSON"}))
    assert row["c"] == f'{{"email":"{hashed("ada@x.org")}","n":[1, 2]}}'


def test_a_record_whose_numbers_become_text_keeps_its_hashes() -> None:
    lines = ['{"c":{"n":1,"email":"ada@x.org"}}'] * 3 + ['{"c":{"n":"x","email":"bob@x.org"}}']
    with blocks_of(40, 1 << 20):
        found = rows(read_lines(*lines, columns=Selection(hash=("c.email",), hash_key=KEY)))
    assert [row["c"]["email"] for row in found] == [hashed("ada@x.org")] * 3 + [hashed("bob@x.org")]
    assert [row["c"]["n"] for row in found] == ["1", "1", "1", "x"]


PRIVATE = "ada@example.org"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'{{"email":"{PRIVATE}" 1}}', "line 2 is not JSON (expecting ',' delimiter "),
        (f'{{"x":{{"{PRIVATE}":1,"{PRIVATE}":2}}}}', "line 2 has a key twice in one object"),
        (f'{{"at":"{PRIVATE}"}}', "line 2 has a value in column at that is not DATE"),
        (f'["{PRIVATE}"]', "line 2 is not a JSON object (got an array)"),
    ],
)
@pytest.mark.parametrize(
    "selection",
    [
        Selection(exclude=("email",)),
        Selection(include=("at",)),
        Selection(hash=("email",), hash_key=KEY),
    ],
    ids=lambda selection: str(selection.paths),
)
def test_a_bad_line_of_a_feed_with_private_columns_is_not_quoted(
    line: str, reason: str, selection: Selection
) -> None:
    lines = ["{}", line]
    with pytest.raises(BadLines) as refused:
        read_lines(*lines, columns=selection, types={"at": "DATE"})
    assert str(refused.value).startswith(reason)
    assert PRIVATE not in str(refused.value)
    (bad,) = read_lines(*lines, columns=selection, types={"at": "DATE"}, max_bad_lines=1).bad_lines
    assert (bad.text, PRIVATE in repr(bad)) == ("", False)


def test_a_page_of_html_in_place_of_a_private_feed_is_not_quoted() -> None:
    with pytest.raises(NotNdjson) as refused:
        read_bytes(b"<p>ada@example.org", columns=Selection(exclude=("email",)))
    assert "is an HTML or XML page, not NDJSON" in str(refused.value)


@pytest.mark.parametrize(
    ("selection", "unnamed"),
    [
        ({"exclude": ("customer.emial", "id")}, ("customer.emial",)),
        ({"include": ("id", "custmer.id")}, ("custmer.id",)),
        ({"hash": ("items.sku", "items.tel"), "rename": {"items.note": "n"}}, ("items.tel",)),
        ({"rename": {"Id": "n", "customer": "c"}}, ("Id",)),
        ({"exclude": ("items.note", "x")}, ("x",)),
    ],
    ids=str,
)
def test_a_path_that_no_row_has_is_reported(
    selection: dict[str, Any], unnamed: tuple[str, ...]
) -> None:
    assert select(ORDER, "{}", **selection).unnamed == unnamed


def test_a_column_with_a_new_name_is_known_by_it() -> None:
    reading = select('{"custNo":1,"c":{"tel":2}}', rename={"custNo": "id", "c.tel": "phone"})
    assert reading.renamed == {"custNo": "id", "c.tel": "c.phone"}
    assert {field.name: stored_key(field) for field in reading.schema} == {"id": None, "c": None}
    assert reading.first_conflicting_line("c.phone", pa.string()) is None
    assert reading.first_conflicting_line("c.phone", pa.bool_()) == 1


@pytest.mark.parametrize(
    ("line", "flexible", "other"),
    [
        ('{"a":1,"id":2}', True, "id in the feed"),
        ('{"a":1,"ID":2}', True, "ID in the feed"),
        ('{"a":1,"i d":2}', False, None),
        ('{"a":1,"x":{}}', True, None),
    ],
)
def test_a_new_name_that_another_column_has_is_refused(
    line: str, flexible: bool, other: str | None
) -> None:
    options: dict[str, Any] = {
        "columns": Selection(rename={"a": "id"}),
        "flexible_names": flexible,
    }
    if other is None:
        assert "id" in read_lines(line, **options).table.schema.names
        return
    with pytest.raises(ContentError) as refused:
        read_lines(line, **options)
    assert str(refused.value) == (
        f"columns renames a to id, which is the name of {other}; choose a different name"
    )


def test_a_new_name_is_free_where_the_other_column_is_left_out() -> None:
    assert rows(select('{"a":1,"id":2}', exclude=("id",), rename={"a": "id"})) == [{"id": 1}]


def test_an_object_whose_keys_are_data_is_accepted_where_it_is_excluded() -> None:
    lines = [
        json.dumps({"id": n, "by": {f"k{n * 200 + k}": 1 for k in range(200)}}) for n in range(99)
    ]
    assert read_lines(*lines, columns=Selection(exclude=("by",))).table.schema.names == ["id"]


CLEAN = [
    json.dumps(
        {
            "id": n,
            "customer": {"id": f"U{n % 99}", "email": f"u{n}@x.org", "since": "2020-01-20"},
            "phone": 5550000 + n,
            "tags": ["x", f"t{n % 7}"],
            "items": [{"sku": f"S{k}", "note": f"n {n}"} for k in range(n % 3)],
        }
    )
    for n in range(2000)
]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(exclude=("customer.email", "items.note", "tags")),
        Selection(include=("id", "customer.id", "items.sku")),
        Selection(
            hash=("customer.email", "phone", "tags", "items.sku"),
            rename={"phone": "phone_hash", "customer.id": "no"},
            hash_key=KEY,
        ),
    ],
    ids=lambda selection: ",".join(selection.paths),
)
def test_a_clean_feed_is_read_columnar_whatever_is_selected(selection: Selection) -> None:
    data = "\n".join(CLEAN).encode()
    with rowwise_only():
        want = result_of(data, columns=selection)
    with blocks_of(32 << 10, 1 << 10) as found:
        assert_same(result_of(data, columns=selection), want)
    assert all(at_once for _, at_once in found)
