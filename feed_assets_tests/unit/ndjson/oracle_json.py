"""A JSON parser by hand, for the oracle: it keeps each value's text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_ESCAPES = dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))


class BadError(Exception):
    """The line is not a row."""


@dataclass
class Node:
    """A JSON value."""

    kind: str  # null, boolean, integer, number, string, object, array
    text: str
    value: Any = None
    fields: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Text of each key, with the colon and the white space around it."""


class Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def space(self) -> None:
        while self.peek() and self.peek() in _SPACE:
            self.at += 1

    def take(self, token: str) -> None:
        if not self.text.startswith(token, self.at):
            raise BadError
        self.at += len(token)

    def node(self, depth: int) -> Node:
        start = self.at
        found = self._node(depth)
        found.text = self.text[start : self.at]
        return found

    def _node(self, depth: int) -> Node:
        match self.peek():
            case "{" | "[" if depth > 200:
                raise BadError
            case "{":
                return self.object(depth)
            case "[":
                return self.array(depth)
            case '"':
                return Node("string", "", self.string())
            case "t" | "f" | "n":
                for token, kind, value in (
                    ("true", "boolean", True),
                    ("false", "boolean", False),
                    ("null", "null", None),
                ):
                    if self.text.startswith(token, self.at):
                        self.at += len(token)
                        return Node(kind, "", value)
                raise BadError
            case _:
                match = _NUMBER.match(self.text, self.at)
                if not match:
                    raise BadError
                self.at = match.end()
                return Node("number" if match[1] or match[2] else "integer", "")

    def string(self) -> str:
        self.take('"')
        units: list[str] = []
        while (character := self.peek()) != '"':
            if character == "" or character < " ":
                raise BadError
            self.at += 1
            if character != "\\":
                units.append(character)
                continue
            escape = self.peek()
            self.at += 1
            if escape == "u":
                digits = self.text[self.at : self.at + 4]
                if not re.fullmatch("[0-9a-fA-F]{4}", digits):
                    raise BadError
                self.at += 4
                units.append(chr(int(digits, 16)))
            elif escape in _ESCAPES and escape:
                units.append(_ESCAPES[escape])
            else:
                raise BadError
        self.at += 1
        try:  # pairs become characters, and what is alone fails
            return "".join(units).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise BadError from None

    def object(self, depth: int) -> Node:
        found = Node("object", "")
        self.take("{")
        self.space()
        while self.peek() != "}":
            if found.fields:
                self.take(",")
                self.space()
            start = self.at
            key = self.string()
            self.space()
            self.take(":")
            self.space()
            if key in found.fields:
                raise BadError
            found.names[key] = self.text[start : self.at]
            found.fields[key] = self.node(depth + 1)
            self.space()
        self.take("}")
        return found

    def array(self, depth: int) -> Node:
        found = Node("array", "")
        self.take("[")
        self.space()
        while self.peek() != "]":
            if found.items:
                self.take(",")
                self.space()
            found.items.append(self.node(depth + 1))
            self.space()
        self.take("]")
        return found
