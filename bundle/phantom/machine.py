"""How machines and views differ: field, pixel spacing, frame rate, dose, grayscale, glare, noise, lag."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bundle.phantom.raster import Canvas

Marker = Literal["disc", "rings", "none"]
_MARKERS: tuple[Marker, ...] = ("disc", "rings", "none")


@dataclass(frozen=True)
class Machine:
    """One fluoroscope and one way to place a patient before it."""

    field_mm: float  # Width of the square frame in the plane of the pharynx
    magnification: float  # Source-detector over source-patient distance
    frame_rate: float  # Frames per second
    gray_scale: Literal["linear", "log"]  # linear in the number of X-rays or log
    gamma: float  # Exponent of the display curve of a linear machine
    photons: float  # X-rays per pixel of a 512 frame at gray 0.5; fewer means more noise
    blur_mm: float  # Standard deviation of the detector's blur
    lag: float  # Share of the previous frame that stays
    scatter: float  # Scatter-to-primary ratio behind the neck
    glare: float  # Share of the light that spreads over the image intensifier
    saturation: float  # Gray at which direct exposure saturates
    is_round: bool  # Whether an image intensifier cuts the field to a circle
    # Left, top, right and bottom edge of the collimator from the frame's center
    shutter_mm: tuple[float, float, float, float]
    cut_corner_mm: float  # Length cut off the upper anterior corner; 0 none
    edge_mm: float  # Width of the collimator's penumbra
    center_mm: tuple[float, float]  # Point of the template in the middle of the frame
    rotation: float  # Rotation of the view in degrees
    sway_mm: float  # Amplitude of the head's motion
    marker: Marker  # A coin-like disc, a ring pair or nothing, for the calibration of lengths
    marker_diameter_mm: float  # True diameter of the disc or rings
    marker_mm: tuple[float, float]  # Position of the marker in the template


def draw_machine(rng: np.random.Generator, marker_diameter_mm: float = 24.26) -> Machine:
    """Draw one machine and view; the default marker is a US quarter."""
    field = rng.uniform(196.0, 252.0)
    half = field / 2
    is_round = bool(rng.random() < 0.6)
    left, right = rng.uniform(0.70, 1.0) * half, rng.uniform(0.66, 1.0) * half
    top, bottom = rng.uniform(0.86, 1.02, 2) * half
    return Machine(
        field_mm=field,
        magnification=rng.uniform(1.15, 1.4),
        frame_rate=float(rng.choice([12.0, 15.0, 25.0, 30.0], p=[0.15, 0.25, 0.15, 0.45])),
        gray_scale="linear" if rng.random() < 0.6 else "log",
        gamma=rng.uniform(0.75, 1.1),
        photons=float(np.exp(rng.uniform(np.log(350.0), np.log(2500.0)))),
        blur_mm=rng.uniform(0.12, 0.34),
        lag=rng.uniform(0.03, 0.25),
        scatter=rng.uniform(0.0, 0.5),
        glare=rng.uniform(0.03, 0.10),
        saturation=rng.uniform(0.93, 1.0),
        is_round=is_round,
        shutter_mm=(-left, -top, right, bottom),
        cut_corner_mm=float(rng.uniform(10.0, 26.0)) if rng.random() < 0.4 else 0.0,
        edge_mm=rng.uniform(0.8, 2.2),
        center_mm=(rng.normal(108.0, 6.0), rng.normal(128.0, 6.0)),
        rotation=rng.normal(0.0, 3.5),
        sway_mm=abs(rng.normal(0.0, 0.8)),
        marker=_MARKERS[rng.choice(3, p=[0.35, 0.25, 0.4])],
        marker_diameter_mm=marker_diameter_mm,
        marker_mm=(rng.uniform(128.0, 170.0), rng.uniform(172.0, 205.0)),
    )


def canvas_at(machine: Machine, scale: float, size: int, shift_mm: np.ndarray, turn: float) -> Canvas:
    """Canvas of one frame of a body of some scale, the head moved by ``shift_mm`` and turned by ``turn`` degrees."""
    angle = np.deg2rad(machine.rotation + turn)
    pixels = size / machine.field_mm * scale
    matrix = pixels * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (size - 1) / 2
    return Canvas(size, matrix, middle - matrix @ (np.array(machine.center_mm) - shift_mm))
