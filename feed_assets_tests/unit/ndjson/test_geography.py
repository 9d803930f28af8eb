"""Geographies that are accepted, and values rejected before BigQuery would reject the load."""

from __future__ import annotations

import pytest

from feed_assets.ndjson import is_valid

RING = "0 0, 2 0, 2 2, 0 0"
GEOGRAPHIES = [
    "POINT(1 2)",
    " point ( -180.0 +90 ) ",
    "Point(1e2 .5)",
    "POINT EMPTY",
    "LINESTRING(1 1, 2 1, 3.1 2.88)",
    f"POLYGON(({RING}))",
    f"POLYGON(({RING}), (1 1, 1 2, 2 2, 1 1))",
    "MULTIPOINT(0 32, 123 9)",
    "MULTIPOINT((0 32), (123 9))",
    "MULTILINESTRING((2 2, 3 4), (5 6, 7 7))",
    f"MULTIPOLYGON((({RING})), (({RING})))",
    "GEOMETRYCOLLECTION(MULTIPOINT(-1 2, 0 12), LINESTRING(-2 4, 0 6), POINT EMPTY)",
    "GEOMETRYCOLLECTION EMPTY",
    '{"type": "Point", "coordinates": [-121, 41.5]}',
    ' {"type":"MultiPoint","coordinates":[[1,2],[3,4]]} ',
    '{"coordinates":[[1,2],[3,4]],"type":"LineString"}',
    '{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[0,0]]]}',
    '{"type":"MultiLineString","coordinates":[[[1,2],[3,4]]]}',
    '{"type":"MultiPolygon","coordinates":[[[[0,0],[2,0],[2,2],[0,0]]]]}',
    '{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}',
]
OTHERS = [
    "",
    " ",
    "POINT",
    "POINT()",
    "POINT(1)",
    "POINT(1 2 3)",
    "POINT(1-2)",
    "POINT Z(1 2 3)",
    "POINT(1, 2)",
    "POINT(1 2",
    "POINT(1 2))",
    "POINT(1 2) POINT(1 2)",
    "POINT(1 2, 3 4)",
    "POINT(x y)",
    "POINT(nan 1)",
    "POINT(1 EMPTY)",
    "POINT(0 90.1)",
    "POINT(180.1 0)",  # BigQuery takes it modulo 360, so it would be another number
    "SRID=4326;POINT(1 2)",
    "CIRCLE(1 2)",
    "LINESTRING(1 1)",
    "LINESTRING(1 1, )",
    "POLYGON(0 0, 2 0, 2 2, 0 0)",
    "POLYGON((0 0, 2 0, 2 2, 0 1))",
    "POLYGON((0 0, 2 0, 0 0))",
    "GEOMETRYCOLLECTION(1 2)",
    "GEOMETRYCOLLECTION(" * 100_000,
    "GEOMETRYCOLLECTION(" * 40 + "POINT(1 2)" + ")" * 40,
    "41.5,-121",
    "0101000000000000000000f03f0000000000000040",  # WKB
    "{}",
    "{",
    "[1,2]",
    '{"type":"Point"}',
    '{"type":"Point","coordinates":[1]}',
    '{"type":"Point","coordinates":[1,2,3]}',
    '{"type":"Point","coordinates":["1","2"]}',
    '{"type":"Point","coordinates":[NaN,2]}',
    '{"type":"Point","coordinates":[1,91]}',
    '{"type":"Point","coordinates":[1,2]} x',
    '{"type":["Point"],"coordinates":[1,2]}',
    '{"type":"LineString","coordinates":[[1,2]]}',
    '{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[1,1]]]}',
    '{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{}}',
    '{"type":"GeometryCollection","geometries":[1]}',
    '{"type":"GeometryCollection"}',
    '{"type":"GeometryCollection","geometries":[' * 40 + "]}" * 40,
]


@pytest.mark.parametrize("text", GEOGRAPHIES)
def test_a_valid_geography_is_accepted(text: str) -> None:
    assert is_valid("GEOGRAPHY", text)


@pytest.mark.parametrize("text", OTHERS, ids=lambda text: text[:40])
def test_an_invalid_geography_is_refused(text: str) -> None:
    assert not is_valid("GEOGRAPHY", text)
