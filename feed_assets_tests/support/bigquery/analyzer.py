"""SQL as Google's own analyzer and reference engine understand it.

`check_sql` refuses what BigQuery would refuse before it runs a statement. `evaluate` runs a query
over rows that are given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import cache
from typing import Any, TypeAlias

from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public_options_pb2
from zetasql.wasi._pb2.zetasql.public import type_pb2, value_pb2
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2

from feed_assets_tests.support.bigquery.zetasql_module import ZetaSqlError, zetasql

Fields: TypeAlias = Sequence[Mapping[str, Any]]
"""Columns as BigQuery's API writes them."""
Tables: TypeAlias = Callable[[str], Fields | None]
"""Finds the columns of `project.dataset.table`; None if the table does not exist."""
Row: TypeAlias = dict[str, Any]

KINDS = {
    "INTEGER": "INT64",
    "INT64": "INT64",
    "FLOAT": "DOUBLE",
    "FLOAT64": "DOUBLE",
    "BOOLEAN": "BOOL",
    "BOOL": "BOOL",
    "NUMERIC": "NUMERIC",
    "BIGNUMERIC": "BIGNUMERIC",
    "STRING": "STRING",
    "BYTES": "BYTES",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "DATETIME",
    "TIMESTAMP": "TIMESTAMP",
    "JSON": "JSON",
    "GEOGRAPHY": "GEOGRAPHY",
}
# https://cloud.google.com/bigquery/docs/information-schema-tables
# https://cloud.google.com/bigquery/docs/information-schema-columns
INFORMATION_SCHEMA = {
    "TABLES": {
        "table_catalog": "STRING",
        "table_schema": "STRING",
        "table_name": "STRING",
        "table_type": "STRING",
        "managed_table_type": "STRING",
        "is_insertable_into": "STRING",
        "is_fine_grained_mutations_enabled": "STRING",
        "is_typed": "STRING",
        "is_change_history_enabled": "STRING",
        "creation_time": "TIMESTAMP",
        "base_table_catalog": "STRING",
        "base_table_schema": "STRING",
        "base_table_name": "STRING",
        "snapshot_time_ms": "TIMESTAMP",
        "ddl": "STRING",
        "default_collation_name": "STRING",
    },
    "COLUMNS": {
        "table_catalog": "STRING",
        "table_schema": "STRING",
        "table_name": "STRING",
        "column_name": "STRING",
        "ordinal_position": "INTEGER",
        "is_nullable": "STRING",
        "data_type": "STRING",
        "is_generated": "STRING",
        "generation_expression": "STRING",
        "is_stored": "STRING",
        "is_hidden": "STRING",
        "is_updatable": "STRING",
        "is_system_defined": "STRING",
        "is_partitioning_column": "STRING",
        "clustering_ordinal_position": "INTEGER",
        "collation_name": "STRING",
        "column_default": "STRING",
        "rounding_mode": "STRING",
        "policy_tags": "STRING",
    },
}
LISTING = {
    "project_id": "STRING",
    "dataset_id": "STRING",
    "table_id": "STRING",
    "creation_time": "INTEGER",
    "last_modified_time": "INTEGER",
    "row_count": "INTEGER",
    "size_bytes": "INTEGER",
    "type": "INTEGER",
}
"""Columns of `__TABLES__`, as BigQuery's console shows them.

https://github.com/googleapis/google-cloud-go/issues/1103
"""
SUFFIX = "_TABLE_SUFFIX"
# Parts of ZetaSQL that BigQuery does not have: no type has them in
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#data_type_properties and
# no statement in .../query-syntax and .../dml-syntax.
ABSENT = (
    "ARRAY_EQUALITY",
    "ARRAY_ORDERING",
    "ARRAY_GREATEST_LEAST",
    "JSON_TYPE_COMPARISON",
    "MAP_TYPE",
    "UUID_TYPE",
    "BARE_ARRAY_ACCESS",
    "DML_RETURNING",
    "INSERT_ON_CONFLICT_CLAUSE",
    "NESTED_UPDATE_DELETE_WITH_OFFSET",
    "LATERAL_COLUMN_REFERENCES",
    "FOR_UPDATE",
    "TIMESTAMP_NANOS",
    "TIMESTAMP_PICOS",
)
PRESENT = ("ALTER_COLUMN_SET_DATA_TYPE", "ALTER_TABLE_RENAME_COLUMN")


class SqlRefused(Exception):
    """Google's analyzer refuses a statement, in its own words."""


class TableMissing(Exception):
    """A statement names a table that does not exist."""


def check_sql(sql: str, tables: Tables, project: str) -> None:
    """Analyze each statement of a script. Raises SqlRefused, TableMissing.

    `tables` finds a table by its full name, or a wildcard table by its name with `*`.
    """
    made: dict[str, Fields] = {}
    variables: dict[str, Any] = {}

    def known(name: str) -> Fields | None:
        return made.get(name) or tables(name)

    for statement in statements(sql):
        if variable := _DECLARE.fullmatch(statement):
            value = variable["default"] or f"CAST(NULL AS {variable['type']})"
            resolved = _analyzed(f"SELECT {value}", known, project, variables)
            kind = resolved.resolved_query_stmt_node.output_column_list[0].column.type
            for name in variable["names"].split(","):
                variables[name.strip()] = kind
        elif assigned := _SET.fullmatch(statement):
            _analyzed(f"SELECT {assigned['value']}", known, project, variables)
        elif not _CONTROL.fullmatch(statement):
            created = _created(_analyzed(statement, known, project, variables))
            made |= {_full(name.split("."), project): fields for name, fields in created.items()}


def output_fields(sql: str, tables: Tables, project: str) -> list[Row]:
    """Return the columns of a query's result. Raises SqlRefused, TableMissing."""
    query = _analyzed(sql, tables, project, {}).resolved_query_stmt_node
    return [_field(column.name, column.column.type) for column in query.output_column_list]


def evaluate(sql: str, contents: Mapping[str, tuple[Fields, Sequence[Row]]]) -> list[Row]:
    """Run a query on the reference engine, over tables of these columns and rows.

    Tables have the names that the query uses, `project.dataset.table` or `dataset.table`, in the
    order of their creation; `prefix_*` reads those that match, as BigQuery does. Values are
    Python's, as `list_rows` gives them. Raises SqlRefused, TableMissing.
    """

    def table(name: str) -> tuple[Fields, Sequence[Row]] | None:
        if not name.endswith("*"):
            return contents.get(name)
        shards = [each for each in contents if each.startswith(name[:-1]) and each != name[:-1]]
        if not shards:
            return None
        rows = [
            row | {SUFFIX: each.removeprefix(name[:-1])}
            for each in shards
            for row in contents[each][1]
        ]
        return contents[shards[-1]][0], rows

    catalog = simple_catalog_pb2.SimpleCatalogProto(name="evaluated")
    catalog.builtin_function_options.language_options.CopyFrom(_options().language_options)
    request = service.EvaluateQueryRequest(sql=sql, options=_options())
    for path in _paths(sql):
        name = ".".join(path)
        if (found := table(name)) is None:
            raise TableMissing(name)
        _add_table(catalog, path, found[0])
        data = request.table_content[path[-1]].table_data
        data.SetInParent()  # also without a row
        columns = [*found[0], *_pseudo_columns(name)]
        for row in found[1]:
            cells = data.row.add().cell
            for column in columns:
                cells.append(_value(row.get(column["name"]), column))
    request.simple_catalog.CopyFrom(catalog)
    answer = _call("EvaluateQuery", request, service.EvaluateQueryResponse)
    names = [(column.name, column.type) for column in answer.prepared.columns]
    return [
        {name: _python(cell, kind) for (name, kind), cell in zip(names, row.cell, strict=True)}
        for row in answer.content.table_data.row
    ]


def statements(sql: str) -> Iterator[str]:
    """Split a script into its statements, also those inside of its blocks and conditions."""
    plain, names = _without_random_names(sql)
    for statement in _statements(plain):
        yield _with_random_names(statement, names)


@cache
def _statements(sql: str) -> list[str]:
    request = service.ParseRequest(
        sql_statement=sql, options=_options().language_options, allow_script=True
    )
    script = _call("Parse", request, service.ParseResponse).parsed_script
    text = sql.encode()
    return [text[start:end].decode().strip().rstrip(";").strip() for start, end in _leaves(script)]


_DECLARE = re.compile(
    r"DECLARE\s+(?P<names>\w+(?:\s*,\s*\w+)*)\s+(?P<type>.*?)\s*(?:\bDEFAULT\b(?P<default>.*))?",
    re.DOTALL | re.IGNORECASE,
)
_SET = re.compile(r"SET\s+\w+\s*=(?P<value>.*)", re.DOTALL | re.IGNORECASE)
_CONTROL = re.compile(r"(RAISE|RETURN|LEAVE|BREAK|CONTINUE|ITERATE)\b.*", re.DOTALL | re.IGNORECASE)


def _leaves(node: Any) -> Iterator[tuple[int, int]]:
    """Find where the statements are that have no statements in them."""
    lists = list(_statement_lists(node))
    for each in lists:
        for statement in each.statement_list:
            if list(_statement_lists(statement)):
                yield from _leaves(statement)
            else:
                yield _place(statement)


def _statement_lists(node: Any) -> Iterator[Any]:
    """Find the outermost lists of statements in a part of a parsed script."""
    for field, value in node.ListFields():
        if field.message_type is None:
            continue
        for each in value if field.is_repeated else [value]:
            if each.DESCRIPTOR.name == "ASTStatementListProto":
                yield each
            else:
                yield from _statement_lists(each)


def _place(node: Any) -> tuple[int, int]:
    """Return the bytes of the script that a parsed node stands for."""
    for field, value in node.ListFields():
        if field.name == "parse_location_range":
            return value.start, value.end
        if field.message_type is not None and (
            field.name == "parent" or field.containing_oneof is not None
        ):
            return _place(value)
    raise AssertionError(f"no place is known of {node}")


def _analyzed(sql: str, tables: Tables, project: str, variables: Mapping[str, Any]) -> Any:
    """Analyze one statement, or remember what came of the same statement over the same columns."""
    found: dict[tuple[str, ...], Fields] = {}
    for path in _paths(sql):
        full = _full(path, project)
        fields = _information_schema(full) or tables(full)
        if fields is None:
            raise TableMissing(full)
        found[path] = fields
    all_of_it = json.dumps([sql, [*found.items()], [(k, str(v)) for k, v in variables.items()]])
    shape, _ = _without_random_names(all_of_it, _RANDOM_IN_VALUES)
    if shape not in _SEEN:
        _SEEN[shape] = _analyze(sql, found, variables)
    resolved = _SEEN[shape]
    if isinstance(resolved, SqlRefused):
        raise SqlRefused(f"{resolved}; the statement is: {sql}")
    return resolved


_SEEN: dict[str, Any] = {}


def _analyze(
    sql: str, found: Mapping[tuple[str, ...], Fields], variables: Mapping[str, Any]
) -> Any:
    catalog = simple_catalog_pb2.SimpleCatalogProto(name="analyzed")
    catalog.builtin_function_options.language_options.CopyFrom(_options().language_options)
    for path, fields in found.items():
        _add_table(catalog, path, fields)
    for name, kind in variables.items():
        constant = catalog.constant.add(name_path=[name])
        constant.type.CopyFrom(kind)
    request = service.AnalyzeRequest(sql_statement=sql, options=_options(), simple_catalog=catalog)
    if "?" in sql:
        request.options.parameter_mode = public_options_pb2.PARAMETER_POSITIONAL
    try:
        return _call("Analyze", request, service.AnalyzeResponse).resolved_statement
    except SqlRefused as refused:
        return refused


def _paths(sql: str) -> list[tuple[str, ...]]:
    """Return the names of the tables that a statement reads or changes, in its own parts."""
    plain, names = _without_random_names(sql)
    return [tuple(_with_random_names(part, names) for part in path) for path in _plain_paths(plain)]


@cache
def _plain_paths(sql: str) -> list[tuple[str, ...]]:
    request = service.ExtractTableNamesFromStatementRequest(
        sql_statement=sql, options=_options().language_options
    )
    answer = _call(
        "ExtractTableNamesFromStatement",
        request,
        service.ExtractTableNamesFromStatementResponse,
    )
    found = [tuple(name.table_name_segment) for name in answer.table_name]
    if altered := _ALTERED.match(sql):  # ZetaSQL does not list it
        found.append(tuple(part.strip("`") for part in _PARTS.findall(altered["name"])))
    return found


_RANDOM = re.compile(r"(?<=_)[0-9a-f]{12,}(?:_\d{1,3}\b)?")
"""The parts of a dataset's name that differ from test to test."""
_RANDOM_IN_VALUES = re.compile(
    rf"{_RANDOM.pattern}|\b\d{{4}}-\d\d-\d\d\b|(?<=_)\d{{8}}\b|'[0-9a-f][0-9a-f .-]{{16,}}'"
)
"""These, days in literals and in names of shards, and texts that identify a load."""


def _without_random_names(
    text: str, random: re.Pattern[str] = _RANDOM
) -> tuple[str, dict[str, str]]:
    """Number the random parts of names, so that the statements of many tests are the same.

    Return the text, as long as it was, and what each number replaces.
    """
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"{len(numbers):x}".rjust(len(match[0]), "z"))

    return random.sub(number, text), {short: name for name, short in numbers.items()}


def _with_random_names(text: str, names: Mapping[str, str]) -> str:
    return _NUMBERED.sub(lambda match: names.get(match[0], match[0]), text)


_NUMBERED = re.compile(r"z{8,}[0-9a-f]+")
_PARTS = re.compile(r"`[^`]+`|[^.`]+")
_ALTERED = re.compile(
    r"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<name>(?:`[^`]+`|[\w-]+)(?:\.(?:`[^`]+`|[\w-]+))*)",
    re.IGNORECASE,
)


def _full(path: Sequence[str], project: str) -> str:
    """Return `project.dataset.table`; a table of a script has its bare name."""
    parts = ".".join(path).split(".")
    qualified = 3 + ("INFORMATION_SCHEMA" in parts)
    return ".".join(parts if len(parts) in {1, qualified} else [project, *parts])


def _information_schema(name: str) -> Fields | None:
    *_, of, view = ["", *name.split(".")]
    if view == "__TABLES__":
        return [{"name": n, "type": kind} for n, kind in LISTING.items()]
    if of != "INFORMATION_SCHEMA":
        return None
    return [{"name": n, "type": kind} for n, kind in INFORMATION_SCHEMA[view].items()]


def _created(resolved: Any) -> dict[str, list[Row]]:
    """Return the columns of the table that a statement creates, by the name it gives."""
    node = resolved
    while inner := node.WhichOneof("node") if "node" in node.DESCRIPTOR.oneofs_by_name else None:
        node = getattr(node, inner)
    columns = getattr(node, "column_definition_list", None)
    if columns is None:
        columns = getattr(getattr(node, "parent", None), "column_definition_list", ())
    if not columns:
        return {}
    while "name_path" not in node.DESCRIPTOR.fields_by_name:
        node = node.parent
    fields = [_field(column.name, column.type) for column in columns]
    return {".".join(node.name_path): fields}


# --- ZetaSQL's own words


def _call(method: str, request: Any, answer: Any) -> Any:
    try:
        return zetasql().call(method, request, answer)
    except ZetaSqlError as problem:
        raise SqlRefused(str(problem).split("\n", maxsplit=1)[0]) from None


@cache
def _options() -> Any:
    """Return the language as BigQuery has it, as far as ZetaSQL's switches say it."""
    asked = service.LanguageOptionsRequest(maximum_features=True)
    language = zetasql().call("GetLanguageOptions", asked, options_pb2.LanguageOptionsProto)
    language.product_mode = public_options_pb2.PRODUCT_EXTERNAL
    switches = public_options_pb2.LanguageFeature.Value
    absent = {switches(f"FEATURE_{name}") for name in ABSENT}
    features = {each for each in language.enabled_language_features if each not in absent}
    features |= {switches(f"FEATURE_{name}") for name in PRESENT}
    del language.enabled_language_features[:]
    language.enabled_language_features.extend(sorted(features))
    kinds = resolved_node_kind_pb2.ResolvedNodeKind.items()
    language.supported_statement_kinds.extend(n for name, n in kinds if name.endswith("_STMT"))
    return options_pb2.AnalyzerOptionsProto(
        language_options=language, allow_undeclared_parameters=True
    )


def _add_table(catalog: Any, path: Sequence[str], fields: Fields) -> None:
    for name in path[:-1]:
        inner = [each for each in catalog.catalog if each.name == name]
        catalog = inner[0] if inner else catalog.catalog.add(name=name)
    if any(table.name == path[-1] for table in catalog.table):
        return
    table = catalog.table.add(name=path[-1])
    for field in (*fields, *_pseudo_columns(path[-1])):
        column = table.column.add(name=field["name"], is_pseudo_column=field["name"] == SUFFIX)
        column.type.CopyFrom(_type(field))


def _pseudo_columns(table: str) -> Fields:
    """https://cloud.google.com/bigquery/docs/querying-wildcard-tables#filter"""
    return [{"name": SUFFIX, "type": "STRING"}] if table.endswith("*") else []


def _type(field: Mapping[str, Any]) -> Any:
    if field.get("mode") == "REPEATED":
        found = type_pb2.TypeProto(type_kind=type_pb2.TYPE_ARRAY)
        found.array_type.element_type.CopyFrom(_type({**field, "mode": "NULLABLE"}))
        return found
    if field["type"] in {"RECORD", "STRUCT"}:
        found = type_pb2.TypeProto(type_kind=type_pb2.TYPE_STRUCT)
        for part in field["fields"]:
            inner = found.struct_type.field.add(field_name=part["name"])
            inner.field_type.CopyFrom(_type(part))
        return found
    return type_pb2.TypeProto(type_kind=type_pb2.TypeKind.Value(f"TYPE_{KINDS[field['type']]}"))


def _field(name: str, kind: Any) -> Row:
    """Return a column as BigQuery's API writes it."""
    which = type_pb2.TypeKind.Name(kind.type_kind).removeprefix("TYPE_")
    if which == "ARRAY":
        return {**_field(name, kind.array_type.element_type), "mode": "REPEATED"}
    if which == "STRUCT":
        inside = [_field(part.field_name, part.field_type) for part in kind.struct_type.field]
        return {"name": name, "type": "RECORD", "fields": inside}
    return {"name": name, "type": next(api for api, own in KINDS.items() if own == which)}


# --- values


_EPOCH = date(1970, 1, 1)
_SCALES = {"NUMERIC": 9, "BIGNUMERIC": 38}
_EXACT = Context(prec=80)


def _value(value: Any, field: Mapping[str, Any]) -> Any:
    found = value_pb2.ValueProto()
    if field.get("mode") == "REPEATED":
        single = {**field, "mode": "NULLABLE"}
        found.array_value.element.extend(_value(each, single) for each in value or ())
        found.array_value.SetInParent()
    elif value is None:
        pass
    elif field["type"] in {"RECORD", "STRUCT"}:
        parts = (_value(value.get(part["name"]), part) for part in field["fields"])
        found.struct_value.field.extend(parts)
        found.struct_value.SetInParent()
    else:
        _WRITE[KINDS[field["type"]]](found, value)
    return found


def _write_timestamp(found: Any, value: datetime) -> None:
    found.timestamp_value.FromDatetime(value.astimezone(UTC).replace(tzinfo=None))


def _write_datetime(found: Any, value: datetime) -> None:
    days = (value.year << 9) | (value.month << 5) | value.day
    seconds = (value.hour << 12) | (value.minute << 6) | value.second
    found.datetime_value.bit_field_datetime_seconds = (days << 17) | seconds
    found.datetime_value.nanos = value.microsecond * 1000


def _write_time(found: Any, value: time) -> None:
    seconds = (value.hour << 12) | (value.minute << 6) | value.second
    found.time_value = (seconds << 30) | value.microsecond * 1000


def _decimal(value: Decimal, kind: str) -> bytes:
    number = int(_EXACT.scaleb(value, _SCALES[kind]))
    return number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)


_WRITE: dict[str, Callable[[Any, Any], None]] = {
    "INT64": lambda found, value: setattr(found, "int64_value", value),
    "DOUBLE": lambda found, value: setattr(found, "double_value", value),
    "BOOL": lambda found, value: setattr(found, "bool_value", value),
    "STRING": lambda found, value: setattr(found, "string_value", value),
    "BYTES": lambda found, value: setattr(found, "bytes_value", value),
    "JSON": lambda found, value: setattr(found, "json_value", value),
    "DATE": lambda found, value: setattr(found, "date_value", (value - _EPOCH).days),
    "TIME": _write_time,
    "DATETIME": _write_datetime,
    "TIMESTAMP": _write_timestamp,
    "NUMERIC": lambda found, value: setattr(found, "numeric_value", _decimal(value, "NUMERIC")),
    "BIGNUMERIC": lambda found, value: setattr(
        found, "bignumeric_value", _decimal(value, "BIGNUMERIC")
    ),
}


def _python(value: Any, kind: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return [_python(each, kind.array_type.element_type) for each in value.array_value.element]
    if which == "struct_value":
        parts = zip(kind.struct_type.field, value.struct_value.field, strict=True)
        return {part.field_name: _python(each, part.field_type) for part, each in parts}
    return _READ.get(which, lambda same: same)(getattr(value, which))


def _read_datetime(value: Any) -> datetime:
    bits = value.bit_field_datetime_seconds
    days = bits >> 17
    return datetime(
        days >> 9,
        days >> 5 & 15,
        days & 31,
        bits >> 12 & 31,
        bits >> 6 & 63,
        bits & 63,
        value.nanos // 1000,
    )


def _read_time(value: int) -> time:
    bits = value >> 30
    return time(bits >> 12, bits >> 6 & 63, bits & 63, (value & (1 << 30) - 1) // 1000)


def _read_decimal(kind: str) -> Callable[[bytes], Decimal]:
    return lambda value: _EXACT.scaleb(int.from_bytes(value, "little", signed=True), -_SCALES[kind])


_READ: dict[str, Callable[[Any], Any]] = {
    "date_value": lambda value: _EPOCH + timedelta(days=value),
    "time_value": _read_time,
    "datetime_value": _read_datetime,
    "timestamp_value": lambda value: value.ToDatetime(UTC),
    "numeric_value": _read_decimal("NUMERIC"),
    "bignumeric_value": _read_decimal("BIGNUMERIC"),
}
