"""The API's methods of tables."""

from bqemulator.api.routes.tabledata import list_tabledata
from bqemulator.api.routes.tables import _anonymous_result_table_to_rest
from bqemulator.catalog.models import TableSchema
from bqemulator.domain.errors import (
    AlreadyExistsError,
    ValidationError,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from feed_assets_tests.support.bigquery.emulator_catalog import ENCRYPTION, EXTRAS, instant
from feed_assets_tests.support.bigquery.emulator_queries import Queries
from feed_assets_tests.support.bigquery.emulator_types import (
    JSON,
    Field,
    Key,
    PreconditionFailedError,
    extended,
    fields_of,
    projection,
    properties_of,
)


class Tables(Queries):
    """Create, get, update and delete tables; list their rows."""

    async def create_table(self, request: Request) -> Response:
        body = await request.json()
        key = Key(**request.path_params, table=body["tableReference"]["tableId"])
        if self.catalog.get_table(*key) is not None:
            raise AlreadyExistsError(f"Already Exists: Table {key}")
        if view := body.get("view"):
            meta = await self.create_view(key, view["query"], body)
        else:
            meta = self.new(key, body)
            columns = meta.schema_.fields or (Field(name="no column yet", type="STRING"),)
            self.fill(key, f"SELECT {projection((), columns)} LIMIT 0")
            meta = self.save(meta)
            self.properties[key] = properties_of(body.get("schema"))
            if "tableConstraints" in body:
                self.constraints[key] = body["tableConstraints"]
        self.extras[key] = {name: body[name] for name in EXTRAS if name in body}
        return JSONResponse(self.resource(meta))

    async def get_table(self, request: Request) -> Response:
        key = Key(**request.path_params)
        if key.dataset == "_bqemu_anonymous":
            return JSONResponse(_anonymous_result_table_to_rest(*key))
        return JSONResponse(self.resource(self.find(key)))

    async def patch_table(self, request: Request) -> Response:
        key = Key(**request.path_params)
        meta = self.find(key)
        body = await request.json()
        # "The changes will only be saved if no modifications to the table occurred":
        # https://cloud.google.com/python/docs/reference/bigquery/latest/google.cloud.bigquery.client.Client#google_cloud_bigquery_client_Client_update_table
        if request.headers.get("if-match", meta.etag) != meta.etag:
            raise PreconditionFailedError(f"Precondition Failed: {key} has another etag")
        handled = {"tableReference", "etag", "schema", "labels", "view", "expirationTime"}
        handled |= {"tableConstraints", *EXTRAS}
        if unknown := body.keys() - handled - {"description", "friendlyName"}:
            raise ValidationError(f"not emulated in an update of a table: {sorted(unknown)}")
        changes: JSON = {}
        self.extras.setdefault(key, {}).update({n: body[n] for n in EXTRAS if n in body})
        if "description" in body:
            changes["description"] = body["description"]
        if "friendlyName" in body:
            changes["friendly_name"] = body["friendlyName"]
        if "expirationTime" in body:
            changes["expiration_time"] = instant(body["expirationTime"])
        if "labels" in body:
            # A label that is null goes away:
            # https://cloud.google.com/bigquery/docs/deleting-labels
            labels = meta.labels | (body["labels"] or {})
            changes["labels"] = {k: v for k, v in labels.items() if v is not None}
        if "tableConstraints" in body:
            self.constraints[key] = body["tableConstraints"]
        if body.get("schema"):
            # What is left out goes. Of policy tags the documents say both, this and that they stay.
            # https://github.com/googleapis/python-bigquery/issues/981
            self.properties[key] = properties_of(body["schema"])
        if view := body.get("view"):
            # "The reported schema will remain inaccurate until the view SQL definition is changed":
            # https://cloud.google.com/bigquery/docs/views#view_limitations
            if view["query"] != meta.view_query:
                meta = await self.create_view(key, view["query"], body, meta)
        elif body.get("schema"):
            fields = extended(meta.schema_.fields, fields_of(body["schema"]), key)
            if meta.view_query is None:
                meta = self.reshape(key, meta, fields)
            else:  # a view: only the descriptions of its columns
                changes["schema_"] = TableSchema(fields=fields)
        return JSONResponse(self.resource(self.save(meta, **changes)))

    async def delete_table(self, request: Request) -> Response:
        key = Key(**request.path_params)
        meta = self.find(key)
        if meta.view_query is None:
            self.sql(f"DROP TABLE {key.sql}")
        self.catalog.delete_table(*key)
        self.unprotect(key, {})
        self.extras.pop(key, None)
        self.renamed.discard(key)
        return Response(status_code=204)

    def unprotect(self, key: Key, config: JSON) -> None:
        """Forget what a truncating job removes: the properties of fields, keys, row policies.

        Its own encryption is the table's: without a key, "switch a table to default encryption",
        https://cloud.google.com/bigquery/docs/customer-managed-encryption#change_to_default_encryption

        "Overwrites the data, removes the constraints and uses the schema from the load job",
        https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
        policy tags: https://cloud.google.com/bigquery/docs/column-level-security-writes
        row access policies, and that the table's description and labels stay, measured on
        BigQuery by others: https://github.com/dlt-hub/dlt/pull/4130
        """
        self.properties.pop(key, None)
        self.constraints.pop(key, None)
        extras = self.extras.setdefault(key, {})
        extras.pop(ENCRYPTION, None)
        if destination := config.get("destinationEncryptionConfiguration"):
            extras[ENCRYPTION] = destination
        for policy in self.context.row_access.list_for_table(*key):
            self.context.row_access.delete(
                project_id=key.project,
                dataset_id=key.dataset,
                table_id=key.table,
                policy_id=policy.policy_id,
            )

    async def list_rows(self, request: Request) -> Response:
        key = Key(**request.path_params)
        # https://cloud.google.com/bigquery/docs/views#view_limitations
        if self.find(key).view_query is not None:
            raise ValidationError("Cannot list a table of type VIEW.")
        asked = request.query_params
        return JSONResponse(
            list_tabledata(
                *key,
                self.context,
                maxResults=int(asked.get("maxResults", 10_000)),
                startIndex=int(asked.get("startIndex", 0)),
                pageToken=asked.get("pageToken"),
                selectedFields=asked.get("selectedFields"),
            )
        )
