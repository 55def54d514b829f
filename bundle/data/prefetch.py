"""Work ahead in a thread: what comes next is made while the caller is busy with what it has."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(items: Generator[Item, None, None], size: int = 1) -> Generator[Item, None, None]:
    """Yield the same items, of which a thread makes up to ``size + 1`` ahead.

    An error comes where it would have come. Closed before its end, it waits for the item in the making, and closes
    ``items``, over which nothing else may iterate.
    """
    pool, end = ThreadPoolExecutor(1, "prefetch"), object()
    ahead = deque(pool.submit(next, items, end) for _ in range(size + 1))
    try:
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
            del item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
