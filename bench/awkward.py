"""Twenty columns as real feeds have them, with what makes each awkward far from the first row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

ROWS = 3_000
"""More rows than the tools read as a sample."""
ABSENT = "absent"


@dataclass(frozen=True)
class Awkward:
    """A column: its JSON in a usual row, and in rows that differ, by number from the end."""

    name: str
    what: str
    usual: str
    rare: Mapping[int, str]


COLUMNS = (
    Awkward("leading_zeros", "an order number with leading zeros", '"0012345"', {1: '"0099999"'}),
    Awkward("long_integer", "an integer beyond 2^53", "9007199254740993", {1: "7"}),
    Awkward("huge_integer", "an integer beyond 64 bits, late", "7", {1: "98765432109876543210"}),
    Awkward("late_fraction", "integers, then a fraction", "120", {1: "120.13"}),
    Awkward("late_text", "numbers, then a text", "120.13", {1: '"n/a"'}),
    Awkward("late_boolean", "numbers, then a boolean", "1", {1: "true"}),
    Awkward("day", "a date", '"2020-01-10"', {1: '"2024-02-29"'}),
    Awkward("impossible_day", "dates, then one that does not exist", '"2020-01-10"',
            {1: '"2020-02-30"'}),
    Awkward("empty_day", "dates, then an empty string", '"2020-01-10"', {1: '""'}),
    Awkward("moment", "a date-time without offset", '"2020-01-10T08:30:00"',
            {1: '"2020-01-10T08:30:00.123456"'}),
    Awkward("offsets", "date-times with different offsets", '"2020-01-10T08:30:00+02:00"',
            {1: '"2020-01-10T08:30:00Z"'}),
    Awkward("mixed_moments", "date-times with and without offset", '"2020-01-10T08:30:00"',
            {1: '"2020-01-10T08:30:00Z"'}),
    Awkward("number_words", "text that looks like numbers", '"1e5"', {1: '"NaN"', 2: '"Infinity"'}),
    Awkward("late_value", "null until the last row", "null", {1: '"delivered"'}),
    Awkward("late_key", "a key of the last row alone", ABSENT, {1: '"delivered"'}),
    Awkward("late_field", "an object that gets a field", '{"id":"C1"}',
            {1: '{"id":"C2","vip":true}'}),
    Awkward("late_object", "text, then an object", '"C1"', {1: '{"id":"C2"}'}),
    Awkward("items", "an array of objects", '[{"sku":"00A","price":1}]',
            {1: '[{"sku":"00B","price":1.5},{"sku":"00C"}]'}),
    Awkward("nested_arrays", "an array of arrays", "[[1,2],[3]]", {1: "[[]]"}),
    Awkward("control", "text with a line break, an emoji and a quote", r'"a\nb"',
            {1: r'"\ud83d\ude00 \"quoted\""'}),
)  # fmt: skip


def write(column: Awkward, folder: Path) -> Path:
    """Write the column's feed: rows with their `number`, and the column as `value`."""
    path = folder / f"{column.name}.ndjson"
    lines = []
    for row in range(ROWS):
        value = value_of(column, row)
        rest = "" if value == ABSENT else f',"value":{value}'
        lines.append(f'{{"number":{row}{rest}}}\n')
    path.write_text("".join(lines), encoding="utf-8")
    return path


def value_of(column: Awkward, row: int) -> str:
    """Return the JSON of the column in a row."""
    return column.rare.get(ROWS - row, column.usual)


def checked_rows(column: Awkward) -> list[int]:
    """Return the numbers of the compared rows: the first, and those that differ."""
    return [0, *(ROWS - back for back in sorted(column.rare, reverse=True))]


def parsed(text: str) -> Any:
    """A row's JSON, its numbers with all their digits."""
    return None if text == ABSENT else json.loads(text, parse_int=Decimal, parse_float=Decimal)
