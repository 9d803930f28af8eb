"""Compare docs/how-it-works.md with the tree: it lists every module, and no other."""

from __future__ import annotations

import re

from feed_assets_tests.system.docs.pages import PROJECT, page

PAGE = page("how-it-works.md")


def test_every_module_has_a_line() -> None:
    listed = [
        f"{folder}/{name}"
        for folder in re.findall(r"^### (feed_assets\S*)$", PAGE.text, re.MULTILINE)
        for row in PAGE.table_under(folder)
        for name in re.findall(r"`([\w/]+\.py)`", row[0])
    ]
    package = PROJECT / "feed_assets"
    modules = [
        str(path.relative_to(PROJECT))
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and "demo" not in path.parts
    ]
    assert sorted(listed) == sorted(modules), "docs/how-it-works.md, The tree"
