"""docs/attributes.md agrees with the models, and each of its examples is valid."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from feed_assets.alerts.config import Alerts
from feed_assets.config.auth import BasicAuth, BearerAuth, OAuth2, Sftp
from feed_assets.config.columns import Columns
from feed_assets.config.deleted_rows import DeletedRows
from feed_assets.config.feed import Feed
from feed_assets.config.pages import Pages
from feed_assets.config.partition import PartitionByDate
from feed_assets_tests.system.docs.attributes import PAGE, written
from feed_assets_tests.system.docs.example import BY_DATE, CREDENTIALS, LATEST, SHORTEST
from feed_assets_tests.system.docs.pages import code, page

ATTRIBUTES = page("attributes.md")
WHOLE: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "A feed": (Feed, {**SHORTEST, **BY_DATE, **LATEST, "format": "json"}),
    "pages": (Pages, {}),
    "basic_auth": (
        BasicAuth,
        dict(zip(("username_env", "password_env"), CREDENTIALS, strict=True)),
    ),
    "bearer_auth": (BearerAuth, {"token_env": "CRM_TOKEN"}),
    "oauth2": (
        OAuth2,
        {
            "token_url": "https://example.com/oauth/token",
            "client_id_env": "CRM_CLIENT_ID",
            "client_secret_env": "CRM_CLIENT_SECRET",
        },
    ),
    "deleted": (DeletedRows, {"column": "status", "values": ["deleted"]}),
    "sftp": (Sftp, {}),
    "columns": (Columns, {"hash": ["customer.phone"], "hash_key_env": "CRM_HASH_KEY"}),
    "partition_by_date": (PartitionByDate, BY_DATE["partition_by_date"]),
    "Alerts": (Alerts, {}),
}
WAYS: dict[str, list[dict[str, Any]]] = {
    "A feed": [{"url": "sftp://example.com/{date}.ndjson"}],
    "pages": [{"parameter": "page"}, {"link_header": True}],
    "sftp": [
        {"username_env": "U", "password_env": "P"},
        {"username_env": "U", "private_key_env": "K"},
    ],
}
"""Sets of other attributes, one of which an attribute may need."""
ROWS = [(heading, row) for heading in WHOLE for row in ATTRIBUTES.table_under(heading)]


def test_the_page_is_generated_from_the_models() -> None:
    assert PAGE.read_text(encoding="utf-8") == written(), "run `make docs`"


def test_every_attribute_is_on_the_page() -> None:
    for heading, (model, _) in WHOLE.items():
        listed = [code(row[0]) for row in ATTRIBUTES.table_under(heading)]
        assert listed == list(model.model_fields)
    nested = set(re.findall(r"^### (\w+)$", ATTRIBUTES.text, re.MULTILINE))
    assert nested == WHOLE.keys() - {"A feed", "Alerts"}


@pytest.mark.parametrize(("heading", "row"), ROWS, ids=[row[0] for _, row in ROWS])
def test_an_attribute_is_explained_and_its_example_valid(heading: str, row: list[str]) -> None:
    model, whole = WHOLE[heading]
    *_, description, example = row
    assert description
    declared = yaml.safe_load(code(example))
    for way in ({}, *WAYS.get(heading, [])):
        with suppress(ValidationError):
            model(**{**whole, **way, **declared})
            return
    model(**{**whole, **declared})
