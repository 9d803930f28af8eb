"""Which columns of a feed are stored, as YAML declares it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from pydantic import Field, field_validator, model_validator

from feed_assets.config.auth import check_variable
from feed_assets.config.model import NAME, FrozenModel
from feed_assets.errors import SettingError
from feed_assets.schema.selection import MIN_HASH_KEY, Selection


class Columns(FrozenModel):
    """Leave columns out, store hashes in place of values, or rename columns.

    Paths are those of the feed, and pass through records and arrays: customer.email.
    """

    exclude: tuple[str, ...] = Field(
        (), examples=[["customer.email", "internal"]], description="Columns to leave out."
    )
    include: tuple[str, ...] = Field(
        (),
        examples=[["orderId", "customer.id", "customer.phone"]],
        description="Columns to keep; all others are left out. Instead of exclude.",
    )
    hash: tuple[str, ...] = Field(
        (),
        examples=[["customer.phone"]],
        description="Columns to store as HMAC-SHA256 of each value's text, in hexadecimal.",
    )
    hash_key_env: str | None = Field(
        None,
        examples=["CRM_HASH_KEY"],
        description="Environment variable with the key of the hashes, 16 characters or more.",
    )
    rename: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"custNo": "customer_id", "customer.tel": "phone"}],
        description="New names, by path. A field stays in its record.",
    )

    @field_validator("exclude", "include", "hash")
    @classmethod
    def _are_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            _check_path(path)
        if len(set(value)) < len(value):
            raise ValueError("names a column twice")
        return value

    @field_validator("rename")
    @classmethod
    def _are_names(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for path, name in value.items():
            _check_path(path)
            if not NAME.fullmatch(name) or len(name) > 300:
                raise ValueError(
                    f"gives {path} the name {name!r}; write letters, digits and _, no digit first, "
                    f"and no path: a field stays in its record"
                )
        return value

    @field_validator("hash_key_env")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        return value if value is None else check_variable(value)

    @model_validator(mode="after")
    def _agree(self) -> Columns:
        if self.hash and not self.hash_key_env:
            raise ValueError(
                "has hash and no hash_key_env; name the environment variable with the hashes' key"
            )
        if self.hash_key_env and not self.hash:
            raise ValueError("has hash_key_env, and hash names no column; name one, or take it out")
        try:
            self.selection.check()
        except SettingError as mistake:
            raise ValueError(str(mistake)) from None
        return self

    @property
    def selection(self) -> Selection:
        """The paths without the key of the hashes."""
        return Selection(self.exclude, self.include, self.hash, self.rename)

    def hash_key(self) -> bytes:
        """Return the key of the hashes, b"" without hashes. Raise SettingError."""
        if not self.hash_key_env:
            return b""
        key = os.environ.get(self.hash_key_env, "").strip()
        if not key:
            raise SettingError(
                f"the environment variable {self.hash_key_env} is not set; the feed's columns.hash "
                f"needs it as the key of its hashes"
            )
        if len(key.encode()) < MIN_HASH_KEY:
            raise SettingError(
                f"the environment variable {self.hash_key_env} has fewer than {MIN_HASH_KEY} "
                f"characters, so values could be guessed from their hashes; set a random key"
            )
        return key.encode()


def check_roles(
    selection: Selection,
    key: Iterable[str],
    updated_at: str | None,
    deleted: str | None,
    types: Iterable[str],
) -> None:
    """Raise ValueError for a column whose role its declaration in `columns` contradicts."""
    roles = [*((path, "in its key") for path in key), (updated_at, "as updated_at")]
    for path, role in [*roles, (deleted, "in deleted")]:
        if path is None:
            continue
        if not selection.keeps(selection.original(path)):
            raise ValueError(f"has {path} {role}, which columns leaves out; keep it")
        if role != "in its key" and selection.hashes(selection.original(path)):
            why = "no order" if role == "as updated_at" else "no values to compare"
            raise ValueError(f"has {path} {role}, which columns hashes, and a hash has {why}")
    for path in types:
        if path not in selection.rename and (original := selection.original(path)) != path:
            raise ValueError(
                f"has a type for {path}, which is the new name of {original}; types name columns "
                f"as the feed does: {original}"
            )
        if not selection.keeps(path):
            raise ValueError(f"has a type for {path}, which columns leaves out; take one out")
        if selection.hashes(path):
            raise ValueError(
                f"has a type for {path}, which columns hashes, and a hash is STRING; take one out"
            )


def _check_path(path: str) -> None:
    if not all(part.strip() for part in path.split(".")):
        raise ValueError(
            f"{path!r} is not a column; write a name as the feed sends it, or a path such as "
            f"customer.id"
        )
