"""Labels of tables and load jobs in BigQuery."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

LABEL = re.compile(r"[a-z0-9_-]{0,63}")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
RESERVED_LABELS = {"feed", "day", "managed_by"}
MAX_LABELS = 64 - len(RESERVED_LABELS)
"""https://cloud.google.com/bigquery/docs/labels-intro#requirements"""


def _check_labels(value: Mapping[str, str]) -> Mapping[str, str]:
    for key, text in value.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL.fullmatch(text):
            raise ValueError(
                f"{key}: {text} is not a valid label; BigQuery allows lower-case letters, "
                f"digits, _ and -, at most 63, and a key that starts with a letter"
            )
        if key in RESERVED_LABELS:
            raise ValueError(f"{key} is a label that feed_assets sets itself")
    if len(value) > MAX_LABELS:
        raise ValueError(
            f"has {len(value)} labels; BigQuery allows 64, of which feed_assets sets "
            f"{len(RESERVED_LABELS)}"
        )
    return value


Labels = Annotated[Mapping[str, str], AfterValidator(_check_labels)]
