"""Work in threads, the results in order: what comes out doesn't depend on how many there are."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Is called with how much is done, and how much there is."""


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products of matrices use one thread each. Small ones are slower with several, and where several threads work those fight for the cores: six
    times the processor time, measured on two."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`work(item)` of each item, in the order of the items, by `workers` threads; at most two results a worker wait to be fetched. An error of
    `work` is raised here, and what has not begun is not done."""
    if workers <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mnemos-spann")
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
