"""The way of the bolus as a channel of stations: a fixed wall and a gap in front of it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bundle.phantom.geometry import Points
from bundle.phantom.swallow import ORAL_END, SwallowState

NUM_ORAL, NUM_PHARYNX, NUM_UES, NUM_OESOPHAGUS = 26, 44, 14, 16
UES_TOP_LEVEL, UES_BOTTOM_LEVEL = 5.45, 6.5


@dataclass(frozen=True)
class Channel:
    """The way of the bolus in stations."""

    station: np.ndarray  # Position of each station as a share of the whole way (N,)
    wall: Points  # Points on the fixed side (N, 2)
    across: Points  # Unit vectors from the fixed to the moving side (N, 2)
    gap: np.ndarray  # Width of the lumen at each station (N,), millimeters
    level: np.ndarray  # Vertebral level of each station; NaN in the mouth

    @property
    def floor(self) -> Points:
        """Points on the moving side ``(N, 2)``."""
        return self.wall + self.across * self.gap[:, None]


def channel_outline(channel: Channel, start: float, end: float, fill: float) -> Points:
    """Outline of the channel between two stations."""
    stations = np.linspace(start, end, 48)
    wall = np.stack([np.interp(stations, channel.station, channel.wall[:, i]) for i in (0, 1)], axis=1)
    floor = np.stack([np.interp(stations, channel.station, channel.floor[:, i]) for i in (0, 1)], axis=1)
    inset = (1.0 - fill) / 2
    return np.concatenate([wall + inset * (floor - wall), (floor - inset * (floor - wall))[::-1]])


def lumen(channel: Channel, state: SwallowState) -> list[Points]:
    """Outline of the bolus between its tail and its head; both ends taper."""
    tail, head = max(state.tail, 0.0), min(state.head, 0.999)
    if head - tail < 0.01 or tail >= 0.999:
        return []
    stations = np.linspace(tail, head, 72)
    share = (stations - tail) / (head - tail)
    taper = np.sqrt(np.clip(np.minimum(share / 0.30, (1.0 - share) / 0.24), 0.0, 1.0))
    wall = np.stack([np.interp(stations, channel.station, channel.wall[:, i]) for i in (0, 1)], axis=1)
    floor = np.stack([np.interp(stations, channel.station, channel.floor[:, i]) for i in (0, 1)], axis=1)
    # In the mouth the bolus lies on the tongue; in the pharynx it fills the lumen from its middle.
    anchor = np.where(stations < ORAL_END, 1.0, 0.5)
    width = (floor - wall) * (0.94 * taper)[:, None]
    near = wall + (floor - wall) * anchor[:, None] - width * anchor[:, None]
    far = ndimage.gaussian_filter1d(near + width, 2.5, axis=0, mode="nearest")
    near = ndimage.gaussian_filter1d(near, 2.5, axis=0, mode="nearest")
    return [np.concatenate([near, far[::-1]])]
