"""A small cache of what was decoded last, so that the frames of a clip are decoded once when read in order."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any


class RecentlyUsed:
    """Keep the last ``capacity`` values; safe among threads, and empty again in another process."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value kept for ``key``, or make and keep it."""
        with self._lock:  # also while making it, or two threads would decode the same clip
            if key not in self._values:
                while len(self._values) >= self.capacity:
                    self._values.popitem(last=False)  # before making the next: bounds the memory
                self._values[key] = make()
            self._values.move_to_end(key)
            return self._values[key]

    def __reduce__(self) -> tuple[type["RecentlyUsed"], tuple[int]]:
        return type(self), (self.capacity,)
