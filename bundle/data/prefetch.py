"""Work ahead in a thread: what comes next is made while the caller is busy with what it has."""

import threading
from collections.abc import Generator
from queue import Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")
POLL_SECONDS = 0.05


def prefetched(items: Generator[Item, None, None], size: int = 1) -> Generator[Item, None, None]:
    """Yield the same items, of which a thread makes up to ``size + 1`` ahead.

    An error comes where it would have come. Closed before its end, it waits for the item in the making, and closes
    ``items``.

    Args:
        items: Nothing else may iterate over it.
        size: Items that wait to be taken.
    """
    ready: Queue[tuple[str, Any]] = Queue(size)
    is_left = threading.Event()

    def put(kind: str, value: Any = None) -> None:
        while not is_left.is_set():
            try:
                ready.put((kind, value), timeout=POLL_SECONDS)
            except Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                put("item", item)
                if is_left.is_set():
                    break
                del item
        except BaseException as error:
            put("error", error)
        else:
            put("end")
        finally:
            items.close()

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
            del value
    finally:
        is_left.set()
        thread.join()
