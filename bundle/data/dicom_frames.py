"""Decoded DICOM frames, one after the other, into one clip's memory, with how each of them is shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from bundle.data.clip import ClipShape, Display, UnreadableStudyError
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
from bundle.data.dicom_shutter import shutter_varies_by_frame, visible_pixels

MAX_COUNTED_PIXELS = 4_000_000
"""Pixels, spread over the clip, of which percentiles are taken."""


@dataclass(frozen=True)
class FrameHeader:
    """What the header says of one frame: its steps, without which values are for display already, and its shutter."""

    steps: GreySteps | None
    visible: np.ndarray | None


def is_colour(dataset: Dataset) -> bool:
    """Whether frames are stored in colour; they are turned to grey when decoded."""
    return dataset.get("PhotometricInterpretation") in COLOUR


class ClipFiller:
    """Fills a clip's memory; frames without a window are shown by the whole clip's percentiles.

    Args:
        stored: The clip's memory ``(T, H, W)``: unsigned of the stored values' width, or float32 for colour.
        warnings: Gets what a reader of the results should know.
    """

    def __init__(self, stored: np.ndarray, warnings: list[str]) -> None:
        self.stored = stored
        self.warnings = warnings
        self._headers: list[FrameHeader] = []
        self._counts: np.ndarray | None = None
        self._step = max(1, stored.size // MAX_COUNTED_PIXELS) | 1  # odd: not the same columns in every row

    def add_file(self, path: Path, dataset: Dataset, start: int, shape: ClipShape) -> None:
        """Decode a file's frames to ``stored[start:]``.

        Raises:
            UnreadableStudyError: If a frame cannot be decoded, or its gray scale is not defined.
        """
        with damage_refused(path):
            frames = self._colour_frames if is_colour(dataset) else self._grey_frames
            for offset, (values, header) in enumerate(frames(path, dataset, shape)):
                frame = self.stored[start + offset]
                if values.dtype != frame.dtype:
                    raise UnreadableStudyError(path, "stores values of another type than the first file of its series")
                frame[:] = values
                if values.dtype == np.float32 and header.visible is not None:
                    frame *= header.visible
                if header.steps is not None and not header.steps.has_window:
                    self._count(values, header.visible)
                self._headers.append(header)

    def displays(self) -> tuple[Display, ...]:
        """How each frame is shown; empty for colour. One window for the whole clip: brightness does not flicker."""
        limits = None
        if self._counts is not None:
            first = next(header.steps for header in self._headers if header.steps and not header.steps.has_window)
            limits = percentile_limits(first, self._counts)
            self.warnings.append(f"no window in the header: percentiles 0.5-99.5 used, {limits[0]:g} to {limits[1]:g}")
        made: dict[int, Display] = {}  # frames of one header share their table, on the way to the caller too
        for header in self._headers:
            if header.steps is not None and id(header) not in made:
                table = display_table(header.steps, None if header.steps.has_window else limits)
                made[id(header)] = Display(table, header.visible)
        return tuple(made[id(header)] for header in self._headers if header.steps is not None)

    def _colour_frames(
        self, path: Path, dataset: Dataset, shape: ClipShape
    ) -> Iterator[tuple[np.ndarray, FrameHeader]]:
        header = FrameHeader(None, visible_pixels(dataset, shape.rows, shape.columns, self.warnings))
        is_palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2] if is_palette else dataset.get("BitsStored", 8))
        for frame in decode_frames(path, dataset, shape, self.warnings):
            rgb = apply_color_lut(frame, dataset) if is_palette else frame
            yield colour_to_grey(rgb, bits, self.warnings), header

    def _grey_frames(self, path: Path, dataset: Dataset, shape: ClipShape) -> Iterator[tuple[np.ndarray, FrameHeader]]:
        dtype = stored_dtype(path, dataset)
        header = self._header(path, dataset, dtype, shape, 0)
        varies = varies_by_frame(dataset) or shutter_varies_by_frame(dataset)
        for index, frame in enumerate(decode_frames(path, dataset, shape, self.warnings)):
            if varies and index:
                header = self._header(path, dataset, dtype, shape, index)
            yield frame.view(f"u{dtype.itemsize}"), header

    def _header(self, path: Path, dataset: Dataset, dtype: np.dtype, shape: ClipShape, index: int) -> FrameHeader:
        try:
            steps = grey_steps(dataset, dtype, self.warnings, index)
            if steps.has_window:
                display_table(steps)  # refuses a window without width before anything is decoded
        except ValueError as error:  # ours: which attribute is wrong, and how
            raise UnreadableStudyError(path, first_line(error)) from None
        return FrameHeader(steps, visible_pixels(dataset, shape.rows, shape.columns, self.warnings, index))

    def _count(self, stored: np.ndarray, visible: np.ndarray | None) -> None:
        counted = (stored.reshape(-1) if visible is None else stored[visible])[:: self._step]
        counts = np.bincount(counted, minlength=2 ** (8 * stored.itemsize))
        self._counts = counts if self._counts is None else self._counts + counts
