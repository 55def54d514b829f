"""Decoded DICOM frames, one after the other, with how each of them is shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from bundle.data.clip import ClipShape, Display, UnreadableStudyError, damage_refused
from bundle.data.dicom_files import first_line
from bundle.data.dicom_grayscale import (
    COLOR,
    GraySteps,
    color_to_gray,
    display_table,
    gray_steps,
    percentile_limits,
    read_palette,
    varies_by_frame,
)
from bundle.data.dicom_header import shutter_varies_by_frame, visible_pixels
from bundle.data.dicom_pixels import decode_frames, stored_dtype
from bundle.data.frame_stream import StreamedFrame

MAX_COUNTED_PIXELS = 4_000_000  # Pixels, spread over the clip, of which percentiles are taken


@dataclass(frozen=True)
class FrameHeader:
    """What the header says of one frame: its steps, without which values are for display already, and its shutter."""

    steps: GraySteps | None
    visible: np.ndarray | None


def is_color(dataset: Dataset) -> bool:
    """Whether frames are stored in color; they are turned to gray when decoded."""
    return dataset.get("PhotometricInterpretation") in COLOR


class FrameDecoder:
    """Decodes a clip's files; frames without a window are shown by the whole clip's percentiles.

    Args:
        num_pixels: Of the whole clip, to spread the counted ones over it.
        dtype: Of the first file's frames: unsigned of the stored values' width, or float32 for color.
        warnings: Gets what a reader of the results should know.
        limits: Percentiles, if an earlier turn has counted them; else frames that need them come without a display.
        keeps_headers: Whether ``displays`` is to give at the end what frames did not say.
    """

    def __init__(
        self,
        num_pixels: int,
        dtype: np.dtype,
        warnings: list[str],
        limits: tuple[float, float] | None = None,
        keeps_headers: bool = True,
    ) -> None:
        self.dtype = dtype
        self.warnings = warnings
        self.limits = limits
        self.keeps_headers = keeps_headers
        self._made: tuple[FrameHeader, Display] | None = None
        self._headers: list[FrameHeader] = []
        self._uses_limits = False
        self._counts: np.ndarray | None = None
        self._counted: GraySteps | None = None
        self._step = max(1, num_pixels // MAX_COUNTED_PIXELS) | 1  # odd: not the same columns in every row

    def frames(self, path: Path, dataset: Dataset, shape: ClipShape) -> Iterator[StreamedFrame]:
        """Decode a file's frames, all with a defined grayscale."""
        with damage_refused(path):
            frames = self._color_frames if is_color(dataset) else self._gray_frames
            for values, header in frames(path, dataset, shape):
                if values.dtype != self.dtype:
                    raise UnreadableStudyError(path, "stores values of another type than the first file of its series")
                if header.steps is None:
                    yield StreamedFrame(values if header.visible is None else values * header.visible)
                    continue
                if self.limits is None and not header.steps.has_window:
                    self._counted = self._counted or header.steps
                    self._count(values, header.visible)
                yield StreamedFrame(values, self._display(header))

    def displays(self) -> tuple[Display, ...]:
        """How each frame is shown, if not all of them said it. One window for the whole clip: no flicker."""
        if self._counts is not None and self._counted is not None:
            self.limits = percentile_limits(self._counted, self._counts)
        if self._uses_limits and self.limits is not None:
            words = f"{self.limits[0]:g} to {self.limits[1]:g}"
            self.warnings.append(f"no window in the header: percentiles 0.5-99.5 used, {words}")
        return () if self._counts is None else tuple(self._shown_as(header) for header in self._headers)

    def _display(self, header: FrameHeader) -> Display | None:
        """None where percentiles are not known yet."""
        has_window = header.steps is not None and header.steps.has_window
        self._uses_limits |= not has_window
        if self.keeps_headers:
            self._headers.append(header)
        return self._shown_as(header) if has_window or self.limits is not None else None

    def _shown_as(self, header: FrameHeader) -> Display:
        """Frames of one header share their table, on the way to the caller too."""
        if self._made is None or self._made[0] is not header:
            steps = header.steps or GraySteps(f"u{self.dtype.itemsize}")
            table = display_table(steps, None if steps.has_window else self.limits)
            self._made = header, Display(table, header.visible)
        return self._made[1]

    def _color_frames(self, path: Path, dataset: Dataset, shape: ClipShape) -> Iterator[tuple[np.ndarray, FrameHeader]]:
        header = FrameHeader(None, visible_pixels(dataset, shape.rows, shape.columns, self.warnings))
        is_palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
        palette = read_palette(dataset, self.warnings) if is_palette else None
        bits = palette.bits if palette else int(dataset.get("BitsStored", 8))
        for frame in decode_frames(path, dataset, shape, self.warnings):
            rgb = palette.look_up(frame) if palette else frame
            yield color_to_gray(rgb, bits, self.warnings), header

    def _gray_frames(self, path: Path, dataset: Dataset, shape: ClipShape) -> Iterator[tuple[np.ndarray, FrameHeader]]:
        dtype = stored_dtype(path, dataset)
        header = self._header(path, dataset, dtype, shape, 0)
        varies = varies_by_frame(dataset) or shutter_varies_by_frame(dataset)
        for index, frame in enumerate(decode_frames(path, dataset, shape, self.warnings)):
            if varies and index:
                header = self._header(path, dataset, dtype, shape, index)
            yield frame.view(f"u{dtype.itemsize}"), header

    def _header(self, path: Path, dataset: Dataset, dtype: np.dtype, shape: ClipShape, index: int) -> FrameHeader:
        try:
            steps = gray_steps(dataset, dtype, self.warnings, index)
            if steps.has_window:
                display_table(steps)  # refuses a window without width before anything is decoded
        except ValueError as error:  # ours: which attribute is wrong, and how
            raise UnreadableStudyError(path, first_line(error)) from None
        return FrameHeader(steps, visible_pixels(dataset, shape.rows, shape.columns, self.warnings, index))

    def _count(self, stored: np.ndarray, visible: np.ndarray | None) -> None:
        counted = (stored.reshape(-1) if visible is None else stored[visible])[:: self._step]
        counts = np.bincount(counted, minlength=2 ** (8 * stored.itemsize))
        self._counts = counts if self._counts is None else self._counts + counts
