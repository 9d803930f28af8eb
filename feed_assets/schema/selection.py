"""Which columns of a feed are stored: left out, hashed or renamed, by their paths in the feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from feed_assets.errors import SettingError
from feed_assets.schema.datatypes import parents

MIN_HASH_KEY = 16
"""Bytes. Telephone numbers can be guessed from hashes under a key that can be guessed."""


@dataclass(frozen=True)
class Selection:
    """Paths to leave out, or to keep; to hash under `hash_key`; and new names by path."""

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    hash_key: bytes = field(default=b"", repr=False)

    @property
    def is_private(self) -> bool:
        """True if some values must not leave the feed's file."""
        return bool(self.exclude or self.include or self.hash)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that is named."""
        return (*self.exclude, *self.include, *self.hash, *self.rename)

    def check(self) -> None:
        """Raise SettingError for a contradiction."""
        for name, paths in (("exclude", self.exclude), ("include", self.include)):
            if inside := next(_pairs_inside(paths), None):
                raise SettingError(
                    f"{name} names {inside[1]} and also {inside[0]}, which is inside it; keep one"
                )
        if self.exclude and self.include:
            raise SettingError("has exclude and include; keep one of them")
        if inside := next(_pairs_inside(self.hash), None):
            raise SettingError(
                f"hash names {inside[1]} and also {inside[0]}, which is inside it; hash its fields"
            )
        for name, named in (("hash", self.hash), ("rename", tuple(self.rename))):
            for path in named:
                if not self.keeps(path):
                    raise SettingError(f"{name} names {path}, which is left out; keep one of both")
        for path in self.rename:
            if parent := _holder(path, self.hash):
                raise SettingError(f"rename names {path}, which is inside {parent}, a hash")
        taken: dict[str, str] = {}
        for path in self.rename:
            name = self.renamed(path).casefold()
            if other := taken.get(name):
                raise SettingError(
                    f"rename gives {other} and {path} one name, {self.rename[path]}; choose two"
                )
            taken[name] = path

    def keeps(self, path: str) -> bool:
        """Return whether a column at a path, or a part of it, is stored."""
        if _is_in(path, self.exclude):
            return False
        return (
            not self.include
            or _is_in(path, self.include)
            or any(path in parents(each) for each in self.include)
        )

    def hashes(self, path: str) -> bool:
        """Return whether a column is stored as its hash."""
        return _is_in(path, self.hash)

    def renamed(self, path: str) -> str:
        """Return the path under the new names, for a path in the feed."""
        if not self.rename:
            return path
        parts, found = path.split("."), list[str]()
        for at, part in enumerate(parts, 1):
            found.append(self.rename.get(".".join(parts[:at]), part))
        return ".".join(found)

    def original(self, path: str) -> str:
        """Return the path in the feed, for one under the new names."""
        for name in (path, *reversed([*parents(path)])):
            if name in self._originals:
                return self._originals[name] + path[len(name) :]
        return path

    @cached_property
    def _originals(self) -> Mapping[str, str]:
        return {self.renamed(path): path for path in self.rename}


NO_SELECTION = Selection()


def _is_in(path: str, paths: Iterable[str]) -> bool:
    return path in paths or _holder(path, paths) is not None


def _holder(path: str, paths: Iterable[str]) -> str | None:
    """Return the path among `paths` that a path is inside of."""
    return next((each for each in parents(path) if each in paths), None)


def _pairs_inside(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if holder := _holder(path, paths):
            yield path, holder
