"""Work on two threads, its results in the order of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_THREADS = 2
_AHEAD = 3  # what is under way or waits to be taken, with all its memory


def run_in_order(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """The first task is done before the others are begun: they may learn from it."""
    source = iter(tasks)
    for first in source:
        yield first()
        break
    pool = ThreadPoolExecutor(_THREADS, "ndjson")
    under_way: deque[Future[Result]] = deque()
    try:
        for task in source:
            under_way.append(pool.submit(task))
            if len(under_way) == _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:  # tasks that nobody wants may wait for bytes of which nobody will hear
        pool.shutdown(wait=False, cancel_futures=True)
