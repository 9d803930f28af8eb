"""Leave members out of lines, and replace values by their hashes, as a feed declares.

A line is rewritten before anything else reads it, as if the feed had sent it so. This is the
definition; `columnar/column_rules.py` does the same to Arrow's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from feed_assets.ndjson.strict_json import (
    FloatText,
    IntText,
    InvalidLine,
    after_comma,
    decode_value,
    json_type_name,
    skip_space,
)
from feed_assets.schema.datatypes import parents
from feed_assets.schema.selection import Selection

_BLOCK = 64  # bytes of a block of SHA-256

Hasher = Callable[[str], str]


@dataclass(frozen=True)
class ColumnRules:
    """Rules for the members of one object, by key, and for the objects nested in it.

    A key can contain dots, so `a.b` is both a key and `b` in the object `a`.
    """

    excluded: Mapping[str, str] = field(default_factory=dict)
    """Keys to leave out, with their paths."""
    hashed: Mapping[str, str] = field(default_factory=dict)
    included: Mapping[str, str] | None = None
    """Keys to keep; None for all. Others are kept for what is nested in them."""
    nested: Mapping[str, ColumnRules] = field(default_factory=dict)

    def is_left_out(self, key: str) -> bool:
        """Return whether nothing of a member is kept."""
        if key in self.excluded:
            return True
        return self.included is not None and not (key in self.included or key in self.nested)

    def is_holder(self, key: str) -> bool:
        """Return whether a member is kept only for what is nested in it."""
        return self.included is not None and key not in self.included

    @property
    def has_hashes(self) -> bool:
        """True if a value is hashed here or deeper."""
        return bool(self.hashed) or any(each.has_hashes for each in self.nested.values())


KEEP_ALL = ColumnRules()


def parse_rules(selection: Selection) -> ColumnRules | None:
    """Build the tree for a whole row; None if all is kept as it is."""
    if not selection.is_private:
        return None
    paths = (selection.exclude, selection.hash, selection.include)
    excluded, hashed, included = ({path: path for path in each} for each in paths)
    return _build_tree(excluded, hashed, included or None)


def _build_tree(
    excluded: Mapping[str, str], hashed: Mapping[str, str], included: Mapping[str, str] | None
) -> ColumnRules:
    nested = {}
    for key in dict.fromkeys(
        parent for path in (*excluded, *hashed, *(included or ())) for parent in parents(path)
    ):
        inside = _inside(included, key) if included is not None and key not in included else None
        nested[key] = _build_tree(_inside(excluded, key), _inside(hashed, key), inside)
    if included is not None:  # a hash alone keeps nothing
        nested = {key: each for key, each in nested.items() if key in included or each.included}
    return ColumnRules(excluded, hashed, included, nested)


def _inside(paths: Mapping[str, str], key: str) -> dict[str, str]:
    start = f"{key}."
    return {path[len(start) :]: whole for path, whole in paths.items() if path.startswith(start)}


def hasher(key: bytes) -> Hasher:
    """Return the hash of a text: HMAC-SHA256 (RFC 2104) under a key, in hexadecimal.

    Copies of two begun hashes take 40 % of the time of `hmac.digest`.
    """
    block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))

    def hash_of(text: str) -> str:
        first, last = inner.copy(), outer.copy()
        first.update(text.encode())
        last.update(first.digest())
        return last.hexdigest()

    return hash_of


@dataclass(frozen=True)
class LineRewriter:
    """Rewrites the text of valid lines."""

    rules: ColumnRules
    hash: Hasher
    null_values: Collection[str] = ()

    def rewrite(self, text: str, excluded: set[str] | None = None) -> str:
        """Return the text of an object by the rules. Add the paths left out to `excluded`.

        Raise InvalidLine for an object in the place of a value to hash.
        """
        return self._object(text, 0, self.rules, excluded if excluded is not None else set())[0]

    def _object(
        self, text: str, at: int, rules: ColumnRules, excluded: set[str]
    ) -> tuple[str, int]:
        members, at = list[str](), skip_space(text, at + 1)
        while text[at] != "}":
            start = at
            key, at = decode_value(text, at)
            at = skip_space(text, skip_space(text, at) + 1)  # past the colon
            name = text[start:at]
            if key in rules.hashed:
                found, at = self._hashed(text, at, rules.hashed[key])
                members.append(name + found)
            elif rules.is_left_out(key):
                excluded.update([rules.excluded[key]] if key in rules.excluded else ())
                at = decode_value(text, at)[1]
            else:
                inside, only = rules.nested.get(key, KEEP_ALL), rules.is_holder(key)
                found, at = self._value(text, at, inside, excluded, only_inside=only)
                members.append(name + found)
            at = after_comma(text, at)
        return f"{{{','.join(members)}}}", at + 1

    def _value(
        self, text: str, at: int, rules: ColumnRules, excluded: set[str], *, only_inside: bool
    ) -> tuple[str, int]:
        if rules is KEEP_ALL:
            end = decode_value(text, at)[1]
            return text[at:end], end
        if text[at] == "{":
            return self._object(text, at, rules, excluded)
        if text[at] != "[":
            end = decode_value(text, at)[1]
            return ("null" if only_inside else text[at:end]), end
        elements, at = list[str](), skip_space(text, at + 1)
        while text[at] != "]":
            found, at = self._value(text, at, rules, excluded, only_inside=only_inside)
            elements.append(found)
            at = after_comma(text, at)
        return f"[{','.join(elements)}]", at + 1

    def _hashed(self, text: str, at: int, path: str) -> tuple[str, int]:
        value, end = decode_value(text, at)
        return self._hash_of(value, path), end

    def _hash_of(self, value: Any, path: str, *, in_array: bool = False) -> str:
        if type(value) is list and (not value or not in_array):
            return f"[{','.join(self._hash_of(each, path, in_array=True) for each in value)}]"
        if type(value) is list or type(value) is dict:
            if not value:
                return "{}"
            raise InvalidLine(
                f"has {json_type_name(value)} in {'an array in ' * in_array}column {path}, which "
                f"is hashed; hash a field in it by its path"
            )
        if value is None or (type(value) is str and value in self.null_values):
            return "null"
        return f'"{self.hash(text_of(value))}"'


def text_of(value: str | bool | IntText | FloatText) -> str:
    """Return the text that is hashed: of a string without quotes, of others as sent."""
    return ("false", "true")[value] if isinstance(value, bool) else value
