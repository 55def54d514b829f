"""Names, units, numbers and times as a reader of the report sees them."""

import re
from collections.abc import Iterable
from html import escape

import numpy as np

from bundle.data.clip import Clip
from bundle.metrics.kinematics import Measure

# What each measure is called below its group's heading.
MEASURES = {
    "c2_c4_length": "C2–C4 length",
    "hyoid_rest_x": "Rest, forward of C4",
    "hyoid_rest_y": "Rest, above C4",
    "hyoid_rest_xy": "Rest, distance from C4",
    "hyoid_peak_x": "Peak, forward of C4",
    "hyoid_peak_y": "Peak, above C4",
    "hyoid_peak_xy": "Peak, distance from C4",
    "hyoid_excursion_x": "Excursion forward",
    "hyoid_excursion_y": "Excursion upward",
    "hyoid_excursion_xy": "Excursion in all",
    "hyoid_speed": "Mean speed, onset to peak",
    "pharyngeal_area_rest": "Area at rest",
    "pharyngeal_area_constriction": "Area at maximum constriction",
    "pharyngeal_constriction_ratio": "Constriction ratio",
    "ues_maximal_width": "Widest opening",
    "ues_opening_duration": "Opening time",
    "pharyngeal_transit": "Pharyngeal transit",
    "residue": "Residue after the swallow",
    "residue_percent_full": "Share of the pharynx filled",
    "nrrs_pharynx": "Normalized residue ratio scale, whole pharynx",
    "bolus_in_airway": "Frames with bolus in the airway, to be reviewed",
}

# Heading -> how the names of its measures begin; all others come under "Scale and others".
GROUPS = {
    "Hyoid": ("hyoid_",),
    "Pharynx": ("pharyngeal_area", "pharyngeal_constriction"),
    "Upper oesophageal sphincter": ("ues_",),
    "Bolus": ("pharyngeal_transit", "residue", "nrrs", "bolus_"),
}

UNITS = {
    "%C2-4": "% C2–4",
    "%(C2-4)^2": "% (C2–4)²",
    "%C2-4/s": "% C2–4 per s",
    "1": "",
}

EVENTS = {
    "bolus_enters_pharynx": "Bolus enters pharynx",
    "hyoid_onset": "Hyoid onset",
    "hyoid_peak": "Hyoid peak",
    "pharyngeal_constriction": "Maximum constriction",
    "ues_opening": "UES opens",
    "ues_closing": "UES closes",
}

DISPLAY_RATE = 12  # frames per second at which a clip without frame times is shown, as in the overlay video
VERTEBRA = re.compile(r"[ctls]\d{1,2}", flags=re.IGNORECASE)
IDENTIFIER = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b")


def structure_label(name: str) -> str:
    """``c2`` is C2, ``laryngeal_vestibule`` is Laryngeal vestibule."""
    if VERTEBRA.fullmatch(name):
        return name.upper()
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def sentence(text: str) -> str:
    """A warning or reason with the names that code uses in words, its first letter a capital."""

    def in_words(match: re.Match[str]) -> str:
        name = match.group()
        return f"“{MEASURES[name]}”" if name in MEASURES else name.replace("_", " ")

    words = IDENTIFIER.sub(in_words, text)
    return words[:1].upper() + words[1:]


def event_label(name: str) -> str:
    """In words, also for a name that is not in the table."""
    return EVENTS.get(name, sentence(name))


def measure_label(name: str) -> str:
    """In words, also for a name that is not in the table."""
    return MEASURES.get(name, sentence(name))


def number(value: float) -> str:
    """Three significant digits, none behind the point from 100 on, with a proper minus."""
    digits = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    if 0 < abs(value) < 0.1:
        text = f"{value:.2g}" if abs(value) >= 1e-4 else "< 0.0001" if value > 0 else "> -0.0001"
    return text.replace("-", "−")


def grouped(measures: Iterable[Measure]) -> dict[str, list[Measure]]:
    """Measures under their headings, in the order of both; headings without measures are left out."""
    groups: dict[str, list[Measure]] = {heading: [] for heading in (*GROUPS, "Scale and others")}
    for measure in measures:
        found = (heading for heading, starts in GROUPS.items() if measure.name.startswith(starts))
        groups[next(found, "Scale and others")].append(measure)
    return {heading: members for heading, members in groups.items() if members}


def runs(frames: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive frame indices."""
    found: list[tuple[int, int]] = []
    for frame in sorted(frames):
        if found and frame == found[-1][1] + 1:
            found[-1] = (found[-1][0], frame)
        else:
            found.append((frame, frame))
    return found


def runs_in_words(frames: Iterable[int]) -> str:
    """Such as ``12–18, 30``, counted from 1."""
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}–{b + 1}" for a, b in runs(frames))


def items(texts: Iterable[str]) -> str:
    """List items of HTML."""
    return "".join(f"<li>{escape(sentence(text))}</li>" for text in texts)


def usable_times(clip: Clip) -> np.ndarray | None:
    """Frame times ``(T,)`` in ms, 0 for the first frame; None where there are none or they do not increase."""
    times = clip.frame_times_ms
    if times is None or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return None
    return times - times[0]


def rate_in_words(clip: Clip) -> str:
    """Frames per second and where they come from."""
    times = usable_times(clip)
    if times is None:
        known = "no frame times" if clip.frame_times_ms is None else "frame times do not increase and are not used"
        return f"{known}; shown at {DISPLAY_RATE} frames/s, for looking at only"
    if len(times) < 2:
        return "one frame"
    steps = np.diff(times)
    varies = ", varying" if steps.max() > 1.1 * steps.min() else ""
    stated = "" if clip.frame_times_source == "none" else f" ({clip.frame_times_source})"
    return f"{1000 / np.median(steps):.3g} frames/s{varies}, from the source's frame times{stated}"


def moment(clip: Clip, frame: int) -> str:
    """Such as ``frame 12 · 0.367 s``, counted from 1."""
    times = usable_times(clip)
    return f"frame {frame + 1}" if times is None else f"frame {frame + 1} · {times[frame] / 1000:.3f} s"
