"""A table with a column of each type: schemas, a full row and an empty one."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
from google.cloud.bigquery import SchemaField

ITEM = SchemaField(
    "items",
    "RECORD",
    "REPEATED",
    fields=[
        SchemaField("sku", "STRING"),
        SchemaField("sizes", "INTEGER", "REPEATED"),
        SchemaField(
            "parts",
            "RECORD",
            "REPEATED",
            fields=[SchemaField("made", "RECORD", fields=[SchemaField("on", "DATE")])],
        ),
    ],
)
EVERYTHING = [
    SchemaField("text", "STRING"),
    SchemaField("whole", "INTEGER"),
    SchemaField("real", "FLOAT"),
    SchemaField("truth", "BOOLEAN"),
    SchemaField("local", "DATETIME"),
    SchemaField("instant", "TIMESTAMP"),
    SchemaField("price", "NUMERIC"),
    SchemaField("day", "DATE"),
    SchemaField("tags", "STRING", "REPEATED"),
    SchemaField("times", "TIMESTAMP", "REPEATED"),
    SchemaField(
        "one",
        "RECORD",
        fields=[
            SchemaField("a", "INTEGER"),
            SchemaField("b", "RECORD", fields=[SchemaField("c", "DATETIME")]),
        ],
    ),
    ITEM,
    SchemaField("Straße & Nr-1", "STRING"),
]
MICROSECONDS = pa.timestamp("us")
INSTANT = pa.timestamp("us", "UTC")
WIDE = pa.decimal256(76, 38)
ARROW = pa.schema(
    [
        ("text", pa.string()),
        ("whole", pa.int64()),
        ("real", pa.float64()),
        ("truth", pa.bool_()),
        ("local", MICROSECONDS),
        ("instant", INSTANT),
        ("price", pa.decimal128(38, 9)),
        ("day", pa.date32()),
        ("tags", pa.list_(pa.string())),
        ("times", pa.list_(INSTANT)),
        ("one", pa.struct([("a", pa.int64()), ("b", pa.struct([("c", MICROSECONDS)]))])),
        (
            "items",
            pa.list_(
                pa.struct(
                    [
                        ("sku", pa.string()),
                        ("sizes", pa.list_(pa.int64())),
                        (
                            "parts",
                            pa.list_(pa.struct([("made", pa.struct([("on", pa.date32())]))])),
                        ),
                    ]
                )
            ),
        ),
        ("Straße & Nr-1", pa.string()),
    ]
)
FULL: dict[str, object] = {
    "text": "Zoë, 'quoted' \"\n",
    "whole": 2**63 - 1,
    "real": 0.1,
    "truth": False,
    "local": datetime(2024, 5, 1, 23, 59, 59, 999999),
    "instant": datetime(2024, 5, 1, 12, 0, 0, 1, tzinfo=UTC),
    "price": Decimal("12345678901234567890123456789.123456789"),
    "day": date(1, 1, 1),
    "tags": ["a", ""],
    "times": [datetime(1969, 12, 31, tzinfo=UTC)],
    "one": {"a": -1, "b": {"c": datetime(9999, 12, 31)}},
    "items": [
        {"sku": "s", "sizes": [1, 2], "parts": [{"made": {"on": date(2024, 2, 29)}}]},
        {"sku": None, "sizes": [], "parts": []},
    ],
    "Straße & Nr-1": "Hauptstraße 1",
}
NOTHING: dict[str, object] = {
    name: [] if name in {"tags", "times", "items"} else None for name in FULL
}
