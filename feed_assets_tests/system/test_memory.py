"""A feed that is larger than the memory limit of its import."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.memory import measured, of_size


@pytest.mark.parametrize("kind", ["flat", "nested", "document"])
def test_a_feed_is_imported_in_less_memory_than_its_size(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("feed.json" if kind == "document" else "feed.ndjson")
    of_size(path, kind, 110 << 20, seed_rows=20_000)

    found = measured(path, limit=300 << 20)  # the kernel refuses more

    assert found["rows"] > 290_000
    assert found["peak"] < 100
