"""Options of reading a feed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from feed_assets.errors import SettingError
from feed_assets.ndjson.column_rules import LineRewriter, hasher, parse_rules
from feed_assets.ndjson.inference.declared_types import DeclaredTypes, parse_declared_types
from feed_assets.ndjson.strict_json import Row, parse, parse_object, to_null
from feed_assets.schema.selection import NO_SELECTION, Selection
from feed_assets.schema.type_declarations import Declared

_LONGEST_LINE = 1 << 30  # a column's text in one batch must stay below Arrow's 2 GiB


@dataclass(frozen=True)
class Options:
    """Options of reading a feed. `types` are by dotted path: {"customer.id": "STRING"}."""

    types: Mapping[str, Declared] = field(default_factory=dict)
    max_bad_lines: int = 0
    null_values: Collection[str] = ()
    """Strings that are read as null, wherever they are values."""
    max_line_bytes: int = 64 << 20
    flexible_names: bool = True
    kept_bad_lines: int = sys.maxsize
    """Bad lines beyond this number are only counted."""
    unit: str = "line"
    """Name of a line in errors: line, or element of a JSON document."""
    columns: Selection = NO_SELECTION

    @cached_property
    def declared_types(self) -> DeclaredTypes:
        return parse_declared_types(
            self.types, self.columns.rename, flexible_names=self.flexible_names
        )

    @cached_property
    def rewriter(self) -> LineRewriter | None:
        """Rewriter of lines; None if all columns are kept as they are."""
        rules = parse_rules(self.columns)
        if rules is None:
            return None
        return LineRewriter(rules, hasher(self.columns.hash_key), self.null_values)

    def parse(self, line: bytes, excluded: set[str] | None = None) -> tuple[str, Row]:
        """Return text and row of a line, without the columns that are left out.

        Add the paths left out to `excluded`. Raise InvalidLine.
        """
        if self.rewriter is None:
            return parse(line, null_values=self.null_values)
        text = self.rewriter.rewrite(parse(line)[0], excluded)
        row = parse_object(text)
        to_null(row, text, self.null_values)
        return text, row

    def __post_init__(self) -> None:
        """Raise SettingError."""
        _ = self.declared_types
        self.columns.check()
        if self.max_bad_lines < 0:
            raise SettingError(f"max_bad_lines is {self.max_bad_lines}; it must be 0 or more")
        if not 0 < self.max_line_bytes <= _LONGEST_LINE:
            raise SettingError(
                f"max_line_bytes is {self.max_line_bytes}; it must be from 1 to {_LONGEST_LINE}"
            )
