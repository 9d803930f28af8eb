"""Run tasks on two threads and yield their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_THREADS = 2
_AHEAD = 3  # tasks that run or whose results wait, with all their memory


def run_in_order(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Yield results in order. The first task ends before the others start, to inform them."""
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
    finally:  # abandoned tasks can wait for bytes that never come
        pool.shutdown(wait=False, cancel_futures=True)
