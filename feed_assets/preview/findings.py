"""Findings about a feed, whose advice is tried before it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from feed_assets.errors import SettingError
from feed_assets.ndjson import Column, Options, read
from feed_assets.preview.open_input import PreviewInput
from feed_assets.schema.columns import columns_of
from feed_assets.schema.type_declarations import Declared

_MAX_REFUSED = 10_000  # lines


@dataclass(frozen=True)
class Finding:
    """Why a column is STRING, and what would change it: null values, or a declared type."""

    text: str
    null_values: tuple[str, ...] = ()
    suggested_type: tuple[str, Declared] | None = None
    trial: Trial | None = None


@dataclass(frozen=True)
class Trial:
    """Effect that is claimed for a column; `otherwise` replaces the finding if it does not occur.

    Null values make the column a `type`; without null values the declared `type` refuses a number
    of lines.
    """

    path: str
    type: str
    otherwise: Finding | None
    refused: int = 0


def tried(found: Sequence[Finding], rows: PreviewInput, options: Options) -> Iterator[Finding]:
    """Read the feed again as advised, and replace advice that does not have its effect."""
    every = [each for first in found for each in _with_others(first)]
    trials = [each.trial for each in every if each.trial]
    values = {value for each in every for value in each.null_values}
    types = {each.path: each.type for each in trials if each.refused}
    options = replace(options, kept_bad_lines=_MAX_REFUSED)
    inferred, refused = dict[str, str](), Counter[str]()
    if values:
        advised = replace(options, null_values=[*options.null_values, *values])
        inferred = dict(_types(read(rows.source, options=advised).columns, ""))
    with suppress(SettingError):  # paths that cannot be declared, or not together
        advised = replace(options, types={**options.types, **types})
        lines = read(rows.source, options=advised).bad_lines if types else ()
        for path in types:
            refused[path] = sum(f" in column {path} that is not " in bad.reason for bad in lines)

    def works(trial: Trial) -> bool:
        if trial.refused:
            return refused[trial.path] == trial.refused
        return inferred.get(trial.path) == trial.type

    for first in found:
        yield from [each for each in _with_others(first) if not each.trial or works(each.trial)][:1]


def _with_others(found: Finding) -> Iterator[Finding]:
    """Yield a finding and those that may replace it."""
    yield found
    if found.trial and found.trial.otherwise:
        yield from _with_others(found.trial.otherwise)


def _types(columns: Sequence[Column], parent: str) -> Iterator[tuple[str, str]]:
    """Yield the type of each scalar column, by its path in the feed."""
    for column in columns:
        path = f"{parent}{column.key}"
        yield from _types(column.fields, f"{path}.")
        if column.type is not None and not pa.types.is_nested(column.type):
            yield path, columns_of(pa.schema([pa.field("it", column.type)]))[0].type
