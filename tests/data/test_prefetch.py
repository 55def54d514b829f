"""Working ahead in a thread: the same items and errors, a bounded number ahead, and an end to it."""

import threading
import time
from collections.abc import Iterator

import pytest

from bundle.data.prefetch import prefetched


def numbers(made: list[int], number: int = 100, error: Exception | None = None) -> Iterator[int]:
    """Numbers, which are noted when they are made; ends with the error, if there is one."""
    try:
        for index in range(number):
            made.append(index)
            yield index
        if error is not None:
            raise error
    finally:
        made.append(-1)


def test_items_come_in_order_and_as_they_are():
    assert list(prefetched(numbers([]))) == list(range(100))
    assert list(prefetched(numbers([], 0))) == []


def test_a_bounded_number_is_made_ahead_while_the_caller_is_busy():
    made: list[int] = []
    items = prefetched(numbers(made), size=2)
    next(items)
    time.sleep(0.3)
    assert made == [0, 1, 2, 3]  # one taken, two that wait, one in hand
    items.close()


def test_an_error_comes_after_the_items_before_it():
    items = prefetched(numbers([], 2, KeyError("a mistake")))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(KeyError, match="a mistake"):
        next(items)


def test_an_iterator_that_is_left_ends_its_thread_and_closes_the_items():
    made: list[int] = []
    items = prefetched(numbers(made))
    next(items)
    items.close()
    assert made[-1] == -1
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
