"""The truth behind a phantom study: positions, areas, phases. Measures computed from masks are tested against it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Kinematics:
    """True motion of one study; per-frame arrays have length T.

    Points are (x, y) pixel coordinates, x along columns, y along rows, pixel centres at integers. Onsets and peaks are
    frame indices, -1 where the event does not fall into the study.
    """

    time_s: np.ndarray  # Time from the onset of hyoid motion (T,)
    hyoid_px: np.ndarray  # Centre of the hyoid body (T, 2)
    hyoid_mm: np.ndarray  # Hyoid in C4's frame (T, 2): forward and up from C4's anterior-inferior corner, millimetres
    c2_px: np.ndarray  # Anterior-inferior corner of C2 (T, 2)
    c4_px: np.ndarray  # Anterior-inferior corner of C4 (T, 2)
    c2_c4_mm: float  # Distance between these corners, millimetres
    pharynx_area_mm2: np.ndarray  # Area of the pharyngeal lumen (T,)
    ues_width_mm: np.ndarray  # Antero-posterior opening of the upper oesophageal sphincter (T,); 0 when shut
    bolus_area_mm2: np.ndarray  # Area of all contrast (T,)
    residue_area_mm2: np.ndarray  # Area of contrast that stays in valleculae and pyriform sinuses (T,)
    bolus_head: np.ndarray  # Head of the bolus as a share of its way from the incisors to the chest (T,)
    bolus_in_airway: np.ndarray  # Contrast in vestibule or trachea (T,)
    phase: tuple[str, ...]  # oral, pharyngeal, oesophageal or rest per frame
    hyoid_onset_frame: int  # First frame at or after the onset of hyoid motion
    hyoid_peak_frame: int  # Frame of the hyoid's largest excursion
    ues_opening_frame: int  # First frame with an open sphincter
    ues_closing_frame: int  # First frame after it with a shut sphincter
    constriction_frame: int  # Frame of the smallest pharyngeal area

    def save(self, path: Path) -> None:
        """Write as JSON."""
        values = {key: _plain(value) for key, value in asdict(self).items()}
        path.write_text(json.dumps({"synthetic": True, **values}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Kinematics":
        """Read what ``save`` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values.pop("synthetic")
        values["phase"] = tuple(values["phase"])
        arrays: dict[str, Any] = {
            key: np.array(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**arrays)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return np.round(value, 4).tolist() if value.dtype.kind == "f" else value.tolist()
    return value


def first_frame(condition: np.ndarray, start: int = 0) -> int:
    """Index of the first true entry from ``start`` on, or -1."""
    found = np.flatnonzero(condition[start:])
    return int(found[0]) + start if len(found) else -1
