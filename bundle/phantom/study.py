"""One synthetic VFSS: patient, machine and swallow drawn from a seed, then imaged frame by frame."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from bundle.phantom.anatomy import CONDYLE_MM, build_anatomy
from bundle.phantom.hard import shift_machine, shift_patient, shift_swallow
from bundle.phantom.layers import attenuation, draw_still
from bundle.phantom.machine import Machine, canvas_at, draw_machine
from bundle.phantom.patient import Patient, draw_patient
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas
from bundle.phantom.swallow import Swallow, draw_swallow, state_at
from bundle.phantom.truth import Kinematics, draw_masks, frame_truth, visible_masks
from bundle.phantom.xray import Detector, display, measuring_field
from bundle.structures import STRUCTURES

Sampling = Literal["spread", "consecutive"]
Domain = Literal["standard", "hard"]


@dataclass(frozen=True)
class PhantomStudy:
    """A synthetic study with its truth."""

    frames: np.ndarray  # Display gray (T, 1, H, W) float32 in [0, 1]; bright = many X-rays
    masks: np.ndarray  # (T, 12, H, W) uint8, in the order of STRUCTURES
    frame_times_ms: np.ndarray  # Time of each frame from the first (T,) float64
    pixel_spacing_mm: tuple[float, float]  # True row and column spacing in the plane of the pharynx
    kinematics: Kinematics  # True motion
    description: dict[str, Any]  # Findings and set-up as plain values; always synthetic: True
    stored: np.ndarray  # Stored 12-bit values (T, H, W) uint16, before windowing
    seed: int  # What it was made from


def generate_study(
    seed: int,
    size: int = 512,
    num_frames: int = 60,
    sampling: Sampling = "spread",
    frame_rate: float | None = None,
    marker_diameter_mm: float = 24.26,
    domain: Domain = "standard",
) -> PhantomStudy:
    """Make one synthetic swallowing study.

    Args:
        seed: Draws patient, machine and swallow; the same seed shows the same patient at every size.
        size: Rows and columns.
        num_frames: Number of frames.
        sampling: ``spread`` keeps every k-th frame of the machine so that ``num_frames`` cover the whole swallow;
            ``consecutive`` keeps every frame, centered on the pharyngeal phase. Frame times are true in both.
        frame_rate: Frames per second of the machine; drawn among 12, 15, 25 and 30 when None.
        marker_diameter_mm: Diameter of the calibration marker (24.26: a US quarter).
        domain: ``standard``, or ``hard`` for what the standard draws give never or rarely: another machine, less dose,
            hardware, more pathology (table in docs/concepts/phantom.md).

    Raises:
        ValueError: If a size or number is too small, or the sampling or the domain is unknown.
    """
    if size < 32 or num_frames < 1:
        raise ValueError(f"a study needs size >= 32 and num_frames >= 1, got size={size} and num_frames={num_frames}")
    if domain not in ("standard", "hard"):
        raise ValueError(f"domain must be 'standard' or 'hard', got {domain!r}")
    draws = [np.random.default_rng([seed, stream]) for stream in range(6)]
    patient, swallow = draw_patient(draws[0]), draw_swallow(draws[1])
    machine = draw_machine(draws[2], marker_diameter_mm)
    if domain == "hard":
        patient, swallow = shift_patient(patient, draws[5]), shift_swallow(swallow, draws[5])
        machine = shift_machine(machine, draws[5])
    if frame_rate is not None:
        machine = replace(machine, frame_rate=float(frame_rate))
    times_s, step = frame_times(swallow, machine.frame_rate, num_frames, sampling)
    stored, masks, kinematics = _image(_Imager(patient, machine, swallow, size, draws[3], draws[4]), times_s, step)
    spacing = machine.field_mm / size
    return PhantomStudy(
        frames=display(stored)[:, None],
        masks=masks,
        frame_times_ms=(times_s - times_s[0]) * 1000.0,
        pixel_spacing_mm=(spacing, spacing),
        kinematics=kinematics,
        description=_describe(patient, swallow, machine) | {"domain": domain},
        stored=stored,
        seed=seed,
    )


def frame_times(swallow: Swallow, frame_rate: float, num_frames: int, sampling: Sampling) -> tuple[np.ndarray, int]:
    """Times of the frames from the onset of hyoid motion, and how many machine frames lie between two of them."""
    if sampling not in ("spread", "consecutive"):
        raise ValueError(f"sampling must be 'spread' or 'consecutive', got {sampling!r}")
    step = 1
    if sampling == "spread":
        step = max(1, round((swallow.end_s - swallow.start_s) * frame_rate / num_frames))
    center = 0.35 * swallow.slowness if step == 1 else (swallow.start_s + swallow.end_s) / 2
    middle = (num_frames - 1) / 2
    return center + (np.arange(num_frames) - middle) * step / frame_rate, step


class _Imager:
    """A patient before a machine: what is drawn once, and where everything is at a time."""

    def __init__(
        self,
        patient: Patient,
        machine: Machine,
        swallow: Swallow,
        size: int,
        layer_rng: np.random.Generator,
        noise_rng: np.random.Generator,
    ) -> None:
        self.machine, self.swallow, self.size = machine, swallow, size
        self.anatomy = build_anatomy(patient)
        base = canvas_at(machine, patient.scale, size, np.zeros(2), 0.0)
        self.still = draw_still(base, self.anatomy, machine, layer_rng)
        self.detector = Detector(machine, size, noise_rng)
        self.visible = (self.detector.aperture > 0.5) & ~self.still.hidden
        self.sensor = measuring_field(base, self.anatomy.spine.point(4.0, 22.0))
        self.pivot = self.anatomy.head.place([CONDYLE_MM])[0]
        self.phase = layer_rng.uniform(0, 2 * np.pi, 3)

    def canvas(self, time: float) -> Canvas:
        """Of a frame with the head's slow motion."""
        machine, phase = self.machine, self.phase
        shift = machine.sway_mm * np.array([np.sin(1.9 * time + phase[0]), np.sin(1.3 * time + phase[1])])
        turn = 0.4 * machine.sway_mm * np.sin(1.1 * time + phase[2])
        return canvas_at(machine, self.anatomy.patient.scale, self.size, shift, turn)

    def jaw_canvas(self, canvas: Canvas, degrees: float) -> Canvas:
        """On which the closed jaw appears opened by an angle about the condyle."""
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = canvas.matrix @ (self.pivot - turn @ self.pivot)
        return Canvas(canvas.size, canvas.matrix @ turn, canvas.offset + shift)


def _image(imager: _Imager, times_s: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray, Kinematics]:
    """Stored values, masks and truth of every frame."""
    anatomy, size = imager.anatomy, imager.size
    stored = np.zeros((len(times_s), size, size), np.uint16)
    masks = np.zeros((len(times_s), len(STRUCTURES), size, size), np.uint8)
    truth: list[dict[str, Any]] = []
    for index, time in enumerate(times_s):
        pose = Pose(anatomy, imager.swallow, state_at(imager.swallow, float(time)))
        canvas = imager.canvas(float(time))
        image = attenuation(imager.still, canvas, imager.jaw_canvas(canvas, pose.jaw_degrees), pose)
        stored[index] = imager.detector.expose(image, imager.sensor, step)
        drawn = draw_masks(canvas, anatomy, pose)
        masks[index] = visible_masks(drawn, imager.visible)
        truth.append(frame_truth(canvas, pose, drawn, imager.machine.field_mm / size))
    return stored, masks, Kinematics.of_frames(times_s, truth)


def _describe(patient: Patient, swallow: Swallow, machine: Machine) -> dict[str, Any]:
    """Findings first, then every drawn value."""
    return {
        "synthetic": True,
        "residue": bool(max(swallow.vallecular_residue, swallow.pyriform_residue) > 0.15),
        "penetration": swallow.penetration,
        "aspiration": swallow.aspiration,
        "delayed_trigger": bool(swallow.oral_delay_s > 0.25),
        "reduced_hyoid_excursion": bool(np.hypot(swallow.hyoid_anterior_mm, swallow.hyoid_superior_mm) < 12.0),
        "incomplete_epiglottic_inversion": bool(swallow.epiglottis_inversion < 0.75),
        "hardware": patient.has_plate or patient.has_tube,
        "fillings": patient.fillings,
        "marker": machine.marker,
        "marker_diameter_mm": machine.marker_diameter_mm,
        "magnification": machine.magnification,
        "frame_rate": machine.frame_rate,
        "gray_scale": machine.gray_scale,
        "patient": asdict(patient),
        "swallow": asdict(swallow),
        "machine": asdict(machine),
    }
