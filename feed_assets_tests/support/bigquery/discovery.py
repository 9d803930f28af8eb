"""Requests compared with Google's own descriptions of the APIs of BigQuery and Cloud Storage.

https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import files
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

JSON = Mapping[str, Any]
SENT_BY_GOOGLES_CLIENT = {("bigquery.jobs.get", "projection"): {"type": "string"}}
"""Parameters that no document describes, and Google's client sends nevertheless."""


class NotInApi(Exception):
    """A request has what the API's description does not, or what only an answer may have."""


@dataclass(frozen=True)
class Method:
    """A method of an API, and the pattern of its path."""

    description: JSON
    pattern: re.Pattern[str]

    @property
    def parameters(self) -> Mapping[str, JSON]:
        found: Mapping[str, JSON] = self.description.get("parameters", {})
        return {name: p for name, p in found.items() if p["location"] == "query"}


class Api:
    """One API, as its discovery document describes it."""

    def __init__(self, name: str) -> None:
        (path,) = (
            file
            for file in files("google-api-python-client") or ()
            if file.match(f"discovery_cache/documents/{name}.json")
        )
        self._document: JSON = json.loads(path.read_text())
        self._root = f"/{self._document['servicePath']}"
        self._methods = [
            Method(each, re.compile(re.sub(r"\{\+?\w+\}", "([^/]+)", each["path"])))
            for each in _methods(self._document)
        ]
        self._passed: set[str] = set()

    def check(self, method: str, target: str, body: bytes = b"", content_type: str = "") -> None:
        """Check a request by its method, target and body. Raises NotInApi.

        A request of the same shape as one that has passed passes.
        """
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        upload = url.path.startswith(f"/upload{self._root}")
        if upload and method == "PUT":
            if not query.keys() <= {"uploadType", "upload_id", "prettyPrint"}:
                raise NotInApi(f"PUT {target}: an upload goes on under its upload_id")
            return
        called = self._called(method, url.path.removeprefix("/upload"), upload=upload)
        content = _json(body, content_type)
        shape = json.dumps([called.description["id"], upload, query, _shape(content)])
        if shape in self._passed:
            return
        where = f"{called.description['id']} ({method} {unquote(url.path)})"
        self._check_query(called, query, where)
        if content is not None:
            schema = called.description.get("request")
            if schema is None:
                raise NotInApi(f"{where} takes no body")
            self._check_value(content, schema, where)
        elif method in {"POST", "PUT", "PATCH"} and "request" in called.description and not upload:
            raise NotInApi(f"{where} needs a body")
        self._passed.add(shape)

    def _called(self, method: str, path: str, *, upload: bool) -> Method:
        for each in self._methods:
            if each.description["httpMethod"] == method and each.pattern.fullmatch(
                path.removeprefix(self._root)
            ):
                if upload and not each.description.get("supportsMediaUpload"):
                    raise NotInApi(f"{each.description['id']} takes no upload")
                return each
        raise NotInApi(f"{method} {path} is not a method of the API")

    def _check_query(self, called: Method, query: Mapping[str, Sequence[str]], where: str) -> None:
        known = {**self._document["parameters"], **called.parameters}
        method = called.description["id"]
        known |= {name: p for (of, name), p in SENT_BY_GOOGLES_CLIENT.items() if of == method}
        for name, values in query.items():
            if name not in known:
                raise NotInApi(f"{where} has no parameter {name}")
            if len(values) > 1 and not known[name].get("repeated"):
                raise NotInApi(f"{where}: {name} is given {len(values)} times")
            for value in values:
                text = known[name].get("type") == "string"
                if not _fits(value if text else _parsed(value), known[name]):
                    raise NotInApi(f"{where}: {name} cannot be {value!r}")
        for name, parameter in called.parameters.items():
            if parameter.get("required") and name not in query:
                raise NotInApi(f"{where} needs the parameter {name}")

    def _check_value(self, value: Any, schema: JSON, where: str) -> None:
        if "$ref" in schema:
            schema = self._document["schemas"][schema["$ref"]]
        if value is None:  # no value, as in a PATCH that deletes it
            return
        if not _fits(value, schema):
            raise NotInApi(f"{where}: {json.dumps(value)[:100]} is not of type {schema['type']}")
        if schema.get("type") == "array":
            for each in value:
                self._check_value(each, schema["items"], where)
        elif isinstance(value, dict) and schema.get("type") == "object":
            known = schema.get("properties", {})
            for name, each in value.items():
                inner = known.get(name) or schema.get("additionalProperties")
                if inner is None:
                    raise NotInApi(f"{where} has no field {name}")
                if inner.get("readOnly"):
                    raise NotInApi(f"{where}.{name} is for answers only")
                self._check_value(each, inner, f"{where}.{name}")


@cache
def api(name: str) -> Api:
    """Return an API by its name and version: `bigquery.v2`, `storage.v1`."""
    return Api(name)


def _methods(resource: JSON) -> Iterator[JSON]:
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from _methods(inner)


def _json(body: bytes, content_type: str) -> Any:
    """Return the JSON of a body; of an upload in several parts, of the first."""
    if content_type.startswith("multipart/related"):
        body = body.split(b"\r\n\r\n", maxsplit=1)[1].split(b"\r\n--", maxsplit=1)[0]
    return json.loads(body) if body else None


def _shape(value: Any) -> Any:
    """Return what a value is checked for: its fields and types; of texts, numbers and constants."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    if isinstance(value, list):
        found = [_shape(each) for each in value]
        return [each for at, each in enumerate(found) if each not in found[:at]]
    if isinstance(value, str):
        constant = re.fullmatch(r"[A-Z_][A-Z0-9_]*", value)  # V1 too
        return value if constant else bool(re.fullmatch(r"-?\d+", value))
    return type(value).__name__


def _parsed(text: str) -> Any:
    try:
        return json.loads(text.lower())  # Google's client writes True
    except ValueError:
        return text


def _fits(value: Any, schema: JSON) -> bool:
    """Return whether a value is of the type. JSON has integers of 64 bits as text, or not.

    https://developers.google.com/discovery/v1/type-format
    """
    kind, form = schema.get("type", "any"), schema.get("format", "")
    if "enum" in schema and value not in schema["enum"]:
        return False
    if kind == "string" and "64" in form:
        return bool(re.fullmatch(r"-?\d+", str(value)))
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    types = {"string": str, "boolean": bool, "array": list, "object": dict, "any": object}
    return isinstance(value, types[kind])
