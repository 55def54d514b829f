"""One synthetic VFSS: patient, machine and swallow drawn from a seed, then imaged frame by frame."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from bundle.phantom.anatomy import CONDYLE_MM, Anatomy, build_anatomy
from bundle.phantom.hard import shift_machine, shift_patient, shift_swallow
from bundle.phantom.layers import attenuation, draw_still
from bundle.phantom.machine import Machine, canvas_at, draw_machine
from bundle.phantom.patient import Patient, draw_patient
from bundle.phantom.pose import Pose, pose_at
from bundle.phantom.raster import Canvas
from bundle.phantom.spine import anterior_inferior_corner
from bundle.phantom.swallow import ORAL_END, PHARYNX_END, Swallow, SwallowState, draw_swallow, state_at
from bundle.phantom.truth import Kinematics, draw_masks, first_frame, visible_masks
from bundle.phantom.xray import Detector, display, measuring_field
from bundle.structures import STRUCTURES

Sampling = Literal["spread", "consecutive"]
Domain = Literal["standard", "hard"]


@dataclass(frozen=True)
class PhantomStudy:
    """A synthetic study with its truth.

    Attributes:
        frames: Display grey ``(T, 1, H, W)`` float32 in [0, 1]; bright = many X-rays.
        masks: ``(T, 12, H, W)`` uint8, in the order of ``STRUCTURES``.
        frame_times_ms: Time of each frame from the first ``(T,)`` float64.
        pixel_spacing_mm: True row and column spacing in the plane of the pharynx.
        kinematics: True motion.
        description: Findings and set-up as plain values; always ``synthetic: True``.
        stored: Stored 12-bit values ``(T, H, W)`` uint16, before windowing.
        seed: What it was made from.
    """

    frames: np.ndarray
    masks: np.ndarray
    frame_times_ms: np.ndarray
    pixel_spacing_mm: tuple[float, float]
    kinematics: Kinematics
    description: dict[str, Any]
    stored: np.ndarray
    seed: int


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
            ``consecutive`` keeps every frame, centred on the pharyngeal phase. Frame times are true in both.
        frame_rate: Frames per second of the machine; drawn among 12, 15, 25 and 30 when None.
        marker_diameter_mm: Diameter of the calibration marker (24.26: a US quarter).
        domain: ``standard``, or ``hard`` for what the standard draws give never or rarely: another machine, less dose,
            hardware, more pathology (table in docs/concepts/phantom.md).

    Returns:
        Frames, masks and the true kinematics.

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
    study = _image(seed, size, times_s, step, patient, swallow, machine, draws[3], draws[4])
    return replace(study, description={**study.description, "domain": domain})


def frame_times(swallow: Swallow, frame_rate: float, num_frames: int, sampling: Sampling) -> tuple[np.ndarray, int]:
    """Times of the frames from the onset of hyoid motion, and how many machine frames lie between two of them."""
    if sampling not in ("spread", "consecutive"):
        raise ValueError(f"sampling must be 'spread' or 'consecutive', got {sampling!r}")
    step = 1
    if sampling == "spread":
        step = max(1, round((swallow.end_s - swallow.start_s) * frame_rate / num_frames))
    centre = 0.35 * swallow.slowness if step == 1 else (swallow.start_s + swallow.end_s) / 2
    middle = (num_frames - 1) / 2
    return centre + (np.arange(num_frames) - middle) * step / frame_rate, step


def _image(
    seed: int,
    size: int,
    times_s: np.ndarray,
    step: int,
    patient: Patient,
    swallow: Swallow,
    machine: Machine,
    layer_rng: np.random.Generator,
    noise_rng: np.random.Generator,
) -> PhantomStudy:
    anatomy = build_anatomy(patient)
    base = canvas_at(machine, patient.scale, size, np.zeros(2), 0.0)
    still = draw_still(base, anatomy, machine, layer_rng)
    detector = Detector(machine, size, noise_rng)
    visible = (detector.aperture > 0.5) & ~still.hidden
    sensor = measuring_field(base, anatomy.spine.point(4.0, 22.0))
    pivot = anatomy.head.place([CONDYLE_MM])[0]
    phase = layer_rng.uniform(0, 2 * np.pi, 3)
    stored = np.zeros((len(times_s), size, size), np.uint16)
    masks = np.zeros((len(times_s), len(STRUCTURES), size, size), np.uint8)
    truth: list[dict[str, Any]] = []
    for index, time in enumerate(times_s):
        state = state_at(swallow, float(time))
        pose = pose_at(anatomy, swallow, state)
        canvas = _swaying(machine, patient.scale, size, float(time), phase)
        jaw = _turned(canvas, pivot, pose.jaw_degrees)
        image = attenuation(still, canvas, jaw, anatomy, swallow, pose)
        stored[index] = detector.expose(image, sensor, step)
        drawn = draw_masks(canvas, anatomy, pose)
        masks[index] = visible_masks(drawn, visible)
        truth.append(_truth(canvas, anatomy, pose, state, drawn, machine.field_mm / size))
    spacing = machine.field_mm / size
    return PhantomStudy(
        frames=display(stored)[:, None],
        masks=masks,
        frame_times_ms=(times_s - times_s[0]) * 1000.0,
        pixel_spacing_mm=(spacing, spacing),
        kinematics=_kinematics(times_s, truth),
        description=_describe(patient, swallow, machine),
        stored=stored,
        seed=seed,
    )


def _swaying(machine: Machine, scale: float, size: int, time: float, phase: np.ndarray) -> Canvas:
    """Canvas of a frame with the head's slow motion."""
    shift = machine.sway_mm * np.array([np.sin(1.9 * time + phase[0]), np.sin(1.3 * time + phase[1])])
    return canvas_at(machine, scale, size, shift, 0.4 * machine.sway_mm * np.sin(1.1 * time + phase[2]))


def _turned(canvas: Canvas, pivot: np.ndarray, degrees: float) -> Canvas:
    """Canvas on which the closed jaw appears opened by an angle about the condyle."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Canvas(canvas.size, canvas.matrix @ turn, canvas.offset + canvas.matrix @ (pivot - turn @ pivot))


def _truth(
    canvas: Canvas, anatomy: Anatomy, pose: Pose, state: SwallowState, masks: np.ndarray, spacing: float
) -> dict[str, Any]:
    """True values of one frame; areas are counted in the masks as they are without the collimator."""
    patient, spine = anatomy.patient, anatomy.spine
    c2, c4 = (anterior_inferior_corner(patient, spine, level) for level in (2, 4))
    up = (c2 - c4) / np.linalg.norm(c2 - c4)
    forward = np.array([-up[1], up[0]])
    offset = (pose.hyoid_centre - c4) * patient.scale
    residue = canvas.mask(*pose.residue).sum() if pose.residue else 0
    return {
        "hyoid_px": canvas.to_pixels(pose.hyoid_centre),
        "hyoid_mm": np.array([offset @ forward, offset @ up]),
        "c2_px": canvas.to_pixels(c2),
        "c4_px": canvas.to_pixels(c4),
        "c2_c4_mm": float(np.linalg.norm(c2 - c4)) * patient.scale,
        "pharynx_area_mm2": float(masks[STRUCTURES.index("pharynx")].sum()) * spacing**2,
        "bolus_area_mm2": float(masks[STRUCTURES.index("bolus")].sum()) * spacing**2,
        "residue_area_mm2": float(residue) * spacing**2,
        "ues_width_mm": pose.ues_width_mm * patient.scale,
        "bolus_head": min(state.head, 1.0),
        "bolus_in_airway": bool(pose.airway_bolus),
        "phase": _phase(state),
    }


def _phase(state: SwallowState) -> str:
    if state.tail >= 1.0:
        return "rest"
    if state.head < ORAL_END:
        return "oral"
    return "pharyngeal" if state.tail < PHARYNX_END else "oesophageal"


def _kinematics(times_s: np.ndarray, truth: list[dict[str, Any]]) -> Kinematics:
    def column(name: str) -> np.ndarray:
        return np.array([frame[name] for frame in truth])

    hyoid, ues, pharynx = column("hyoid_mm"), column("ues_width_mm"), column("pharynx_area_mm2")
    opening = first_frame(ues > 0.5)
    return Kinematics(
        time_s=times_s,
        hyoid_px=column("hyoid_px"),
        hyoid_mm=hyoid,
        c2_px=column("c2_px"),
        c4_px=column("c4_px"),
        c2_c4_mm=float(truth[0]["c2_c4_mm"]),
        pharynx_area_mm2=pharynx,
        ues_width_mm=ues,
        bolus_area_mm2=column("bolus_area_mm2"),
        residue_area_mm2=column("residue_area_mm2"),
        bolus_head=column("bolus_head"),
        bolus_in_airway=column("bolus_in_airway"),
        phase=tuple(frame["phase"] for frame in truth),
        hyoid_onset_frame=first_frame(times_s >= 0.0),
        hyoid_peak_frame=int(np.argmax(np.linalg.norm(hyoid - hyoid[0], axis=1))),
        ues_opening_frame=opening,
        ues_closing_frame=first_frame(ues <= 0.5, opening) if opening >= 0 else -1,
        constriction_frame=int(np.argmin(pharynx)),
    )


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
        "grey_scale": machine.grey_scale,
        "patient": asdict(patient),
        "swallow": asdict(swallow),
        "machine": asdict(machine),
    }
