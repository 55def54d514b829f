"""Curves and polygons of the phantom: points ``(N, 2)`` as (x anterior, y down) in millimeters."""

import numpy as np
from numpy.typing import ArrayLike

Points = np.ndarray


def smooth_open(points: ArrayLike, num_points: int) -> Points:
    """Sample a curve through the given points, evenly by chord length (cubic Hermite, finite-difference tangents)."""
    knots = np.asarray(points, float)
    chord = _chord(knots)
    return _hermite(chord, knots, np.gradient(knots, chord, axis=0), np.linspace(0.0, chord[-1], num_points))


def smooth_closed(points: ArrayLike, num_points: int = 96) -> Points:
    """Sample a closed curve through the given points."""
    knots = np.asarray(points, float)
    ring = np.concatenate([knots[-2:], knots, knots[:3]])
    chord = _chord(ring)
    tangents = np.gradient(ring, chord, axis=0)
    samples = np.linspace(chord[2], chord[2 + len(knots)], num_points, endpoint=False)
    return _hermite(chord, ring, tangents, samples)


def _chord(knots: Points) -> np.ndarray:
    steps = np.maximum(np.hypot(*np.diff(knots, axis=0).T), 1e-6)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _hermite(chord: np.ndarray, knots: Points, tangents: Points, samples: np.ndarray) -> Points:
    part = np.clip(np.searchsorted(chord, samples, side="right") - 1, 0, len(chord) - 2)
    width = np.diff(chord)[part]
    u = ((samples - chord[part]) / width)[:, None]
    square, cube = u * u, u * u * u
    rise = 3 * square - 2 * cube
    start, end = tangents[part] * width[:, None], tangents[part + 1] * width[:, None]
    return knots[part] * (1 - rise) + knots[part + 1] * rise + (cube - 2 * square + u) * start + (cube - square) * end


def normals(curve: Points) -> Points:
    """Unit normals of an open curve, a quarter turn clockwise on the screen from its direction."""
    tangent = np.gradient(curve, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def ribbon(center_line: Points, half_width: ArrayLike) -> Points:
    """Outline of a band around an open curve ``(N, 2)``, of one half width, or one per point."""
    offset = normals(center_line) * np.broadcast_to(np.asarray(half_width, float), len(center_line))[:, None]
    return np.concatenate([center_line + offset, (center_line - offset)[::-1]])


def rotate(points: ArrayLike, degrees: float, center: ArrayLike) -> Points:
    """Turn points clockwise on the screen (y points down)."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pivot = np.asarray(center, float)
    return (np.asarray(points, float) - pivot) @ matrix.T + pivot


def ellipse(center: ArrayLike, radii: ArrayLike, degrees: float = 0.0, num_points: int = 40) -> Points:
    """Outline of an ellipse."""
    phase = np.linspace(0.0, 2 * np.pi, num_points, endpoint=False)
    outline = np.stack([np.cos(phase), np.sin(phase)], axis=1) * np.asarray(radii, float) + np.asarray(center, float)
    return rotate(outline, degrees, center)


def rounded(corners: ArrayLike, share: float) -> Points:
    """Polygon with its corners cut round: each is replaced by a parabola over ``share`` of the neighboring edges."""
    corner = np.asarray(corners, float)
    before = corner + share * (np.roll(corner, 1, axis=0) - corner)
    after = corner + share * (np.roll(corner, -1, axis=0) - corner)
    u = np.linspace(0.0, 1.0, 5)[None, :, None]
    arcs = (1 - u) ** 2 * before[:, None] + 2 * u * (1 - u) * corner[:, None] + u**2 * after[:, None]
    return arcs.reshape(-1, 2)


def smoothstep(value: ArrayLike, start: float, end: float) -> np.ndarray:
    """Rise from 0 at ``start`` to 1 at ``end`` with zero slope at both."""
    share = np.clip((np.asarray(value, float) - start) / (end - start), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
