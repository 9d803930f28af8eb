"""Requests against Google's own descriptions of its APIs, which the emulator follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest

from feed_assets_tests.support.bigquery.discovery import NotInApi, api
from feed_assets_tests.support.bigquery.emulator import Emulator

JOBS = "/bigquery/v2/projects/p-1/jobs"
TABLE = "/bigquery/v2/projects/p-1/datasets/crm/tables/orders"
QUERY = {"configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}}}


def load(**fields: Any) -> Any:
    return {"configuration": {"load": {"writeDisposition": "WRITE_TRUNCATE", **fields}}}


PASSES = [
    ("bigquery.v2", "POST", JOBS, QUERY),
    ("bigquery.v2", "POST", f"{JOBS}?prettyPrint=false", load(maxBadRecords=0)),
    ("bigquery.v2", "GET", f"{JOBS}?projection=full&allUsers=True", None),
    ("bigquery.v2", "GET", f"{TABLE}/data?maxResults=5&formatOptions.useInt64Timestamp=true", None),
    ("bigquery.v2", "PATCH", TABLE, {"description": None, "expirationTime": "5"}),
    ("bigquery.v2", "PATCH", TABLE, {"labels": {"any": "name"}, "expirationTime": 5}),
    ("bigquery.v2", "POST", f"/upload{JOBS}?uploadType=resumable", load()),
    ("bigquery.v2", "PUT", f"/upload{JOBS}?uploadType=resumable&upload_id=a", None),
    ("storage.v1", "GET", "/storage/v1/b/bucket/o?prefix=2020&projection=noAcl", None),
    ("storage.v1", "DELETE", "/storage/v1/b/bucket/o/folder%2Fname", None),
    ("storage.v1", "POST", "/upload/storage/v1/b/bucket/o?uploadType=resumable", {"name": "a"}),
]
FAILS = [
    ("bigquery.v2", "PUT", JOBS, QUERY, "is not a method"),
    ("bigquery.v2", "POST", "/bigquery/v2/projects/p-1/job", QUERY, "is not a method"),
    ("bigquery.v2", "POST", f"{JOBS}?dryRun=true", QUERY, "has no parameter dryRun"),
    ("bigquery.v2", "GET", f"{TABLE}?location=EU", None, "has no parameter location"),
    ("bigquery.v2", "GET", f"{TABLE}/data?maxResults=many", None, "cannot be 'many'"),
    ("bigquery.v2", "GET", f"{JOBS}?projection=FULL", None, "cannot be 'FULL'"),
    ("bigquery.v2", "GET", f"{JOBS}/a?location=EU&location=US", None, "given 2 times"),
    ("bigquery.v2", "POST", JOBS, {"config": {}}, "has no field config"),
    ("bigquery.v2", "POST", JOBS, load(jobTimeoutMs="1"), "load has no field jobTimeoutMs"),
    ("bigquery.v2", "POST", JOBS, load(maxBadRecords="none"), "is not of type integer"),
    ("bigquery.v2", "POST", JOBS, load(sourceUris="gs://a/b"), "is not of type array"),
    ("bigquery.v2", "POST", JOBS, load(schema={"fields": [{"nam": "a"}]}), "has no field nam"),
    ("bigquery.v2", "POST", JOBS, {**QUERY, "status": {}}, "status is for answers only"),
    ("bigquery.v2", "PATCH", TABLE, {"numRows": "5"}, "numRows is for answers only"),
    ("bigquery.v2", "PATCH", TABLE, {"expirationTime": "soon"}, "is not of type string"),
    ("bigquery.v2", "PATCH", TABLE, None, "needs a body"),
    ("bigquery.v2", "GET", TABLE, {"a": 1}, "takes no body"),
    ("bigquery.v2", "POST", f"/upload{JOBS}?uploadType=resumable", {"a": 1}, "has no field a"),
    ("bigquery.v2", "PATCH", f"/upload{TABLE}", {}, "takes no upload"),
    ("bigquery.v2", "PUT", f"/upload{JOBS}?upload_id=a&name=b", None, "under its upload_id"),
    ("storage.v1", "GET", "/storage/v1/b/bucket/o?prefixes=2020", None, "parameter prefixes"),
    ("storage.v1", "POST", "/upload/storage/v1/b/bucket/o", {"names": "a"}, "no field names"),
]


def encoded(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


@pytest.mark.parametrize(("name", "method", "target", "body"), PASSES)
def test_a_request_that_the_api_describes_passes(
    name: str, method: str, target: str, body: Any
) -> None:
    api(name).check(method, target, encoded(body))


@pytest.mark.parametrize(("name", "method", "target", "body", "message"), FAILS)
def test_each_seeded_error_is_found(
    name: str, method: str, target: str, body: Any, message: str
) -> None:
    test_a_request_that_the_api_describes_passes(*PASSES[0])
    with pytest.raises(NotInApi, match=message):
        api(name).check(method, target, encoded(body))


def test_an_error_is_found_in_a_request_of_a_shape_that_has_passed() -> None:
    tables = "/bigquery/v2/projects/p-1/datasets/crm/tables"
    api("bigquery.v2").check("POST", tables, encoded({"expirationTime": "1"}))
    with pytest.raises(NotInApi, match="is not of type string"):
        api("bigquery.v2").check("POST", tables, encoded({"expirationTime": "soon"}))
    api("bigquery.v2").check("POST", JOBS, encoded(load(columnNameCharacterMap="V1")))
    with pytest.raises(NotInApi, match="is not of type string"):
        api("bigquery.v2").check("POST", JOBS, encoded(load(columnNameCharacterMap="")))


def test_the_job_of_an_upload_in_two_parts_is_checked() -> None:
    def multipart(job: Any) -> bytes:
        head = b"--x\r\ncontent-type: application/json\r\n\r\n"
        return head + encoded(job) + b"\r\n--x\r\ncontent-type: */*\r\n\r\nPAR1\r\n--x--"

    target, kind = f"/upload{JOBS}?uploadType=multipart", 'multipart/related; boundary="x"'
    api("bigquery.v2").check("POST", target, multipart(load()), kind)
    with pytest.raises(NotInApi, match="load has no field schemas"):
        api("bigquery.v2").check("POST", target, multipart(load(schemas={})), kind)


def test_the_emulator_refuses_what_the_api_does_not_have(bigquery: Emulator) -> None:
    connection = bigquery.client()._connection
    with pytest.raises(BadRequest, match="has no field names"):
        connection.api_request(  # type: ignore[no-untyped-call]
            "POST", "/projects/test-project/datasets", data={"names": "a"}
        )
