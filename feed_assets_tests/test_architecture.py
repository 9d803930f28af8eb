"""Who may import whom: an import flows from feed to table, and Dagster stays at the edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "feed_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))

ONLY_IN = {
    "dagster": ("orchestration/", "definitions.py", "demo/"),
    "dagster_gcp": ("orchestration/resources.py",),
    "google": ("warehouse/bigquery",),
    "apprise": ("alerts/notifier.py",),
    "requests": ("download/",),
    "urllib3": ("download/",),
    "duckdb": ("warehouse/duckdb",),
}
OURS_SEEN_FROM = {  # and nothing else of ours; __init__.py and demo/ put things together
    "errors.py": (),
    "backoff.py": (),
    "disk.py": ("errors",),
    "tables.py": (),
    "arrow_fields.py": (),
    "decimals.py": (),
    "source.py": (),
    "type_names.py": ("errors",),
    "ndjson/": ("errors", "arrow_fields", "decimals", "source", "type_names", "ndjson"),
    "warehouse/": (
        *("errors", "disk", "arrow_fields", "decimals", "tables", "type_names", "warehouse"),
    ),
    "urls.py": (),
    "access.py": ("errors",),
    "partition.py": ("access",),
    "attributes.py": ("access", "partition", "type_names"),
    "feed.py": ("errors", "tables", "access", "attributes", "type_names", "urls"),
    "masking.py": ("errors", "feed"),
    "alerts/": ("errors", "access", "feed", "urls", "alerts"),
    "collisions.py": ("errors", "tables", "feed"),
    "download/": ("errors", "backoff", "disk", "feed", "urls", "source", "download"),
    "delivery.py": ("errors", "feed", "download"),
    "key_columns.py": ("errors", "feed", "ndjson", "warehouse"),
    "object_columns.py": ("errors",),
    "checks.py": ("errors", "feed", "key_columns", "warehouse"),
    "delivered.py": ("errors", "source", "download", "ndjson"),
    "importing.py": (
        *("errors", "disk", "tables", "source", "download", "delivery", "delivered", "ndjson"),
        *("type_names", "warehouse", "checks", "key_columns"),
        "object_columns",
    ),
    "preview/": (
        *("errors", "disk", "tables", "feed", "urls", "masking", "source", "delivery", "delivered"),
        *("ndjson", "warehouse", "preview"),
    ),
    "env_file.py": ("errors",),
    "cli.py": ("errors", "tables", "env_file", "preview", "orchestration"),
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_place_allows(module: Path) -> None:
    place = str(module.relative_to(PACKAGE))
    allowed = next(
        (seen for start, seen in OURS_SEEN_FROM.items() if place.startswith(start)), None
    )
    for imported in _imports(module):
        first, _, rest = imported.partition(".")
        homes = ONLY_IN.get(first)
        assert homes is None or place.startswith(homes), f"{place} imports {imported}"
        if first == "feed_assets" and allowed is not None:
            assert rest.partition(".")[0] in allowed, f"{place} imports {imported}"


def _imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            if node.module == "feed_assets":
                yield from (f"feed_assets.{name.name}" for name in node.names)
            else:
                yield node.module or ""
