"""Store the DataFrames of a run, several at once. A failure affects only its own frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING, Self

from feed_assets.errors import FeedAssetsError, ImportFailed
from feed_assets.importing.frames import Key, LazyFrame, LazyFrames
from feed_assets.orchestration.progress import Progress

if TYPE_CHECKING:
    from feed_assets.importing.table_writer import TableWriter
    from feed_assets.warehouse.base import Warehouse
    from feed_assets.warehouse.store import Loaded

GRACE_SECONDS = 10.0
"""Wait for the loads under way when a run is cancelled, so that they are recorded."""

Failures = dict[Key, FeedAssetsError]


def store_frames(
    frames: LazyFrames,
    days: Mapping[Key, date | None],
    warehouse: Warehouse,
    writer: TableWriter,
) -> Failures:
    """Store the frames of these keys, each as the shard of its day, and return the errors.

    Frames are read one after the other, and loaded `parallel_loads` at a time. They are recorded in
    their order, so after a kill only the last few can be stored and not recorded.
    """
    from feed_assets.warehouse.lease import WarehouseLease

    at_once = warehouse.parallel_loads
    if at_once > 1:
        at_once = min(frames.parallel_loads or at_once, len(days))
    loads = _Loads(frames, days, writer, at_once)
    try:
        with (
            loads,
            WarehouseLease(warehouse) as lease,
            closing(frames.arriving(list(days), warehouse, lease.release)) as arriving,
        ):
            for key, frame in arriving:
                lease.renew() if frame.is_ready else lease.release()
                if not loads.start(key, frame):
                    lease.release()
    except FeedAssetsError as failure:
        loads.fail_all(failure)
    return loads.failures


class _Loads:
    """Frames whose loads have started, in the order in which they are recorded."""

    def __init__(
        self,
        frames: LazyFrames,
        days: Mapping[Key, date | None],
        writer: TableWriter,
        at_once: int,
    ) -> None:
        self._frames, self._days, self._writer, self._at_once = frames, days, writer, at_once
        self._pool = ThreadPoolExecutor(at_once, "load") if at_once > 1 else None
        self._progress = Progress(frames.log, len(days))
        self._left = dict.fromkeys(days)
        self._started: deque[tuple[Key, LazyFrame, Future[Loaded]]] = deque()
        self.failures: Failures = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the loads that have started; after a cancellation wait GRACE_SECONDS at most."""
        cancelled = kind is not None and not issubclass(kind, Exception)
        try:
            if cancelled:
                wait([loading for _, _, loading in self._started], GRACE_SECONDS)
            while self._started and not (cancelled and not self._started[0][2].done()):
                self._finish()
        finally:
            if self._pool:
                self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self, key: Key, frame: LazyFrame) -> bool:
        """Read a frame and start its load; finish earlier ones. Return False if one has failed."""
        failures = len(self.failures)
        try:
            loading = (
                self._writer.start(frame, self._days[key], self._pool.submit)
                if self._pool
                else self._writer.start(frame, self._days[key])
            )
        except Exception as failure:  # noqa: BLE001  (the others go on)
            loading = Future()
            loading.set_exception(failure)
        self._started.append((key, frame, loading))
        while self._started and (len(self._started) > self._at_once or self._started[0][2].done()):
            self._finish()
        return len(self.failures) == failures

    def fail_all(self, failure: FeedAssetsError) -> None:
        """Fail the frames that are left."""
        self.failures |= dict.fromkeys(self._left, failure)

    def _finish(self) -> None:
        """Wait for the first frame that has started, and record it."""
        key, frame, loading = self._started[0]
        try:
            stored = self._writer.finish(loading.result())
            line = self._frames.stored(key, frame, stored)
        except Exception as failure:  # noqa: BLE001  (the others go on)
            self._started.popleft()
            self.failures[key] = error = self._frames.failed(failure)
            self._progress.failed(str(ImportFailed(self._frames.name, {key: error})))
        else:
            self._started.popleft()
            self._progress.stored(stored.rows, line)
        del self._left[key]
