"""The C2-C4 scale and axes, fixed to the spine, in which positions do not depend on magnification or head motion."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import find_contours

from bundle.metrics.kinematics.body import body_centers, body_pixels
from bundle.metrics.kinematics.clip_masks import ClipMasks, NotComputableError

FAN_DEGREES = np.linspace(-35.0, 35.0, 13)  # directions of the touching lines against the corner's own
SMOOTHING_PIXELS = 0.7  # standard deviation of the Gaussian that takes the steps off an outline
# Structures that tell which way a patient faces, by majority.
IN_FRONT_OF_THE_SPINE = ("mandible", "tongue", "hyoid", "epiglottis", "laryngeal_vestibule", "trachea", "pharynx")


@dataclass(frozen=True)
class SpineFrame:
    """Axes of each frame: origin C4, y from C4 to C2, x at right angles and forward; unit: % of the C2-C4 length."""

    # Anterior-inferior corner of C2 (x, y) in widths of a pixel ``(T, 2)``; NaN where C2 or C4 is absent
    c2: np.ndarray
    c4: np.ndarray  # the same of C4 ``(T, 2)``
    side: int  # 1 where forward is a quarter turn clockwise from up on the screen, facing right; -1 facing left
    length_px: float  # median distance of the corners over the frames with both
    num_frames: int  # number of these frames
    pixel_aspect: float = 1.0  # height of a pixel in its widths

    @property
    def up(self) -> np.ndarray:
        """Unit vectors from C4 to C2 ``(T, 2)``."""
        return _unit(self.c2 - self.c4)

    def percent(self, points_px: np.ndarray) -> np.ndarray:
        """Points (x, y) in pixels ``(T, 2)`` to forward and up from C4 in %C2-4 ``(T, 2)``; NaN stays NaN."""
        offset = points_px - self.c4
        forward = _forward(self.up, self.side)
        return np.stack([(offset * forward).sum(1), (offset * self.up).sum(1)], axis=1) * 100.0 / self.length_px

    def part(self, first: int, stop: int) -> "SpineFrame":
        """The frames from ``first`` up to ``stop``, at the length of all."""
        c2, c4 = self.c2[first:stop], self.c4[first:stop]
        return replace(self, c2=c2, c4=c4, num_frames=int(np.isfinite(c2[:, 0] + c4[:, 0]).sum()))

    @property
    def one_pixel(self) -> float:
        """The longer side of a pixel in %C2-4: the uncertainty of lengths."""
        return max(self.pixel_aspect, 1.0) * 100.0 / self.length_px


def find_spine_frame(clip: ClipMasks) -> SpineFrame:
    """Find the corners of C2 and C4 in every frame that shows both.

    A corner is the point that best fits the lines which touch the outline from in front and below: forward and down,
    half each, ± 35 degrees, so that the whole rounded end has a say and the corner is finer than a pixel. An
    osteophyte there is part of it, and a rounded corner lies inside the drawn-out one. C2 and C4 are taken as rigid
    and as not turning against each other during the clip: a corner's offset from its body's centroid, in the axes of
    the two centroids, is the median over all frames. Centroids, and so head motion, are of each frame. The length is
    the median over frames.
    """
    clip.require("c2", "c4")
    centers = {name: body_centers(clip, name) for name in ("c2", "c4")}
    up = _unit(centers["c2"] - centers["c4"])
    both = np.isfinite(up[:, 0])
    if not both.any():
        raise NotComputableError("needs c2 and c4 in one frame")
    side = _side(clip, centers["c4"], up)
    forward = _forward(up, side)
    c2, c4 = (_corners(clip, name, centers[name], forward, up) for name in ("c2", "c4"))
    length = float(np.nanmedian(np.linalg.norm(c2 - c4, axis=1)))
    return SpineFrame(c2, c4, side, length, int(both.sum()), clip.pixel_aspect)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _forward(up: np.ndarray, side: int) -> np.ndarray:
    return side * np.stack([-up[:, 1], up[:, 0]], axis=1)


def _side(clip: ClipMasks, origin: np.ndarray, up: np.ndarray) -> int:
    clockwise = _forward(up, 1)
    votes = [((clip.centroid(name) - origin) * clockwise).sum(1) for name in IN_FRONT_OF_THE_SPINE]
    signs = [np.sign(np.nanmedian(vote)) for vote in votes if np.isfinite(vote).any()]
    if sum(signs) == 0:
        raise NotComputableError(f"needs one of {', '.join(IN_FRONT_OF_THE_SPINE)}, to know which way is forward")
    return int(np.sign(sum(signs)))


def _corners(clip: ClipMasks, name: str, centers: np.ndarray, forward: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Corners ``(T, 2)`` from the median offset of those found frame by frame."""
    offsets = []
    for frame in np.flatnonzero(np.isfinite(up[:, 0])).tolist():
        found = _corner(clip.mask(name, frame), forward[frame] - up[frame], clip.pixel_aspect) - centers[frame]
        offsets.append((found @ forward[frame], found @ up[frame]))
    ahead, above = np.median(offsets, axis=0)
    return centers + ahead * forward + above * up


def _corner(mask: np.ndarray, direction: np.ndarray, pixel_aspect: float) -> np.ndarray:
    """Corner (x, y) in widths of a pixel that a mask ``(H, W)`` has in a direction."""
    rows, columns = body_pixels(mask)
    corner = np.array([columns.min(), rows.min()])
    window = np.zeros((np.ptp(rows) + 9, np.ptp(columns) + 9))
    window[rows - corner[1] + 4, columns - corner[0] + 4] = 1.0
    smooth = gaussian_filter(window, SMOOTHING_PIXELS)
    outline = np.concatenate(find_contours(smooth, min(0.5, 0.5 * smooth.max())))[:, ::-1]
    outline = (outline - 4 + corner) * np.array([1.0, pixel_aspect])
    center = outline.mean(axis=0)
    angles = np.arctan2(direction[1], direction[0]) + np.deg2rad(FAN_DEGREES)
    normals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distances = ((outline - center) @ normals.T).max(axis=0)
    return np.linalg.lstsq(normals, distances, rcond=None)[0] + center
