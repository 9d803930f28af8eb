"""Load the project's `.env` as Dagster does."""

from __future__ import annotations

import os
from pathlib import Path

from feed_assets.errors import SettingError


def load_env_file() -> None:
    """Set the variables of `.env` in the current folder, also those that are already set.

    Like `DagsterInstance.inject_env_vars` and `dg launch`.
    """
    from dotenv import dotenv_values

    try:
        found = dotenv_values(Path.cwd() / ".env")
    except (OSError, UnicodeDecodeError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is not UTF-8 text"
        raise SettingError(f".env cannot be read: {reason}; correct it, or remove it") from None
    os.environ.update({name: value for name, value in found.items() if value is not None})
