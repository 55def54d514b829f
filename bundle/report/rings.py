"""Rings around masks, and the same with fewer points: marching squares and Douglas-Peucker's rule on whole arrays.

Both are scikit-image's ``find_contours`` and ``approximate_polygon``, which take a film's length several times over.
"""

from collections.abc import Sequence

import numpy as np

# Sides of a square of four pixels' centers; a ring comes in by one and leaves by another, what is set on its right.
_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
_WAYS = {  # by the set pixels: upper left 1, upper right 2, lower left 4, lower right 8
    1: [(_TOP, _LEFT)],
    2: [(_RIGHT, _TOP)],
    3: [(_RIGHT, _LEFT)],
    4: [(_LEFT, _BOTTOM)],
    5: [(_TOP, _BOTTOM)],
    6: [(_RIGHT, _TOP), (_LEFT, _BOTTOM)],  # pixels that touch by a corner are apart
    7: [(_RIGHT, _BOTTOM)],
    8: [(_BOTTOM, _RIGHT)],
    9: [(_TOP, _LEFT), (_BOTTOM, _RIGHT)],
    10: [(_BOTTOM, _TOP)],
    11: [(_BOTTOM, _LEFT)],
    12: [(_LEFT, _RIGHT)],
    13: [(_TOP, _RIGHT)],
    14: [(_LEFT, _TOP)],
}
_FROM, _TO = np.zeros((2, 2, 16), np.int64)  # (way, kind) to a side
for _kind, _ways in _WAYS.items():
    for _way, _sides in enumerate(_ways):
        _FROM[_way, _kind], _TO[_way, _kind] = _sides


def rings_around(mask: np.ndarray) -> list[np.ndarray]:
    """Closed rings of (row, column) points halfway between the pixels of a mask ``(H, W)`` bool and the others."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    pairs = padded[:, :-1] | padded[:, 1:] << 1
    kinds = (pairs[:-1] | pairs[1:] << 2).ravel()
    cells = np.flatnonzero((kinds > 0) & (kinds < 15))
    kinds = kinds[cells]
    stride = 2 * width + 3  # places are counted in halves of a pixel
    rows, columns = np.divmod(cells, width + 1)
    corners = 2 * (rows * stride + columns)
    sides = np.array([1, stride + 2, 2 * stride + 1, stride])
    both = (kinds == 6) | (kinds == 9)
    ways = [(corners, kinds, 0), (corners[both], kinds[both], 1)]
    starts = np.concatenate([corner + sides[_FROM[way, kind]] for corner, kind, way in ways]).tolist()
    ends = np.concatenate([corner + sides[_TO[way, kind]] for corner, kind, way in ways]).tolist()
    places, lengths = _walk(dict(zip(starts, ends, strict=True)))
    points = np.stack(np.divmod(np.array(places, np.int64), stride), axis=1) / 2 - 1
    return np.split(points, np.cumsum(lengths)[:-1]) if lengths else []


def _walk(after: dict[int, int]) -> tuple[list[int], list[int]]:
    """Places of all rings, one ring after the other, each with its first place at its end again; their lengths."""
    places: list[int] = []
    lengths: list[int] = []
    while after:
        before = len(places)
        first, place = after.popitem()
        places.append(first)
        while place != first:
            places.append(place)
            place = after.pop(place)
        places.append(first)
        lengths.append(len(places) - before)
    return places, lengths


def with_fewer_points(rings: Sequence[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Of each ring ``(N, 2)`` its ends and the points without which it would be further than the tolerance elsewhere.

    Every stretch is split at its farthest point from the straight line between its ends, until none is too far.
    """
    if not rings:
        return []
    points = np.concatenate(rings) @ (1, 1j)
    stops = np.cumsum([len(ring) for ring in rings])
    first, last = stops - [len(ring) for ring in rings], stops - 1
    is_kept = np.zeros(len(points), bool)
    is_kept[first] = is_kept[last] = True
    while len(first := first[(long := last - first > 1)]):
        last = last[long]
        farthest, distance = _farthest(points, first, last)
        far = distance > tolerance
        middle = farthest[far]
        is_kept[middle] = True
        first, last = np.concatenate([first[far], middle]), np.concatenate([middle, last[far]])
    return [ring[kept] for ring, kept in zip(rings, np.split(is_kept, stops[:-1]), strict=True)]


def _farthest(points: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each stretch the point between its ends that is farthest from the line between them, and how far it is."""
    lengths = last - first - 1
    starts = np.cumsum(lengths) - lengths
    within = np.repeat(first + 1 - starts, lengths) + np.arange(lengths.sum())
    line = points[last] - points[first]
    steps = line / np.where(line == 0, 1, abs(line) ** 2)
    offset = points[within] - np.repeat(points[first], lengths)
    along = (offset.conj() * np.repeat(steps, lengths)).real
    distances = abs(offset - np.clip(along, 0.0, 1.0) * np.repeat(line, lengths))
    largest = np.maximum.reduceat(distances, starts)
    at = np.flatnonzero(distances == np.repeat(largest, lengths))
    return within[at[np.searchsorted(at, starts)]], largest
