"""Settings that others make on a BigQuery table survive every import."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from google.cloud import bigquery

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.storing import store_shard

DAY = date(2020, 1, 20)
TAG = {"names": ["projects/p/locations/eu/taxonomies/1/policyTags/2"]}
POLICIES = [{"name": "projects/p/locations/eu/dataPolicies/mask"}]
KEYS = {"primaryKey": {"columns": ["id"]}}
ROWS = pa.table(
    {
        "id": ["N1"],
        "email": ["a@example.com"],
        "total": [1],
        "customer": [{"phone": "1", "city": "Köln"}],
        "items": [[{"price": 1}]],
    }
)
EMPTY = ROWS.slice(0, 0)
NEW = ROWS.append_column("coupon", pa.array(["X"]))
NEW_FIELD = ROWS.set_column(
    3, "customer", pa.array([{"phone": "1", "city": "Köln", "zip": "50667"}])
)
WIDER = ROWS.set_column(2, "total", pa.array([1.5]))
WIDER_IN_ARRAY = ROWS.set_column(4, "items", pa.array([[{"price": 1.5}]]))
OTHER_TYPE = ROWS.set_column(2, "total", pa.array(["many"]))
RECORD = ROWS.set_column(1, "email", pa.array([{"to": "a@example.com"}]))
GONE = ROWS.drop_columns(["total"])
PROTECTED_GONE = ROWS.drop_columns(["email"])
NESTED_GONE = ROWS.set_column(3, "customer", pa.array([{"city": "Köln"}]))


@pytest.fixture
def client(bigquery: Emulator) -> bigquery.Client:
    return bigquery.client()


@pytest.fixture
def warehouse(client: bigquery.Client) -> BigQueryWarehouse:
    return BigQueryWarehouse(client)


def snapshot(
    warehouse: BigQueryWarehouse, orders: Table, rows: pa.Table, origin: Origin | None = None
) -> None:
    store_snapshot(warehouse, orders, rows, attempt=uuid4().hex, origin=origin or Origin())


def shard(warehouse: BigQueryWarehouse, orders: Table, rows: pa.Table, day: date = DAY) -> None:
    store_shard(warehouse, orders, day, rows, attempt=uuid4().hex)


def protect(client: bigquery.Client, table: Table) -> None:
    """Set every property of columns and the table that an import does not decide."""
    found = client.get_table(str(table))
    fields = {field["name"]: field for field in found.to_api_repr()["schema"]["fields"]}
    fields["id"] |= {"defaultValueExpression": "'none'", "maxLength": "10", "collation": "und:ci"}
    fields["email"] |= {"policyTags": TAG, "dataPolicies": POLICIES}
    fields["total"] |= {"defaultValueExpression": "0"}
    fields["customer"]["fields"][0] |= {"policyTags": TAG}
    found.schema = list(fields.values())
    found._properties["tableConstraints"] = KEYS
    client.update_table(found, ["schema", "table_constraints"])


@pytest.mark.parametrize("rows", [EMPTY, WIDER_IN_ARRAY, OTHER_TYPE])
def test_a_table_keeps_its_encryption_key(
    warehouse: BigQueryWarehouse, client: bigquery.Client, orders: Table, rows: pa.Table
) -> None:
    snapshot(warehouse, orders, ROWS)
    shard(warehouse, orders, ROWS)
    older = date(2020, 1, 19)
    shard(warehouse, orders, ROWS, older)
    tables = [orders, orders.shard(DAY), orders.shard(older)]
    key = bigquery.EncryptionConfiguration("projects/p/locations/eu/keyRings/r/cryptoKeys/k")
    for table in tables:
        found = client.get_table(str(table))
        found.encryption_configuration = key
        client.update_table(found, ["encryption_configuration"])
    snapshot(warehouse, orders, rows)
    if rows is not OTHER_TYPE:  # a shard refuses this type
        shard(warehouse, orders, rows)
    for table in tables:
        assert client.get_table(str(table)).encryption_configuration == key


def add_row_policy(client: bigquery.Client, table: Table) -> None:
    client.query_and_wait(
        f"CREATE ROW ACCESS POLICY mine ON `{table}` GRANT TO ('user:test@example.com') "
        f"FILTER USING (TRUE)"
    )


def row_policies(client: bigquery.Client, table: Table) -> list[Any]:
    path = f"/projects/{client.project}/datasets/{table.dataset}/tables/{table.name}"
    connection: Any = client._connection
    answer = connection.api_request("GET", f"{path}/rowAccessPolicies")
    return list(answer.get("rowAccessPolicies", []))


def fields(client: bigquery.Client, table: Table) -> dict[str, dict[str, Any]]:
    """The table's fields, nested ones included, by path."""
    found = {}

    def visit(fields: list[Any], path: str) -> None:
        for field in fields:
            found[f"{path}{field['name']}"] = field
            visit(field.get("fields", []), f"{path}{field['name']}.")

    visit(client.get_table(str(table)).to_api_repr()["schema"]["fields"], "")
    return found


def check_protected(client: bigquery.Client, table: Table) -> None:
    by_path = fields(client, table)
    assert by_path["email"]["policyTags"] == TAG
    assert by_path["email"]["dataPolicies"] == POLICIES
    assert by_path["customer.phone"]["policyTags"] == TAG
    assert by_path["id"]["defaultValueExpression"] == "'none'"
    assert by_path["id"]["maxLength"] == "10"
    assert by_path["id"]["collation"] == "und:ci"
    assert client.get_table(str(table)).to_api_repr()["tableConstraints"] == KEYS


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        EMPTY,
        NEW,
        NEW_FIELD,
        WIDER,
        WIDER_IN_ARRAY,
        OTHER_TYPE,
        GONE,
        PROTECTED_GONE,
        NESTED_GONE,
    ],
    ids=[
        "same",
        "empty",
        "new",
        "new_field",
        "wider",
        "array",
        "other_type",
        "gone",
        "protected_gone",
        "nested_gone",
    ],
)
def test_a_snapshot_keeps_policy_tags_keys_and_defaults(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table, rows: pa.Table
) -> None:
    snapshot(warehouse, orders, ROWS)
    protect(client, orders)

    snapshot(warehouse, orders, rows)

    check_protected(client, orders)
    assert client.get_table(str(orders)).num_rows == rows.num_rows
    by_path = fields(client, orders)
    assert ("total" in by_path) is (rows is not GONE)
    if rows is not OTHER_TYPE and rows is not GONE:
        assert by_path["total"]["defaultValueExpression"] == "0"
    # and a protected column that was gone for a day is protected when it comes back
    snapshot(warehouse, orders, ROWS)
    check_protected(client, orders)


@pytest.mark.parametrize(
    "rows", [ROWS, EMPTY, NEW, NEW_FIELD, WIDER], ids=["same", "empty", "new", "field", "wider"]
)
def test_a_day_imported_again_keeps_policy_tags_keys_and_defaults(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table, rows: pa.Table
) -> None:
    later = date(2020, 1, 21)
    shard(warehouse, orders, ROWS)
    shard(warehouse, orders, ROWS, later)
    for day in (DAY, later):
        protect(client, orders.shard(day))

    shard(warehouse, orders, rows)

    for day in (DAY, later):  # the later shard is altered in place
        check_protected(client, orders.shard(day))
        assert fields(client, orders.shard(day))["total"]["defaultValueExpression"] == "0"


@pytest.mark.parametrize(
    "rows",
    [ROWS, EMPTY, NEW, NEW_FIELD, WIDER, GONE, PROTECTED_GONE],
    ids=["same", "empty", "new", "new_field", "wider", "gone", "protected_gone"],
)
def test_a_snapshot_keeps_row_access_policies(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table, rows: pa.Table
) -> None:
    snapshot(warehouse, orders, ROWS)
    protect(client, orders)
    add_row_policy(client, orders)

    snapshot(warehouse, orders, rows)

    assert row_policies(client, orders)
    check_protected(client, orders)
    assert client.get_table(str(orders)).num_rows == rows.num_rows


@pytest.mark.parametrize(
    ("rows", "names"), [(OTHER_TYPE, "total"), (RECORD, "email")], ids=["type", "record"]
)
def test_a_type_that_would_remove_row_access_policies_is_refused(
    client: bigquery.Client,
    warehouse: BigQueryWarehouse,
    orders: Table,
    rows: pa.Table,
    names: str,
) -> None:
    snapshot(warehouse, orders, ROWS)
    add_row_policy(client, orders)

    with pytest.raises(WarehouseFailed, match=f"new type of {names} would remove its row access"):
        snapshot(warehouse, orders, rows)

    assert row_policies(client, orders)
    assert fields(client, orders)[names]["type"] in {"INTEGER", "STRING"}


def test_a_column_with_a_policy_tag_cannot_become_a_record(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    snapshot(warehouse, orders, ROWS)
    protect(client, orders)

    with pytest.raises(WarehouseFailed, match="new type of email cannot have its policy tag"):
        snapshot(warehouse, orders, RECORD)

    check_protected(client, orders)


def test_an_array_is_not_widened_where_that_would_remove_policy_tags(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    shard(warehouse, orders, ROWS)
    protect(client, orders.shard(DAY))

    with pytest.raises(WarehouseFailed, match="the policy tag of email; import its day again"):
        shard(warehouse, orders, WIDER_IN_ARRAY, date(2020, 1, 21))

    check_protected(client, orders.shard(DAY))
    shard(warehouse, orders, WIDER_IN_ARRAY)
    check_protected(client, orders.shard(DAY))
    assert fields(client, orders.shard(DAY))["items.price"]["type"] == "FLOAT"


def test_an_array_that_is_widened_keeps_default_values_and_keys(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    shard(warehouse, orders, ROWS)
    found = client.get_table(str(orders.shard(DAY)))
    schema = found.to_api_repr()["schema"]["fields"]
    schema[0] |= {"defaultValueExpression": "'none'"}
    found.schema = schema
    found._properties["tableConstraints"] = KEYS
    client.update_table(found, ["schema", "table_constraints"])

    shard(warehouse, orders, WIDER_IN_ARRAY, date(2020, 1, 21))

    after = client.get_table(str(orders.shard(DAY))).to_api_repr()
    assert after["schema"]["fields"][0]["defaultValueExpression"] == "'none'"
    assert after["tableConstraints"] == KEYS
    assert fields(client, orders.shard(DAY))["items.price"]["type"] == "FLOAT"


def test_a_changed_description_is_set_and_the_policy_tags_stay(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    snapshot(warehouse, orders, ROWS, Origin(columns={"email": "Of the buyer."}))
    protect(client, orders)

    snapshot(warehouse, orders, ROWS, Origin(columns={"email": "Of the customer."}))

    assert fields(client, orders)["email"]["description"] == "Of the customer."
    check_protected(client, orders)
