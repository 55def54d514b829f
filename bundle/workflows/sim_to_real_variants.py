"""Cheap changes of frames before the network sees them, to be compared: of grey values, or of the part looked at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import exposure

from bundle.data.phantom.study import generate_study

REFERENCE_SEED = 36_000_000
"""Standard patients whose mean histogram others are matched to; of no data set and not among those measured."""

NONE = "none"
"""Name of no change."""

FrameChange = Callable[[np.ndarray], np.ndarray]
"""One frame's part that the network sees ``(H, W)`` in [0, 1] to the same, changed."""


@dataclass(frozen=True)
class Variant:
    """One change.

    Attributes:
        name: For the tables.
        meaning: What it does, in words.
        change: Of the grey values.
        darkest: The network looks at the box around what is brighter than this; None: at what the product finds.
    """

    name: str
    meaning: str
    change: FrameChange
    darkest: float | None = None


def variants(reference: np.ndarray) -> list[Variant]:
    """All changes, the first of them none.

    Args:
        reference: Mean quantiles ``(n,)``, as from :func:`mean_quantiles`.
    """
    matched = np.resize(reference, (len(reference), 1))  # a picture of these grey values
    return [
        Variant(NONE, "what the product does", lambda frame: frame),
        Variant("percentile stretch", "1st and 99th percentile of the frame to 0 and 1", _stretch),
        Variant("gamma 0.7", "brighter middle tones", lambda frame: exposure.adjust_gamma(frame, 0.7)),
        Variant("CLAHE", "scikit-image's equalize_adapthist, clip limit 0.01", _clahe),
        Variant(
            "histogram matching",
            "to the mean histogram of synthetic standard patients",
            lambda frame: exposure.match_histograms(frame, matched),
        ),
        Variant("denoising", "median of 3 x 3 pixels", lambda frame: ndimage.median_filter(frame, 3)),
        Variant("tighter view", "box around what is brighter than 0.15", lambda frame: frame, darkest=0.15),
        Variant("tighter view, gamma 0.7", "both", lambda frame: exposure.adjust_gamma(frame, 0.7), darkest=0.15),
        Variant("inverted", "a control: bones white; must be worse", lambda frame: 1.0 - frame),
    ]


def mean_quantiles(num_patients: int, size: int, num_quantiles: int = 1024) -> np.ndarray:
    """Mean quantiles of the grey values of synthetic standard patients ``(num_quantiles,)``."""
    steps = np.linspace(0.0, 1.0, num_quantiles)
    studies = (generate_study(REFERENCE_SEED + index, size, 4) for index in range(num_patients))
    return np.mean([np.quantile(study.frames, steps) for study in studies], axis=0).astype(np.float32)


def _stretch(frame: np.ndarray) -> np.ndarray:
    low, high = np.percentile(frame, (1, 99))
    return exposure.rescale_intensity(frame, in_range=(float(low), float(high)), out_range=(0.0, 1.0))


def _clahe(frame: np.ndarray) -> np.ndarray:
    return exposure.equalize_adapthist(frame.astype(np.float64), clip_limit=0.01)
