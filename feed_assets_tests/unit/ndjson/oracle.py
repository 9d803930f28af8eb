"""Slow reference for the meaning of a feed, which shares no code with the engine.

It parses by hand, keeps all of the feed in memory, and looks at all values of a column at once
instead of joining observations.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from itertools import count
from typing import Any

from feed_assets.schema.selection import NO_SELECTION, Selection
from feed_assets_tests.unit.ndjson.oracle_json import BadError, Node, Parser


@dataclass
class Expected:
    """Expected result of the engine."""

    bad_lines: list[int]
    types: dict[str, str]  # in the order of the columns
    rows: list[dict[str, Any]]


def expected(
    data: bytes, *, null_values: Sequence[str] = (), columns: Selection = NO_SELECTION
) -> Expected:
    """Return the expected result."""
    bad_lines, nodes = [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if number == 1 and line.startswith(b"\xef\xbb\xbf"):
            line = line[3:]
        line = line.strip(b" \t\r\n")
        if not line:
            continue
        try:
            parser = Parser(line.decode())
            node = parser.node(1)
            if parser.at != len(parser.text) or node.kind != "object":
                raise BadError
            _to_null(node, null_values)
            if columns.is_private:
                include = [*columns.include] or None
                _select(node, [*columns.exclude], include, [*columns.hash], columns.hash_key)
        except (BadError, UnicodeDecodeError):
            bad_lines.append(number)
            continue
        _rename(node, columns.rename)
        nodes.append(node)
    types = _field_types(nodes, 1)
    return Expected(
        bad_lines,
        {name: type_text(found) for name, (_, found) in types.items()},
        [_fields(node, types) for node in nodes],
    )


def _to_null(node: Node, null_values: Sequence[str]) -> None:
    if node.kind == "string" and node.value in null_values:
        node.kind, node.value = "null", None
    for child in (*node.fields.values(), *node.items):
        _to_null(child, null_values)


def _tails(paths: Iterable[str], key: str) -> list[str]:
    return [path.removeprefix(f"{key}.") for path in paths if path.startswith(f"{key}.")]


def _select(
    node: Node, exclude: list[str], include: list[str] | None, hashed: list[str], key: bytes
) -> None:
    """Leave out and hash values; `include` is None where all columns are included."""
    if not exclude and not hashed and include is None:
        return
    if node.kind == "object":
        for name, child in list(node.fields.items()):
            only = None if include is None or name in include else _tails(include, name)
            if name in hashed:
                _hash(child, key, in_array=False)
            elif name in exclude or only == []:
                del node.fields[name]
            else:
                _select(child, _tails(exclude, name), only, _tails(hashed, name), key)
        members = (f"{node.names[name]}{child.text}" for name, child in node.fields.items())
        node.text = f"{{{','.join(members)}}}"
    elif node.kind == "array":
        for item in node.items:
            _select(item, exclude, include, hashed, key)
        node.text = f"[{','.join(item.text for item in node.items)}]"
    elif include is not None:
        node.kind, node.value, node.text = "null", None, "null"


def _hash(node: Node, key: bytes, *, in_array: bool) -> None:
    if node.kind == "array" and node.items and not in_array:
        for item in node.items:
            _hash(item, key, in_array=True)
        node.text = f"[{','.join(item.text for item in node.items)}]"
    elif node.fields or node.items:
        raise BadError
    elif node.kind == "null":
        node.text = "null"
    elif not _is_without_parts(node):
        text = node.value if node.kind == "string" else node.text
        block = key.ljust(64, b"\0")
        inner = sha256(bytes(each ^ 0x36 for each in block) + text.encode()).digest()
        node.value = sha256(bytes(each ^ 0x5C for each in block) + inner).hexdigest()
        node.kind, node.text = "string", f'"{node.value}"'
    else:
        node.text = "[]" if node.kind == "array" else "{}"


def _rename(node: Node, names: Mapping[str, str]) -> None:
    if not names:
        return
    for item in node.items:
        _rename(item, names)
    for key, child in node.fields.items():
        inside = [path for path in names if path.startswith(f"{key}.")]
        _rename(child, {path[len(key) + 1 :]: names[path] for path in inside})
    node.fields = {names.get(key, key): child for key, child in node.fields.items()}


def type_text(found: Any) -> str:
    """Return Arrow notation. A record's type is a dict by names, an array's a list of one."""
    if isinstance(found, dict):
        fields = (f"{name}: {type_text(each)}" for name, (_, each) in found.items())
        return f"struct<{', '.join(fields)}>"
    return f"list<item: {type_text(found[0])}>" if isinstance(found, list) else str(found)


def _field_types(nodes: list[Node], level: int) -> dict[str, tuple[str, Any]]:
    """Key and type of each stored name."""
    keys = dict.fromkeys(key for node in nodes for key in node.fields)
    names = _names(keys)
    found = {}
    for key in keys:
        of_key = _type([node.fields[key] for node in nodes if key in node.fields], level)
        if of_key is not None:
            found[names[key]] = key, of_key
    return found


def _names(keys: Iterable[str]) -> dict[str, str]:
    names = {}
    for key in keys:
        name = "".join(
            each if each in " &%=+:'<>#|" or unicodedata.category(each) in _NAME_CATEGORIES else "_"
            for each in key
        )
        names[key] = name[:300] or "_"
    everything = {name.casefold() for name in names.values()}
    used = set()
    for key in sorted(names):
        if names[key].casefold() in used:
            numbered = (f"{names[key]}_{number}" for number in count(2))
            names[key] = next(each for each in numbered if each.casefold() not in everything)
        used.add(names[key].casefold())
        everything.add(names[key].casefold())
    return names


_NAME_CATEGORIES = "Lu Ll Lt Lm Lo Nd Nl No Mn Mc Me Pc Pd".split()  # noqa: SIM905


def _type(nodes: list[Node], level: int) -> Any:
    if all(_is_empty(node) for node in nodes):
        return None
    nodes = [node for node in nodes if _is_value(node)]
    kinds = {node.kind for node in nodes}
    if kinds == {"boolean"}:
        return "bool"
    if kinds <= {"integer", "number"}:
        return _number_type(nodes)
    if kinds == {"string"}:
        zones = {_zoned(node.value) for node in nodes}
        if zones == {False}:
            return "timestamp[us]"
        return "timestamp[us, tz=UTC]" if zones == {True} else "string"
    if kinds == {"object"} and level <= 15:
        return _field_types(nodes, level + 1) or None
    if kinds == {"array"}:
        items = [item for node in nodes for item in node.items if _is_value(item)]
        if any(item.kind == "array" for item in items):
            only_arrays = all(item.kind == "array" for item in items)
            return None if all(map(_is_empty, items)) else ["string", only_arrays]
        inner = _type(items, level)
        return None if inner is None else [inner]
    return "string"


def _is_value(node: Node) -> bool:
    return node.kind != "null" and not _is_without_parts(node)


def _is_without_parts(node: Node) -> bool:
    return node.kind in ("object", "array") and not node.fields and not node.items


def _is_empty(node: Node) -> bool:
    if node.kind in ("object", "array"):
        return all(_is_empty(child) for child in (*node.fields.values(), *node.items))
    return node.kind == "null"


def _number_type(nodes: list[Node]) -> str:
    integers = [int(node.text) for node in nodes if node.kind == "integer"]
    others = [node.text for node in nodes if node.kind == "number"]
    if not others:
        return "int64" if all(-(2**63) <= each < 2**63 for each in integers) else "string"
    exact = all(abs(each) <= 2**53 for each in integers)
    return "double" if exact and all(map(_in_double, others)) else "string"


def _in_double(text: str) -> bool:
    mantissa, _, exponent = text.lower().partition("e")
    if Fraction(mantissa) == 0:
        return True
    if abs(int(exponent or 0)) > 100_000:
        return False
    value = abs(Fraction(mantissa) * Fraction(10) ** int(exponent or 0))
    # Halfway between 0 and the least double rounds to 0; halfway beyond the greatest, to infinity.
    return Fraction(2) ** -1075 < value < Fraction(2) ** 1024 - Fraction(2) ** 970


def moment_of(text: str) -> datetime | None:
    match = re.match(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(.*)", text, re.DOTALL)
    if not match:
        return None
    year, month, day, rest = int(match[1]), int(match[2]), int(match[3]), match[4]
    try:
        date = datetime(year, month, day)
    except ValueError:
        return None
    if not rest:
        return date
    match = re.match(r"[T ]([0-9]{2}):([0-9]{2})(.*)", rest, re.DOTALL)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        return None
    found = date + timedelta(hours=int(match[1]), minutes=int(match[2]))
    rest = match[3]
    match = re.match(r":([0-9]{2})(?:\.([0-9]+))?(.*)", rest, re.DOTALL)
    if match:
        if int(match[1]) > 59:
            return None
        found += timedelta(seconds=int(match[1]))
        found += timedelta(microseconds=int((match[2] or "")[:6].ljust(6, "0")))
        rest = match[3]
    if not rest:
        return found
    zone = rest[1:].replace(":", "", 1) if rest[3:4] == ":" else rest[1:]
    if rest == "Z":
        offset = timedelta()
    elif rest[0] in "+-" and re.fullmatch(r"[0-9]{2}([0-9]{2})?", zone):
        hours, minutes = int(zone[:2]), int(zone[2:] or 0)
        if hours > 23 or minutes > 59 or rest.endswith(":"):
            return None
        offset = timedelta(hours=hours, minutes=minutes) * (1 if rest[0] == "+" else -1)
    else:
        return None
    try:
        return (found - offset).replace(tzinfo=UTC)
    except OverflowError:
        return None


def _zoned(text: str) -> bool | None:
    found = moment_of(text)
    return None if found is None else found.tzinfo is not None


def _fields(node: Node, types: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    return {name: _value(node.fields.get(key), found) for name, (key, found) in types.items()}


def _value(node: Node | None, found: Any) -> Any:
    if node is None or node.kind == "null":
        return None
    if isinstance(found, dict):
        return _fields(node, found) if node.kind == "object" else None
    if isinstance(found, list):
        if node.kind != "array":
            return None
        of_arrays = found[-1] is True
        return [
            item.text if of_arrays else _value(item, found[0])
            for item in node.items
            if _is_value(item)
            or (item.kind == "object" and isinstance(found[0], dict))
            or (item.kind == "array" and of_arrays)
        ]
    if _is_without_parts(node):
        return None
    if found == "string":
        return node.value if node.kind == "string" else node.text
    if found == "bool":
        return node.value
    if found == "int64":
        return int(node.text)
    if found == "double":
        return float(node.text)
    return moment_of(node.value)
