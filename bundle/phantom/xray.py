"""From attenuation to gray values: Beer-Lambert, scatter, glare, noise, detector, brightness control, 12 bits."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from bundle.phantom.geometry import Points
from bundle.phantom.machine import Machine
from bundle.phantom.raster import Canvas, resized

STORED_OFFSET, STORED_RANGE = 64, 3900  # Stored 12-bit value of display black, and the range up to display white

_COARSE = 64


@dataclass
class Detector:
    """One machine's chain for one study; keeps the brightness control's gain and the lag between frames."""

    machine: Machine  # What to imitate
    size: int  # Rows and columns
    rng: np.random.Generator  # Source of the quantum noise
    aperture: np.ndarray = field(init=False)  # Transmission of the collimator (size, size)
    veil: np.ndarray = field(init=False)  # Light that reaches the input screen outside the collimator (size, size)
    _gain: float | None = field(default=None, init=False)
    _previous: np.ndarray | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.aperture, self.veil = collimator(self.machine, self.size)

    def expose(self, attenuation: np.ndarray, measuring_field: np.ndarray, frames_since_last: int) -> np.ndarray:
        """Image one frame: attenuation ``(size, size)`` to stored values uint16, 12 bits.

        The measuring field ``(64, 64)`` of sum 1 steers the brightness; lag fades with the machine's frames between.
        """
        machine = self.machine
        primary = np.exp(-attenuation) * self.aperture
        coarse = resized(primary, _COARSE)
        mm_per_pixel = machine.field_mm / _COARSE
        # Scatter is nearly uniform behind the body; direct exposure scatters nothing.
        tissue = np.minimum(coarse, 0.25)
        spread = machine.scatter * ndimage.gaussian_filter(tissue, 22.0 / mm_per_pixel)
        light = np.minimum(coarse, 0.45)
        glare = ndimage.gaussian_filter(light, 5.0 / mm_per_pixel) + ndimage.gaussian_filter(light, 25.0 / mm_per_pixel)
        haze = resized((spread + 0.5 * machine.glare * glare).astype(np.float32), self.size)
        signal = primary + haze * (self.aperture + self.veil)
        seen = float((measuring_field * np.minimum(resized(signal, _COARSE), 0.3)).sum())
        wanted = 0.42 / max(seen, 1e-6)
        self._gain = wanted if self._gain is None else self._gain + 0.5 * (wanted - self._gain)
        exposure = np.minimum(signal * np.float32(self._gain), 4.0)
        exposure = self._detect(exposure)
        keep = machine.lag**frames_since_last
        if self._previous is not None:
            exposure = (1.0 - keep) * exposure + keep * self._previous
        self._previous = exposure
        return store(self._gray(exposure))

    def _detect(self, exposure: np.ndarray) -> np.ndarray:
        """Add quantum noise, then blur both: noise is as coarse as the detector."""
        machine = self.machine
        photons = machine.photons * (512.0 / self.size) ** 2
        noise = self.rng.standard_normal(exposure.shape, dtype=np.float32)
        noisy = exposure + noise * np.sqrt(np.maximum(exposure, 0.0) * np.float32(0.5 / photons))
        sigma = machine.blur_mm / machine.field_mm * self.size
        return ndimage.gaussian_filter(noisy, sigma, truncate=2.5)

    def _gray(self, exposure: np.ndarray) -> np.ndarray:
        """Display gray in [0, 1]."""
        machine = self.machine
        if machine.gray_scale == "log":
            dark, bright = 0.042, 3.4
            safe = np.maximum(exposure, dark / 8)
            # Below the dark end the curve bends into zero instead of going negative.
            gray = np.logaddexp(0.0, 6.0 * np.log(safe / dark)).astype(np.float32) / np.float32(
                6 * np.log(bright / dark)
            )
        else:
            gray = np.maximum(exposure, 0.0) ** np.float32(machine.gamma)
        # A soft knee before the ceiling, as of a television camera.
        top = np.float32(machine.saturation)
        knee = 0.85 * top
        over = np.maximum(gray - knee, 0.0)
        return np.minimum(gray, knee) + (top - knee) * (1.0 - np.exp(-over / (top - knee)))


def store(gray: np.ndarray) -> np.ndarray:
    """Quantize display gray to the stored 12-bit values."""
    return np.clip(np.rint(STORED_OFFSET + gray * STORED_RANGE), 0, 4095).astype(np.uint16)


def display(stored: np.ndarray) -> np.ndarray:
    """Display gray in [0, 1] of stored values: the window that the DICOM header names."""
    return np.clip((stored.astype(np.float32) - STORED_OFFSET) / STORED_RANGE, 0.0, 1.0)


def collimator(machine: Machine, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Transmission of the collimator, with a penumbra and a bright inner shoulder, and the veil around it."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * machine.field_mm
    x, y = axis[None, :], axis[:, None]
    left, top, right, bottom = machine.shutter_mm
    distance = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    if machine.cut_corner_mm:
        corner = (right - x + y - top - machine.cut_corner_mm) / np.sqrt(2.0)
        distance = np.minimum(distance, corner)
    aperture = 1.0 / (1.0 + np.exp(-np.clip(distance * (4.4 / machine.edge_mm), -30, 30)))
    shoulder = 1.0 + 0.10 * np.exp(-np.maximum(distance, 0.0) / 2.5)
    aperture = aperture * shoulder
    veil = np.ones((size, size), np.float32) * np.float32(0.35)
    if machine.is_round:
        radius = 0.5 * machine.field_mm
        edge = 1.0 / (1.0 + np.exp(-np.clip((radius - np.hypot(x, y)) * (4.4 / 0.8), -30, 30)))
        aperture, veil = aperture * edge, veil * edge
    else:
        veil = veil * np.float32(0.2)
    return aperture.astype(np.float32), veil.astype(np.float32)


def measuring_field(canvas: Canvas, center_mm: Points) -> np.ndarray:
    """Where the brightness control looks: a Gaussian over the pharynx ``(64, 64)``."""
    x, y = canvas.to_pixels(center_mm) * (_COARSE / canvas.size)
    axis = np.arange(_COARSE, dtype=np.float32)
    weight = np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * 9.0**2))
    return weight / weight.sum()
