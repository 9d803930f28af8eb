"""A JSON document becomes one line per element, whatever it holds and wherever it is cut."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feed_assets.errors import NotJson
from feed_assets.json_document.lines import JsonLines

TRICKY = st.text(st.sampled_from('ab"\\[]{},:yY_ \n\tä€😀'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=12,
)
WRITTEN = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 1, 4])}
)


def read(document: bytes, records: str | None = None, *, piece: int = 1 << 20) -> JsonLines:
    """Read a document in pieces; its lines are in `text`."""
    reader = JsonLines(records, ["paging.next"])
    pieces = (document[at : at + piece] for at in range(0, len(document), piece))
    reader.text = b"".join(line for each in pieces for line in reader.read(each))  # type: ignore[attr-defined]
    return reader


def lines(reader: Any) -> list[Any]:
    return [json.loads(line) for line in reader.text.split(b"\n") if line.strip()]


@given(st.lists(VALUES, max_size=6), WRITTEN, st.integers(1, 40), st.sampled_from(["", "\ufeff "]))
@example([{"a": "\\"}, {"b": '\\"'}], {"ensure_ascii": False, "indent": None}, 1, "")
def test_each_element_is_a_line(
    rows: list[Any], written: dict[str, Any], piece: int, before: str
) -> None:
    document = f"{before}{json.dumps(rows, **written)}\n".encode()

    reader = read(document, piece=piece)

    assert lines(reader) == rows
    assert (reader.ended, reader.elements) == (True, len(rows))
    whole = read(document)
    assert whole.text == reader.text  # type: ignore[attr-defined]


@given(
    st.lists(VALUES, max_size=4),
    st.dictionaries(TRICKY, VALUES, max_size=3),
    st.none() | st.integers() | TRICKY,
    WRITTEN,
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_the_array_at_a_path_is_read_and_scalars_at_others(
    rows: list[Any],
    more: dict[str, Any],
    following: Any,
    written: dict[str, Any],
    piece: int,
    random: Any,
) -> None:
    members = {**more, "data": {**more, "items": rows}, "paging": {"next": following, **more}}
    pairs = list(members.items())
    random.shuffle(pairs)

    reader = read(json.dumps(dict(pairs), **written).encode(), "data.items", piece=piece)

    assert lines(reader) == rows
    assert (reader.ended, reader.elements) == (True, len(rows))
    assert reader.values == {"paging.next": following}


@given(st.lists(VALUES, min_size=1, max_size=4), WRITTEN, st.data())
def test_a_truncated_document_has_not_ended(
    rows: list[Any], written: dict[str, Any], data: Any
) -> None:
    document = json.dumps({"data": rows}, **written).encode()
    cut = read(document[: data.draw(st.integers(1, len(document) - 1))], "data")
    assert not cut.ended
    with pytest.raises(NotJson, match="ends inside its JSON document, after element"):
        cut.check_end()


@pytest.mark.parametrize(
    ("document", "records", "complaint"),
    [
        ("[1,,2]", None, "array has no element 2"),
        ("[,1]", None, "array has no element 1"),
        ("[1, 2, ]", None, "a comma after its last element, 2"),
        ("[1}", None, "} closes what another bracket opened"),
        ("[1] [2]", None, "a value in the place of nothing"),
        ("[1] x", None, "text after its end"),
        ("<!DOCTYPE html>", None, "is an HTML or XML page, not a JSON document"),
        ("Not found. ", None, "not a JSON document, which begins with"),
        ("null", None, "not a JSON document, which begins with"),
        ('{"data": []}', None, "records: data.items, or leave out format"),
        ("[]", "data", "is a JSON array, in which there is no path data; leave out records"),
        ('{"error": 1, "a\\u0007b": 2}', "data", r"no data, which records .* are error, a\?b$"),
        ("{}", "data", "its keys are none"),
        ('{"data": {"items": {}}}', "data.items", "is an object and not an array"),
        ('{"data": "x"}', "data", "is a text and not an array"),
        ('{"data": 1}', "data", "is a number or a word and not an array"),
        ('{"data": [], "data": []}', "data", "data twice"),
        ('{"data" []}', "data", "a value in the place of a colon"),
        ('{"data": [],}', "data", "} in the place of a key"),
        ('{"data": []]', "data", "] in the place of a comma or the end"),
        ('{"n": 01, "data": []}', "data", "a key or a value that is not JSON"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_an_invalid_document_is_refused(
    document: str, records: str | None, complaint: str, piece: int
) -> None:
    with pytest.raises(NotJson, match=complaint):
        read(document.encode(), records, piece=piece).check_end()


def test_null_in_the_place_of_the_array_gives_no_rows() -> None:
    reader = read(b'{"data": null}', "data")
    assert (reader.ended, reader.elements, lines(reader)) == (True, 0, [])


def test_text_and_numbers_are_unchanged_and_a_line_feed_in_a_string_is_an_error() -> None:
    document = b'[{"a":1.10,\n "b":"\\u00e4 \\\\\\""},\r\n {"c":"x\ny"}]'
    text = read(document).text  # type: ignore[attr-defined]
    assert text == b'{"a":1.10,  "b":"\\u00e4 \\\\\\""}\n\r  {"c":"x\ry"}\n'


def test_a_key_or_value_outside_the_array_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feed_assets.json_document.lines._LONGEST", 100)
    with pytest.raises(NotJson, match=re.escape("more than 100 bytes outside of its records")):
        read(b'{"note": "' + b"x" * 200, "data")
    assert read(b'{"other": [' + b"1," * 200 + b'1], "data": []}', "data", piece=50).ended
