"""Recognise geographies, WKT or GeoJSON geometries, before they are loaded.

The grammar is that of BigQuery's GEOGRAPHY, longitude before latitude:
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#geography_type
https://cloud.google.com/bigquery/docs/geospatial-data#loading_geojson_geometry_data
Errors of geometry, such as a polygon whose edges cross, are left to BigQuery: it rejects the load
and the table does not change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from feed_assets.ndjson.strict_json import FloatText, IntText, InvalidLine, decode_value

_TOKEN = re.compile(
    r"\s*([(),]|(?:[A-Za-z]+|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?=[\s(),]|\Z))", re.ASCII
)
_DEEPEST = 32  # collections in collections
_LEAST_OF_LINE, _LEAST_OF_RING = 2, 4  # points; a ring ends where it began
_LONGITUDE, _LATITUDE = 180, 90  # degrees either way; a longitude beyond, BigQuery would change

Position = tuple[float, float]


class _NoGeographyError(ValueError):
    """The value is not a geography."""


def is_geography(value: Any) -> bool:
    """Return whether a JSON value is GeoJSON, or a string that contains GeoJSON or WKT."""
    try:
        if type(value) is str and value.lstrip().startswith("{"):
            found, end = decode_value(value.strip(), 0)
            if end != len(value.strip()):
                return False
            _geometry(found, 0)
        elif type(value) is str:
            _Wkt(value).whole()
        else:
            _geometry(value, 0)
    except (_NoGeographyError, InvalidLine, json.JSONDecodeError, RecursionError):
        return False
    return True


class _Wkt:
    """Parser: `POINT(1 2)`, `POLYGON((0 0, 1 0, 1 1, 0 0))`, `GEOMETRYCOLLECTION EMPTY`."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise _NoGeographyError
            self._tokens.append(token[1].upper())
            at = token.end()
        self._tokens.append("")
        self._at = 0

    def whole(self) -> None:
        self._geometry(0)
        self._take("")

    def _geometry(self, depth: int) -> None:
        read: Callable[[], Any] | None = {
            "POINT": lambda: self._in_brackets(self._position),
            "LINESTRING": self._line,
            "POLYGON": self._polygon,
            "MULTIPOINT": lambda: self._listed(self._point),
            "MULTILINESTRING": lambda: self._listed(self._line),
            "MULTIPOLYGON": lambda: self._listed(self._polygon),
            "GEOMETRYCOLLECTION": lambda: self._listed(lambda: self._geometry(depth + 1)),
        }.get(self._next())
        if read is None or depth > _DEEPEST:
            raise _NoGeographyError
        if self._tokens[self._at] == "EMPTY":
            self._at += 1
        else:
            read()

    def _point(self) -> None:
        """Parse a point of a MULTIPOINT, with or without brackets."""
        if self._tokens[self._at] == "(":
            self._in_brackets(self._position)
        else:
            self._position()

    def _line(self) -> None:
        _check_line(self._listed(self._position))

    def _polygon(self) -> None:
        for ring in self._listed(lambda: self._listed(self._position)):
            _check_ring(ring)

    def _position(self) -> Position:
        return _position(self._next(), self._next())

    def _listed(self, read: Callable[[], Any]) -> list[Any]:
        self._take("(")
        found = [read()]
        while self._tokens[self._at] == ",":
            self._at += 1
            found.append(read())
        self._take(")")
        return found

    def _in_brackets(self, read: Callable[[], Any]) -> None:
        if len(self._listed(read)) > 1:
            raise _NoGeographyError

    def _take(self, token: str) -> None:
        if self._next() != token:
            raise _NoGeographyError

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise _NoGeographyError
        self._at += 1
        return self._tokens[self._at - 1]


def _geometry(value: Any, depth: int) -> None:
    """Check a GeoJSON geometry; BigQuery accepts no features in a column."""
    if type(value) is not dict or depth > _DEEPEST:
        raise _NoGeographyError
    kind = value.get("type")
    if kind == "GeometryCollection":
        for each in _array(value.get("geometries")):
            _geometry(each, depth + 1)
    elif type(kind) is str and kind in _COORDINATES:
        _COORDINATES[kind](value.get("coordinates"))
    else:
        raise _NoGeographyError


def _array(value: Any) -> list[Any]:
    if type(value) is not list:
        raise _NoGeographyError
    return value


def _point_of(value: Any) -> Position:
    numbers = _array(value)
    if [type(each) in (IntText, FloatText) for each in numbers] != [True, True]:
        raise _NoGeographyError
    return _position(*numbers)


def _points_of(value: Any) -> list[Position]:
    return [_point_of(each) for each in _array(value)]


def _line_of(value: Any) -> None:
    _check_line(_points_of(value))


def _polygon_of(value: Any) -> None:
    for ring in _array(value):
        _check_ring(_points_of(ring))


def _each(check: Callable[[Any], None]) -> Callable[[Any], None]:
    def check_all(value: Any) -> None:
        for each in _array(value):
            check(each)

    return check_all


_COORDINATES: dict[str, Callable[[Any], Any]] = {
    "Point": _point_of,
    "MultiPoint": _points_of,
    "LineString": _line_of,
    "MultiLineString": _each(_line_of),
    "Polygon": _polygon_of,
    "MultiPolygon": _each(_polygon_of),
}


def _position(longitude: str, latitude: str) -> Position:
    try:
        found = float(longitude), float(latitude)
    except ValueError:
        raise _NoGeographyError from None
    if not (abs(found[0]) <= _LONGITUDE and abs(found[1]) <= _LATITUDE):
        raise _NoGeographyError
    return found


def _check_line(points: list[Position]) -> None:
    if len(points) < _LEAST_OF_LINE:
        raise _NoGeographyError


def _check_ring(points: list[Position]) -> None:
    if len(points) < _LEAST_OF_RING or points[0] != points[-1]:
        raise _NoGeographyError
