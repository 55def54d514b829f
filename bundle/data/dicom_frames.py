"""Decoded DICOM frames, one after the other, into one clip's memory, as the viewer would show them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from bundle.data.clip import ClipShape, UnreadableStudyError
from bundle.data.dicom_files import damage_refused, first_line
from bundle.data.dicom_grayscale import (
    COLOUR,
    GreySteps,
    colour_to_grey,
    display_table,
    grey_steps,
    percentile_limits,
    varies_by_frame,
)
from bundle.data.dicom_pixels import decode_frames, stored_dtype
from bundle.data.dicom_shutter import visible_pixels

MAX_COUNTED_PIXELS = 4_000_000
"""Pixels, spread over the clip, of which percentiles are taken."""


class FrameDisplay:
    """Fills a clip with display values; frames without a window wait for the whole clip's percentiles.

    Args:
        frames: The clip's memory ``(T, H, W)``, float32.
        warnings: Gets what a reader of the results should know.
    """

    def __init__(self, frames: np.ndarray, warnings: list[str]) -> None:
        self.frames = frames
        self.warnings = warnings
        self._waiting: list[tuple[int, GreySteps, np.ndarray | None]] = []
        self._counts: np.ndarray | None = None
        self._step = max(1, frames.size // MAX_COUNTED_PIXELS) | 1  # odd: not the same columns in every row

    def add_file(self, path: Path, dataset: Dataset, start: int, shape: ClipShape) -> None:
        """Decode a file's frames to ``frames[start:]``.

        Raises:
            UnreadableStudyError: If a frame cannot be decoded, or its gray scale is not defined.
        """
        with damage_refused(path):
            visible = visible_pixels(dataset, shape.rows, shape.columns, self.warnings)
            for offset, (stored, steps) in enumerate(self._stored(path, dataset, shape)):
                frame = self.frames[start + offset]
                if steps is None:
                    frame[:] = stored
                elif steps.has_window:
                    _map(display_table(steps), stored.view(f"u{stored.itemsize}"), frame)
                else:
                    self._wait(start + offset, steps, stored.view(f"u{stored.itemsize}"), visible)
                if visible is not None:
                    frame *= visible

    def finish(self) -> None:
        """Give the frames without a window one that holds for the whole clip, so that brightness does not flicker."""
        if self._counts is None:
            return
        limits = percentile_limits(self._waiting[0][1], self._counts)
        self.warnings.append(f"no window in the header: percentiles 0.5-99.5 used, {limits[0]:g} to {limits[1]:g}")
        for index, steps, visible in self._waiting:
            frame = self.frames[index]
            _map(display_table(steps, limits), frame.astype(np.uint16), frame)
            if visible is not None:
                frame *= visible

    def _stored(
        self, path: Path, dataset: Dataset, shape: ClipShape
    ) -> Iterator[tuple[np.ndarray, GreySteps | None]]:  # display values go without steps
        dtype = stored_dtype(path, dataset)
        photometric, bits = dataset.get("PhotometricInterpretation"), int(dataset.get("BitsStored", 8))
        is_colour, is_palette = photometric in COLOUR, photometric == "PALETTE COLOR"
        if is_palette:
            bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        steps = None if is_colour else self._steps(path, dataset, dtype, 0)
        varies = not is_colour and varies_by_frame(dataset)
        for index, frame in enumerate(decode_frames(path, dataset, shape, self.warnings)):
            if is_colour:
                rgb = apply_color_lut(frame, dataset) if is_palette else frame
                yield colour_to_grey(rgb, bits, self.warnings), None
            else:
                yield frame, self._steps(path, dataset, dtype, index) if varies and index else steps

    def _steps(self, path: Path, dataset: Dataset, dtype: np.dtype, index: int) -> GreySteps:
        try:
            steps = grey_steps(dataset, dtype, self.warnings, index)
            if steps.has_window:
                display_table(steps)  # refuses a window without width before anything is decoded
        except ValueError as error:  # ours: which attribute is wrong, and how
            raise UnreadableStudyError(path, first_line(error)) from None
        return steps

    def _wait(self, index: int, steps: GreySteps, stored: np.ndarray, visible: np.ndarray | None) -> None:
        self.frames[index] = stored  # up to 16 bits are exact in float32
        counted = (stored.reshape(-1) if visible is None else stored[visible])[:: self._step]
        counts = np.bincount(counted, minlength=2 ** (8 * stored.itemsize))
        self._counts = counts if self._counts is None else self._counts + counts
        self._waiting.append((index, steps, visible))


def _map(table: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None:
    np.take(table, indices, out=out, mode="clip")
