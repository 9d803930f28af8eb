"""Names of tables: a table, its shards, and the tables beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

SHARD = re.compile(r"(?P<table>.+)_(?P<day>\d{8})")


@dataclass(frozen=True, order=True)
class Table:
    """A table or view of a dataset (in DuckDB: of a schema)."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}"

    def shard(self, day: date) -> Table:
        """The table holding one day: `name_YYYYMMDD`."""
        return Table(self.dataset, f"{self.name}_{day:%Y%m%d}")

    @property
    def rejected(self) -> Table:
        """The table of bad lines, named so that `name_*` does not match it."""
        return Table(self.dataset, f"rejected_{self.name}")

    @property
    def columns(self) -> Table:
        """The empty table whose columns are those known so far. `name_*` does not match it."""
        return Table(self.dataset, f"columns_{self.name}")

    @property
    def latest(self) -> Table:
        """The table of the latest state. `name_*` does not match it."""
        return Table(self.dataset, f"latest_{self.name}")

    @property
    def ledger(self) -> Table:
        """The table of the loads applied to the latest state. `name_*` does not match it."""
        return Table(self.dataset, f"applied_{self.name}")

    @property
    def day(self) -> date | None:
        """The day of a shard, None for another table."""
        match = SHARD.fullmatch(self.name)
        return parse_day(match["day"]) if match else None

    def is_shard_of(self, table: Table) -> bool:
        """Compare names without case."""
        match = SHARD.fullmatch(str(self).casefold())
        return bool(match and match["table"] == str(table).casefold())


def parse_day(text: str) -> date | None:
    """Parse a partition key (YYYY-MM-DD) or a shard's suffix (YYYYMMDD); None for other text."""
    for form in ("%Y-%m-%d", "%Y%m%d"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    return None
