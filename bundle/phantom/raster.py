"""Rasterization: millimeters to pixels, anti-aliased coverage of polygons, maps that move rigidly."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from bundle.phantom.geometry import Points

SUPERSAMPLING = 3


@dataclass(frozen=True)
class Patch:
    """Coverage of one polygon, cut to its bounding box."""

    row: int  # First row in the frame
    column: int  # First column in the frame
    values: np.ndarray  # Coverage (h, w) float32 in [0, 1]

    def part_of(self, target: np.ndarray) -> np.ndarray:
        """View of the part of a map that the patch lies on."""
        height, width = self.values.shape
        return target[self.row : self.row + height, self.column : self.column + width]


@dataclass(frozen=True)
class Canvas:
    """A square frame and the affine map from the patient's millimeters to its pixels."""

    size: int  # Rows and columns
    matrix: np.ndarray  # Linear part (2, 2), in pixels per millimeter
    offset: np.ndarray  # Translation (2,) in pixels

    @property
    def pixels_per_mm(self) -> float:
        """Scale of the map."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def to_pixels(self, points_mm: Points) -> Points:
        """Map points (x, y) in millimeters to continuous pixel coordinates (x, y), pixel centers at integers."""
        return np.asarray(points_mm, float) @ self.matrix.T + self.offset

    def cover(self, points_mm: Points, blur_mm: float = 0.0) -> Patch | None:
        """Anti-aliased coverage of a polygon ``(N, 2)``; None where it lies outside the frame.

        A Gaussian of ``blur_mm`` rounds the edge, as a solid body's edge is in projection.
        """
        outline = self.to_pixels(points_mm)
        sigma = blur_mm * self.pixels_per_mm
        margin = 1 + int(np.ceil(3 * sigma))
        low = np.maximum(np.floor(outline.min(0)).astype(int) - margin, 0)
        high = np.minimum(np.ceil(outline.max(0)).astype(int) + margin + 1, self.size)
        if np.any(high - low < 1):
            return None
        width, height = (high - low) * SUPERSAMPLING
        # Pixel centers are integers here and half-integers of the supersampled grid there.
        vertices = (outline - low + 0.5) * SUPERSAMPLING - 0.5
        filled = fill(vertices, int(height), int(width))
        values = np.asarray(Image.fromarray(filled * np.uint8(255)).reduce(SUPERSAMPLING), np.float32) / np.float32(255)
        if sigma > 0.3:
            values = ndimage.gaussian_filter(values, sigma, truncate=3.0)
        return Patch(int(low[1]), int(low[0]), values)

    def add(self, target: np.ndarray, points_mm: Points, weight: float, blur_mm: float = 0.0) -> None:
        """Add ``weight`` times a polygon's coverage to a map ``(size, size)``, in place."""
        patch = self.cover(points_mm, blur_mm)
        if patch is not None:
            patch.part_of(target)[...] += np.float32(weight) * patch.values

    def mask(self, *outlines_mm: Points) -> np.ndarray:
        """Union of polygons as a mask ``(size, size)`` uint8."""
        result = np.zeros((self.size, self.size), np.uint8)
        for points in outlines_mm:
            patch = self.cover(points)
            if patch is not None:
                window = patch.part_of(result)
                np.maximum(window, (patch.values > 0.5).astype(np.uint8), out=window)
        return result


def fill(vertices: Points, height: int, width: int) -> np.ndarray:
    """Points of a grid ``(height, width)`` inside a polygon ``(N, 2)`` by the even-odd rule: uint8, 0 and 1.

    Pillow's polygons have whole coordinates and include their edges: they are larger by a tenth of a pixel and more.
    """
    start, end = vertices, np.roll(vertices, -1, axis=0)
    is_leftwards = (start[:, 0] > end[:, 0])[:, None]
    left, right = np.where(is_leftwards, end, start), np.where(is_leftwards, start, end)
    first = np.clip(np.ceil(left[:, 0]), 0, width).astype(int)
    count = np.clip(np.ceil(right[:, 0]), 0, width).astype(int) - first
    edge = np.repeat(np.arange(len(vertices)), count)
    column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (right[edge, 1] - left[edge, 1]) / (right[edge, 0] - left[edge, 0])
    row = np.clip(np.ceil(left[edge, 1] + (column - left[edge, 0]) * slope), 0, height).astype(int)
    padded = -(-width // 8) * 8
    crossings = np.zeros((height + 1, padded), np.uint8)
    np.bitwise_xor.at(crossings, (row, column), np.uint8(1))
    inside = np.bitwise_xor.accumulate(crossings.view(np.uint64), axis=0)  # eight pixels at a time
    return inside.view(np.uint8)[:height, :width]


def moved(
    still: np.ndarray, from_canvas: Canvas, to_canvas: Canvas, window: tuple[slice, slice] | None = None
) -> np.ndarray:
    """Resample a map drawn on one canvas onto another one of the same size (bilinear), or a window of it."""
    rows, columns = window or (slice(0, still.shape[0]), slice(0, still.shape[1]))
    matrix = from_canvas.matrix @ np.linalg.inv(to_canvas.matrix)
    offset = from_canvas.offset - matrix @ to_canvas.offset + matrix @ np.array([columns.start, rows.start])
    # PIL counts pixel centers at half-integers.
    shift = offset + 0.5 - matrix @ np.array([0.5, 0.5])
    data = (matrix[0, 0], matrix[0, 1], shift[0], matrix[1, 0], matrix[1, 1], shift[1])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return np.asarray(Image.fromarray(still).transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def resized(field: np.ndarray, size: int) -> np.ndarray:
    """Resize a square float32 map (bicubic when enlarging, area average when reducing)."""
    method = Image.Resampling.BICUBIC if size > field.shape[0] else Image.Resampling.BOX
    return np.asarray(Image.fromarray(field).resize((size, size), method))
