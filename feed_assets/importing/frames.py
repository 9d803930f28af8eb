"""DataFrames that are read only when they are stored: the interface of assets to the IO manager."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from logging import Logger, LoggerAdapter
from typing import TYPE_CHECKING, Any

from feed_assets.errors import FeedAssetsError, TypeConflict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from feed_assets.schema.columns import Columns
    from feed_assets.schema.table import Table
    from feed_assets.warehouse.base import Origin, Warehouse
    from feed_assets.warehouse.store import Stored

Key = str | None
"""A partition key; None is the key of an asset without partitions."""
Log = Logger | LoggerAdapter[Any]


class LazyFrame:
    """A DataFrame to store, read once its table is known. Subclasses must define `read` only."""

    declared: Collection[str] = ()
    """Paths, by the keys of the feed, of columns whose type is declared."""
    origin: Origin | None = None
    schema: pa.Schema | None = None
    """Arrow schema of the last DataFrame, with what pandas cannot express. Texts are valid."""
    named: pa.Schema | None = None
    """Every column of the last DataFrame, those without a value included. Default: its columns."""

    @property
    def is_ready(self) -> bool:
        """True if it is small and can be read at once, so the warehouse may stay open meanwhile."""
        return True

    def read(self, known: Columns) -> pd.DataFrame:
        """Return the rows for a table that has these columns so far; none are known for a snapshot.

        Called again if another import has changed the columns meanwhile.
        """
        raise NotImplementedError

    def check(self, warehouse: Warehouse, table: Table) -> None:
        """Compare the rows last read with the table; an error leaves everything unchanged."""

    def before_load(self, warehouse: Warehouse, attempt: str) -> None:
        """Store rows of other tables, such as bad lines; an error leaves the table unchanged."""

    def explain(self, conflict: TypeConflict, known: Columns) -> None:
        """Add the first line that conflicts with the known columns, if there are lines."""

    def after_load(self, warehouse: Warehouse, stored: Stored) -> None:
        """Inspect the stored table while the warehouse is still open."""


class GivenFrame(LazyFrame):
    """A DataFrame that is already in memory."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def read(self, known: Columns) -> pd.DataFrame:
        return self._frame


class LazyFrames(Mapping[Key, "pd.DataFrame"]):
    """A mapping of partition keys to DataFrames; each is made when it is asked for.

    An asset may return one in place of DataFrames. Each is stored and forgotten before the memory
    of more than `parallel_loads` is needed.
    """

    name: str
    """The asset, as errors name it."""
    log: Log
    parallel_loads: int | None = None
    """Loads to run at once, as far as the warehouse can. Default: the warehouse's."""

    @abstractmethod
    def arriving(
        self, keys: Sequence[Key], warehouse: Warehouse, on_wait: Callable[[], None]
    ) -> Generator[tuple[Key, LazyFrame]]:
        """Yield the frames of these keys. A frame can be read until the next one is asked for.

        An error that concerns one key is raised when its frame is read; one that is raised here
        concerns all keys that are left. `on_wait` is called before each wait for others.
        """

    def running(self) -> AbstractContextManager[None]:
        """Enter before the first frame is stored; exit after the last."""
        return nullcontext()

    def stored_before(self) -> Collection[Key]:
        """Return the keys that need not be stored again."""
        return ()

    @abstractmethod
    def stored(self, key: Key, frame: LazyFrame, stored: Stored) -> str:
        """Record a frame that is stored. Return a line for the log."""

    def not_stored(self, keys: Collection[Key]) -> None:
        """Record that these keys have failed; their tables are as they were."""

    def failed(self, failure: Exception) -> FeedAssetsError:
        """Return the failure of one key, or raise one that ends the whole run."""
        if isinstance(failure, FeedAssetsError):
            return failure
        raise failure
