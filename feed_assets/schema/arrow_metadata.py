"""Store the feed's key and the type of text in the metadata of an Arrow field."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa

_KEY = b"feed_assets.key"
_TEXT = b"feed_assets.text"
_MAX_STORED = 900  # characters
_DIGEST = "sha256:"


def shorten_key(key: str) -> str:
    """Return the key to store with its column, or a digest of a key that is too long.

    In BigQuery it is JSON in a description of at most 1,024 characters, beside other notes.
    https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
    """
    if len(json.dumps(key)) <= _MAX_STORED and not key.startswith(_DIGEST):
        return key
    return _DIGEST + hashlib.sha256(key.encode()).hexdigest()


def keyed_field(name: str, kind: pa.DataType, key: str | None) -> pa.Field:
    """Build the Arrow field of a column, with its stored key, if any, as metadata."""
    return pa.field(name, kind, metadata=None if key is None else {_KEY: key})


def stored_key(field: pa.Field) -> str | None:
    """Return the stored key if it differs from the name."""
    key = (field.metadata or {}).get(_KEY)
    return None if key is None else key.decode()


def source_key(field: pa.Field) -> str:
    """Return the stored key, which is the name if the field has none."""
    key = stored_key(field)
    return str(field.name) if key is None else key


def text_field(field: pa.Field, kind: str | None) -> pa.Field:
    """Add the type of the field's text as metadata: JSON or GEOGRAPHY, unless that is None."""
    return field if kind is None else field.with_metadata({**(field.metadata or {}), _TEXT: kind})


def text_type(field: pa.Field) -> str | None:
    """Return the type of the field's text, if it is not STRING."""
    kind = (field.metadata or {}).get(_TEXT)
    return None if kind is None else kind.decode()
