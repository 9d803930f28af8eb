"""The rule of the latest state in plain Python, over rows of few columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

Row = dict[str, Any]
Tie = Callable[[int, Row], Any]
"""Order of rows of one key, time and day, by position in the shard and by values."""


def by_position(position: int, row: Row) -> Any:
    """Order as in DuckDB: the later line is newer."""
    return position


def by_values(columns: Sequence[str]) -> Tie:
    """Order as in BigQuery: greater values are newer, column by column, and NULL is lowest."""
    return lambda position, row: [comparable(row.get(name)) for name in columns]


def comparable(value: Any) -> tuple[bool, Any]:
    """Return a value that sorts before all others if it is None."""
    return (value is not None, value)


@dataclass
class Oracle:
    """Expected latest state of the shards, computed in Python."""

    key: Sequence[str]
    order: str
    tie: Tie
    shards: dict[date, list[Row]] = field(default_factory=dict)
    left: dict[date, list[Row]] = field(default_factory=dict)
    """Rows that stay of dropped shards: those that were in the latest state."""

    def load(self, day: date, rows: Sequence[Row]) -> None:
        self.shards[day] = list(rows)
        self.left.pop(day, None)

    def drop(self, day: date) -> None:
        self.shards.pop(day, None)
        self.left[day] = [{**r} for r in self.applied if r["_day"] == day]

    applied: list[Row] = field(default_factory=list)
    """The latest state as of the last update."""

    def update(self) -> list[Row]:
        """Return the latest state of the shards, each row with `_day`."""
        days: Mapping[date, list[Row]] = {**self.left, **self.shards}
        newest: dict[Any, tuple[Any, Row]] = {}
        without_key: list[Row] = []
        for day, rows in days.items():
            for position, row in enumerate(rows):
                whole = {**row, "_day": day}
                key = tuple(row.get(name) for name in self.key)
                if None in key:
                    without_key.append(whole)
                    continue
                place = (comparable(row.get(self.order)), day, self.tie(position, row))
                if key not in newest or newest[key][0] < place:
                    newest[key] = (place, whole)
        self.applied = [row for _, row in newest.values()] + without_key
        for day in self.left:
            self.left[day] = [row for row in self.applied if row["_day"] == day]
        return self.applied
