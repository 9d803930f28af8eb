"""Allowed imports: from feed to table, with Dagster at the edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "feed_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))

ONLY_IN = {
    "dagster": ("orchestration/", "definitions.py", "demo/"),
    "dagster_gcp": ("orchestration/resources.py",),
    "google": ("warehouse/bigquery", "download/buckets.py"),
    "botocore": ("download/buckets.py",),
    "asyncssh": ("download/sftp.py",),
    "apprise": ("alerts/notifier.py",),
    "requests": ("download/",),
    "urllib3": ("download/",),
    "duckdb": ("warehouse/duckdb",),
}
GROUND = {
    "arrow_memory",
    "backoff",
    "byte_source",
    "decompression",
    "disk",
    "env_file",
    "errors",
    "json_document",
    "urls",
}
"""Modules that every other may import; they import no others of ours."""
MAY_IMPORT: dict[str, set[str]] = {  # besides itself and the ground; __init__.py, demo/ and
    "schema": set(),  # definitions.py put things together
    "config": {"schema"},
    "masking": {"config"},
    "download": {"config"},
    "ndjson": {"schema"},
    "warehouse": {"schema"},
    "importing": {"schema", "config", "download", "ndjson", "warehouse"},
    "alerts": {"config"},
    "preview": {"schema", "config", "masking", "download", "ndjson", "importing", "warehouse"},
    "cli": {"schema", "preview", "orchestration"},
} | {name: set() for name in GROUND}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_folder_allows(module: Path) -> None:
    place = str(module.relative_to(PACKAGE))
    part = place.partition("/")[0].removesuffix(".py")
    for imported in _imports(module):
        first, _, rest = imported.partition(".")
        homes = ONLY_IN.get(first)
        assert homes is None or place.startswith(homes), f"{place} imports {imported}"
        if first == "feed_assets" and part in MAY_IMPORT:
            allowed = {part, *GROUND, *MAY_IMPORT[part]}
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
