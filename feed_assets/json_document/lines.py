"""Turn a JSON document into NDJSON lines: those of its array, or of the array at a path in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from feed_assets.errors import NotJson
from feed_assets.json_document.elements import ElementLines, Skip

_BOM = b"\xef\xbb\xbf"
_LONGEST = 64 << 20
"""Bytes of the longest key or value outside the array."""
_TOKEN = re.compile(
    rb'[ \t\r\n]*+(?:([][{}:,])|("(?:[^"\\]++|\\.)*+")|([^][{}:,"\s]++)(?=.))', re.DOTALL
)
_KEYS_NAMED, _KEY_SHOWN = 10, 40


class JsonLines:
    """Reads one document in chunks and yields lines.

    `values` has the scalars found at the paths of `wanted`. Number of an element and number of its
    line are the same.
    """

    def __init__(self, records: str | None, wanted: Sequence[str] = ()) -> None:
        self._records = tuple(records.split(".")) if records else ()
        self._wanted = {tuple(path.split(".")) for path in wanted}
        self.values: dict[str, Any] = {}
        self.ended = False
        self._array: ElementLines | None = None
        self._inside: ElementLines | Skip | None = None
        self._found = False
        self._keys: list[str] = []
        self._top_level: list[str] = []
        self._outside = b""
        self._expected = "start"

    @property
    def elements(self) -> int:
        """Number of elements that are complete."""
        return self._array.elements if self._array else 0

    def read(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines of the next chunk. Raises NotJson."""
        while data:
            if isinstance(self._inside, ElementLines):
                used, lines = self._inside.read(data)
                yield lines
            elif self._inside is not None:
                used = self._inside.read(data)
            else:
                data = self._read_outside(data)
                continue
            if self._inside.ended:
                self._inside = None
                self._value_ended()
            data = data[used:]

    def check_start(self) -> None:
        """Raise NotJson if the document has ended before a bracket that opens it."""
        if self._expected == "start" and (text := self._outside.strip()):
            raise NotJson(_not_a_document(text))

    def check_end(self) -> None:
        """Raise NotJson if the document has not ended."""
        self.check_start()
        if not self.ended:
            raise NotJson(f"the feed ends inside its JSON document, after element {self.elements}")

    def _read_outside(self, data: bytes) -> bytes:
        """Read what is around the array; return the bytes after a bracket that opens one."""
        text, at = self._outside + data, 0
        if self._expected == "start":
            text = text.removeprefix(_BOM)
        while found := _TOKEN.match(text, at):
            at = found.end()
            mark, string, scalar = found.groups()
            if mark in (b"[", b"{"):
                self._open(mark)
                if self._inside is not None:
                    self._outside = b""
                    return text[at:]
            elif mark is not None:
                self._punctuate(mark)
            else:
                self._scalar(string or scalar, is_string=string is not None)
        self._outside = text[at:]
        if len(self._outside) > _LONGEST:
            raise NotJson(
                f"the feed has a key or a value of more than {_LONGEST:,} bytes outside of its "
                f"records"
            )
        if self.ended and self._outside.strip():
            raise _broken("text after its end")
        return b""

    def _open(self, bracket: bytes) -> None:
        if self._expected == "start":
            self._start(bracket)
            return
        self._expect("a value")
        path = tuple(self._keys)
        if path == self._records:
            if bracket == b"{":
                raise self._no_array("an object")
            self._begin_array()
        elif bracket == b"{" and any(
            each[: len(path)] == path for each in (self._records, *self._wanted)
        ):
            self._keys.append("")
            self._expected = "a key or the end"
        else:
            self._inside = Skip(bracket)

    def _start(self, bracket: bytes) -> None:
        if bracket == b"[" and not self._records:
            self._begin_array()
        elif bracket == b"[":
            raise NotJson(
                f"the feed is a JSON array, in which there is no path {self._path}; leave out "
                f"records"
            )
        elif not self._records:
            raise NotJson(
                "the feed is a JSON object, not an array; name the array in it by its path, such "
                "as records: data.items, or leave out format if the feed has one object per line"
            )
        else:
            self._keys.append("")
            self._expected = "a key or the end"

    def _begin_array(self) -> None:
        if self._found:
            raise _broken(f"{self._path} twice")
        self._found = True
        self._inside = self._array = ElementLines()

    def _punctuate(self, mark: bytes) -> None:
        if mark == b":":
            self._expect("a colon")
            self._expected = "a value"
        elif mark == b"," and self._expected == "a comma or the end":
            self._expected = "a key"
        elif mark == b"}" and self._expected in {"a comma or the end", "a key or the end"}:
            self._keys.pop()
            self._value_ended()
        else:
            raise self._unexpected(mark)

    def _scalar(self, token: bytes, *, is_string: bool) -> None:
        if self._expected == "start":
            raise NotJson(_not_a_document(token))
        value = _parsed(token)
        if is_string and self._expected in {"a key", "a key or the end"}:
            self._keys[-1] = value
            if len(self._keys) == 1 and len(self._top_level) < _KEYS_NAMED:
                self._top_level.append(_printable(value))
            self._expected = "a colon"
            return
        self._expect("a value")
        path = tuple(self._keys)
        if path == self._records:
            if value is not None:
                raise self._no_array("a text" if is_string else "a number or a word")
            self._found = True  # as some servers write an empty array
        elif path in self._wanted:
            self.values[".".join(path)] = value
        self._value_ended()

    def _value_ended(self) -> None:
        self._expected = "a comma or the end"
        if not self._keys:
            self._expected, self.ended = "nothing", True
            if not self._found:
                raise NotJson(
                    f"the feed has no {self._path}, which records names; its keys are "
                    f"{', '.join(self._top_level) or 'none'}"
                )

    def _expect(self, what: str) -> None:
        if self._expected != what:
            raise self._unexpected(b"a value" if what == "a value" else b":")

    @property
    def _path(self) -> str:
        return ".".join(self._records)

    def _unexpected(self, token: bytes) -> NotJson:
        return _broken(f"{token.decode()} in the place of {self._expected}")

    def _no_array(self, kind: str) -> NotJson:
        return NotJson(f"{self._path} of the feed, which records names, is {kind} and not an array")


def _printable(key: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in key[:_KEY_SHOWN])


def _parsed(token: bytes) -> Any:
    try:
        return json.loads(token)
    except (ValueError, RecursionError):
        raise _broken("a key or a value that is not JSON") from None


def _not_a_document(token: bytes) -> str:
    if token.startswith(b"<"):
        return (
            "the feed is an HTML or XML page, not a JSON document; check the URL, and whether it "
            "wants a login or answers with an error page"
        )
    return "the feed is not a JSON document, which begins with [ or {; check the URL"


def _broken(what: str) -> NotJson:
    return NotJson(f"the feed is not a JSON document: it has {what} outside of its records")
