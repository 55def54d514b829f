"""A bounded cache of what was used last."""

import pytest

from bundle.transforms.recent import RecentlyUsed


def test_only_the_last_used_values_are_kept():
    made = []
    recent = RecentlyUsed(2)
    for key in "abacab":  # b goes when c comes, because a was used later; b again pushes c out
        recent.get(key, lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"]


def test_a_failure_is_not_kept():
    recent = RecentlyUsed(1)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 // 0)
    assert recent.get("a", lambda: 7) == 7


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        RecentlyUsed(0)
