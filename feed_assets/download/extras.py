"""Packages that only some feeds need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from feed_assets.errors import SettingError


@contextmanager
def extra(name: str, scheme: str) -> Iterator[None]:
    """Raise SettingError where an import in the block finds no package."""
    try:
        yield
    except ModuleNotFoundError as failure:
        raise SettingError(
            f"a feed at {scheme}:// needs the package {failure.name}, which is not installed; run "
            f"pip install 'feed_assets[{name}]'"
        ) from None
