"""Each column type is one entry of a registry; every table of types is derived from it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from feed_assets.config.feed import Feed
from feed_assets.ndjson.datatypes.kinds import BY_NAME as DECLARED
from feed_assets.schema.columns import Column, columns_of
from feed_assets.schema.datatypes import BY_NAME, DATATYPES, DataType, find_datatype
from feed_assets.warehouse.bigquery.schema import columns_from
from feed_assets.warehouse.bigquery.schema import sql_type as bigquery_type
from feed_assets.warehouse.duckdb.schema import sql_type as duckdb_type

EACH = pytest.mark.parametrize("datatype", DATATYPES, ids=lambda each: each.name)


@EACH
def test_a_type_survives_conversion_to_arrow_and_back(datatype: DataType) -> None:
    columns = (
        Column("c", datatype.name),
        Column("l", datatype.name, repeated=True),
        Column("r", "RECORD", fields=(Column("f", datatype.name),)),
    )
    assert columns_of(pa.schema([each.arrow_field for each in columns])) == columns


@EACH
def test_a_type_can_be_declared_and_read(datatype: DataType) -> None:
    assert DECLARED[datatype.name].arrow == datatype.arrow


@EACH
def test_a_type_has_a_name_in_each_warehouse(datatype: DataType) -> None:
    column = Column("c", datatype.name)
    assert duckdb_type(column) == datatype.duckdb
    field = {"name": "c", "type": bigquery_type(column), "mode": "NULLABLE"}
    assert columns_from([field]) == (column,)


def test_no_two_types_claim_one_arrow_type() -> None:
    for datatype in DATATYPES:
        claims = [each.name for each in DATATYPES if each.holds(datatype.arrow)]
        assert claims[0] == ("STRING" if datatype.is_text else datatype.name)


def test_a_wider_type_is_a_type_that_does_not_widen() -> None:
    for datatype in DATATYPES:
        if datatype.widens_to:
            assert not BY_NAME[datatype.widens_to].widens_to


@pytest.mark.parametrize("written", ["numeric", " NUMERIC ", "Numeric"])
def test_a_feed_has_one_code_version_however_a_type_is_written(written: str) -> None:
    def declared(total: str, id_type: str) -> Feed:
        types = {"total": total, "id": id_type}
        return Feed(name="orders", url="https://example.com/feed", dataset="crm", types=types)

    feed, canonical = declared(written, "int64"), declared("NUMERIC", "INTEGER")
    assert feed.types == {"total": "NUMERIC", "id": "INTEGER"}
    assert feed.code_version == canonical.code_version
    assert feed.fingerprint == canonical.fingerprint


def test_other_names_are_not_types() -> None:
    assert find_datatype("MONEY") is None
    assert find_datatype("RECORD") is None
