"""Explain why columns are STRING: the values that prevent another type, and what helps."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.importing.advice import TIMES, advise
from feed_assets.ndjson import Column, Observed, Options, ValueKind, infer_type
from feed_assets.ndjson.buffers import Numbers, flags, positions
from feed_assets.preview.findings import Finding, Trial, tried
from feed_assets.preview.open_input import PreviewInput
from feed_assets.preview.printable import count_of, escape
from feed_assets.preview.row_values import arrays_at, line_numbers
from feed_assets.preview.text_values import MAX_NULLS, PATTERNS, TextValues
from feed_assets.schema.columns import columns_of
from feed_assets.schema.datatypes import DATATYPES
from feed_assets.schema.decimals import are_plain
from feed_assets.schema.type_declarations import Declared, declared_name

_MAX_EXAMPLES, _QUOTED = 3, 20  # values, and characters of each
_NUMBERS = {ValueKind.INTEGER, ValueKind.LONG, ValueKind.FRACTION, ValueKind.BEYOND}
_NAMES = {
    **dict.fromkeys(_NUMBERS, "numbers"),
    ValueKind.BOOLEAN: "booleans",
    ValueKind.DATETIME: "dates",
    ValueKind.TIMESTAMP: "dates with an offset",
    ValueKind.TEXT: "strings",
    ValueKind.OBJECT: "objects",
    ValueKind.ARRAY: "arrays",
}
_STRINGS = "strings"  # all others
_DECIMALS = [each for each in DATATYPES if pa.types.is_decimal(each.arrow)]
_TIME_NAME = re.compile(
    "[dD]ate|[tT]ime|epoch|updat|creat|modif|chang|(?:_a|A|_t|T)[st]$|^[at][ts]$"
)
_DECIMAL = r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$"


@dataclass(frozen=True)
class _Text:
    """A STRING column: its path in the feed, in the table (None inside arrays), its values."""

    source: str
    stored: tuple[str, ...] | None
    observed: Observed

    @property
    def first_lines(self) -> Mapping[str, int]:
        """Return the first line of each kind of value, ordered by line."""
        found: dict[str, int] = {}
        for kind, line in sorted(self.observed.kinds.items(), key=lambda each: each[1]):
            found.setdefault(_NAMES[kind], line)
        return found

    @property
    def is_string(self) -> str:
        return f"{escape(self.source)} is STRING"


def findings(rows: PreviewInput, options: Options) -> list[Finding]:
    """Return the findings about columns without a declared type, each advice tried on the feed."""
    found = [_finding(text, rows) for text in _texts(rows.reading.columns, "", ())]
    return list(tried([each for each in found if each], rows, options))


def _texts(
    columns: Sequence[Column], parent: str, stored: tuple[str, ...] | None
) -> Iterator[_Text]:
    for column in columns:
        source, observed, of = f"{parent}{column.key}", column.observed, column.type
        path = None if stored is None else (*stored, column.name)
        if of is not None and pa.types.is_list(of):
            of, observed, path = of.value_type, observed.elements or observed, None
        yield from _texts(column.fields, f"{source}.", path)
        if of == pa.string() and column.declared is None:
            yield _Text(source, path, observed)


def _finding(text: _Text, rows: PreviewInput) -> Finding | None:
    kinds = text.observed.kinds.keys()
    if text.stored is not None and (found := _missing_or_formatted(text, text.stored, rows)):
        return found
    if kinds == {ValueKind.TEXT}:
        return _decimals_in_quotes(text, rows)
    if kinds <= _NUMBERS:
        return Finding(
            f"{text.is_string}: no number type holds all its numbers exactly, so they are stored "
            f"as text"
        )
    if text.stored is not None and kinds != {ValueKind.DATETIME, ValueKind.TIMESTAMP}:
        return _mixed(text, text.stored, rows)
    return Finding(f"{text.is_string}: {_first_lines(text, rows.reading.unit)}")


def _missing_or_formatted(text: _Text, path: tuple[str, ...], rows: PreviewInput) -> Finding | None:
    """Explain text that is typed once missing values are null, or a format is declared."""
    if ValueKind.TEXT not in text.observed.kinds:
        return None
    values = TextValues(list(arrays_at(rows.reading.table, path)))
    if not values.sample or len(values.nulls) > MAX_NULLS:
        return None
    options = [f"--null-value {json.dumps(each, ensure_ascii=False)}" for each in values.nulls]
    if formats := _formats(text, values):
        first, *others = formats
        makes = " ".join([*options, _type_option(text.source, first)])
        other = "".join(
            f"; {_type_option(text.source, each)} accepts all values as well, so ask which one is "
            f"right"
            for each in others
        )
        return Finding(
            f"{text.is_string}: its values are times such as {_quoted(values.sample[0])}; {makes} "
            f"makes it {declared_name(first)}{other}",
            null_values=tuple(values.nulls),
            suggested_type=(text.source, first),
        )
    otherwise = _type_without(text, {ValueKind.TEXT})
    if not values.are_typed or not otherwise or values.first_missing is None:
        return None
    at = line_numbers([values.first_missing], rows)
    place = f", the first at {rows.reading.unit} {at[0]}" if at else ""
    are = "is" if values.missing == 1 else "are"
    named = " or ".join(_quoted(each) for each in values.nulls)
    return Finding(
        f"{text.is_string}: {values.missing:,} of {values.count:,} values {are} {named}{place}; "
        f"{' '.join(options)} makes it {otherwise}",
        null_values=tuple(values.nulls),
        trial=Trial(text.source, otherwise, _mixed(text, path, rows)),
    )


def _formats(text: _Text, values: TextValues) -> Sequence[Declared]:
    """Return the format that all values fit, and one that they fit with different results."""
    advice = advise(values.sample, TIMES)
    if advice is None or advice.declared is None or isinstance(advice.declared, str):
        return ()
    if values.sample[0].isdigit() and not _TIME_NAME.search(text.source):  # perhaps an id
        return ()
    proposed = [advice.declared, *([advice.other] if advice.other else [])]
    return [each for each in proposed if values.all_fit(each)]


def _type_option(path: str, declared: Declared) -> str:
    """Write the option that declares a type."""
    if isinstance(declared, str):
        return f"--type {escape(path)}={declared}"
    option = f"{escape(path)}={declared['type']}:{declared['format']}"
    return f"--type {option}" if " " not in option else f'--type "{option}"'


def _first_lines(text: _Text, unit: str) -> str:
    lines = text.first_lines.items()
    return " and ".join(f"{name} (first at {unit} {line})" for name, line in lines)


def _mixed(text: _Text, path: tuple[str, ...], rows: PreviewInput) -> Finding | None:
    unit = rows.reading.unit
    kinds = dict.fromkeys(name.partition(" ")[0] for name in text.first_lines)
    names = [name for name in kinds if name in PATTERNS]
    counts = Counter(dict.fromkeys([*names, _STRINGS], 0))
    for array in arrays_at(rows.reading.table, path):
        counts[_STRINGS] += len(array) - array.null_count
        for name in names:
            alike = pc.match_substring_regex(array, PATTERNS[name]).true_count
            counts[name] += alike
            counts[_STRINGS] -= alike
    ((most, _),) = counts.most_common(1)
    if (
        text.observed.kinds.keys() <= {ValueKind.DATETIME, ValueKind.TIMESTAMP, ValueKind.TEXT}
        and most == _STRINGS
    ):
        return None  # text in which some values look like dates
    if counts[most] == counts.total():
        return _quoted_numbers(text, path, most, rows)
    odd = dict(_exceptions(path, rows, most, names))
    at = line_numbers(list(odd), rows)
    others = " and ".join(
        count_of(count, name) for name, count in counts.items() if count and name != most
    )
    shown = ", ".join(
        f"{f'{unit} {at[place]} ' if at else ''}{_quoted(value)}"
        for place, value in enumerate(odd.values())
    )
    suggested_type = _type_without(
        text, {kind for kind, name in _NAMES.items() if name.partition(" ")[0] != most}
    )
    plain = f"{text.is_string}: {count_of(counts[most], most)}, but {others} ({shown})"
    if not suggested_type:
        return Finding(plain)
    refused = counts.total() - counts[most]
    return Finding(
        f"{plain}; --type {escape(text.source)}={suggested_type} refuses these {unit}s",
        trial=Trial(text.source, suggested_type, Finding(plain), refused),
    )


def _quoted_numbers(text: _Text, path: tuple[str, ...], most: str, rows: PreviewInput) -> Finding:
    """Explain values that look alike, but are partly quoted, or that no type can hold."""
    if most == "numbers" and (suggested_type := _decimal(path, rows)):
        return Finding(
            f"{text.is_string}: some of its numbers are in quotes, "
            f"{_first_lines(text, rows.reading.unit)}; "
            f"--type {escape(text.source)}={suggested_type} accepts both",
            suggested_type=(text.source, suggested_type),
        )
    return Finding(f"{text.is_string}: {_first_lines(text, rows.reading.unit)}")


def _exceptions(
    path: tuple[str, ...], rows: PreviewInput, most: str, names: Sequence[str]
) -> Iterator[tuple[int, str]]:
    """Yield the first rows whose values differ from most, with these values."""
    before = found = 0
    for array in arrays_at(rows.reading.table, path):
        odd = flags(array.is_valid())
        if most == _STRINGS:
            odd = odd & np.logical_or.reduce([_matches(array, name) for name in names])
        else:
            odd = odd & ~_matches(array, most)
        for place in odd.nonzero()[0][: _MAX_EXAMPLES - found].tolist():
            yield before + place, array[place].as_py()
            found += 1
        if found == _MAX_EXAMPLES:
            return
        before += len(array)


def _matches(array: pa.Array, name: str) -> Numbers:
    return flags(pc.match_substring_regex(array, PATTERNS[name]))


def _quoted(value: str) -> str:
    """Format a value as JSON does: only strings in quotes."""
    is_text = not any(re.match(look, value) for name, look in PATTERNS.items() if name != "dates")
    return escape(json.dumps(value, ensure_ascii=False) if is_text else value, _QUOTED)


def _type_without(text: _Text, kinds: set[ValueKind]) -> str | None:
    """Return the type the column would have without these kinds; None if STRING or none."""
    left = Observed({kind: line for kind, line in text.observed.kinds.items() if kind not in kinds})
    of = infer_type(left)
    if of is None or of == pa.string():
        return None
    return columns_of(pa.schema([pa.field("it", of)]))[0].type


def _decimals_in_quotes(text: _Text, rows: PreviewInput) -> Finding | None:
    """Explain a column whose values are all decimals in quotes, such as "12.50"."""
    for array in arrays_at(rows.reading.table, text.stored) if text.stored else ():
        some = positions(array)[:1]
        if len(some):
            first = array.slice(int(some[0]), 1)
            if not pc.match_substring_regex(first, _DECIMAL).true_count:
                return None
            if pc.match_substring_regex(array, _DECIMAL).true_count < len(array) - array.null_count:
                return None
    if text.stored is None or not (suggested_type := _decimal(text.stored, rows)):
        return None
    return Finding(
        f"{text.is_string}: all its numbers are in quotes; "
        f"--type {escape(text.source)}={suggested_type} makes them numbers",
        suggested_type=(text.source, suggested_type),
    )


def _decimal(path: tuple[str, ...], rows: PreviewInput) -> str | None:
    """Return the decimal type that holds every value at `path`, or None."""
    arrays = list(arrays_at(rows.reading.table, path))
    return next(
        (
            each.name
            for each in _DECIMALS
            if all(
                are_plain(array, each.arrow).true_count == len(array) - array.null_count
                for array in arrays
            )
        ),
        None,
    )
