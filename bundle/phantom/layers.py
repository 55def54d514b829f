"""Thickness of everything in the ray's way, as attenuation: what stands still is drawn once, what moves every frame."""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from bundle.phantom import anatomy as outlines
from bundle.phantom.anatomy import Anatomy
from bundle.phantom.geometry import Points, ellipse, ribbon, rounded
from bundle.phantom.machine import Machine
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas, moved, resized
from bundle.phantom.spine import posterior_elements

# Linear attenuation per millimeter at about 70 kVp, after beam hardening.
SOFT_PER_MM, BONE_PER_MM = 0.0195, 0.045
SHOULDER_THICKNESS_MM = 300.0


@dataclass(frozen=True)
class StillLayers:
    """Attenuation drawn once per study."""

    canvas: Canvas  # Canvas they were drawn on
    body: np.ndarray  # Everything fixed (size, size)
    mandible: np.ndarray  # The jaw at closure with its teeth (size, size)
    jaw_window: tuple[slice, slice]  # Rows and columns that the jaw can reach
    hidden: np.ndarray  # Where the shoulder lets nothing be seen (size, size), boolean


def texture(size: int, seed: int) -> np.ndarray:
    """Random field with a power spectrum of about f^-3, unit variance, the same tissue at every size."""
    grid = 512
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(grid)[:, None], np.fft.rfftfreq(grid)[None, :])
    frequency[0, 0] = np.inf
    amplitude = (np.maximum(frequency, 3.0 / grid) ** -1.5).astype(np.float32)
    amplitude[0, 0] = 0.0
    field = fft.irfft2(fft.rfft2(rng.standard_normal((grid, grid), dtype=np.float32)) * amplitude, s=(grid, grid))
    return resized((field / field.std()).astype(np.float32), size)


def solid(canvas: Canvas, target: np.ndarray, points: Points, weight: float, shell: float, rim_mm: float) -> None:
    """Add a bone to ``target``: a rounded body of ``weight`` plus a cortical rim that attenuates by ``shell``."""
    canvas.add(target, points, weight, blur_mm=0.9)
    if shell:
        closed = np.concatenate([points, points[:2]])
        canvas.add(target, ribbon(closed, rim_mm / 2), shell, blur_mm=0.25)


def body_thickness(canvas: Canvas, anatomy: Anatomy) -> np.ndarray:
    """Soft tissue in millimeters: an elliptic cylinder under the skin line, much thicker at head and shoulders."""
    patient, scale = anatomy.patient, canvas.pixels_per_mm
    wide = Canvas(canvas.size // 2, canvas.matrix / 2, canvas.offset / 2 - 0.25)
    # Distances need the body beyond the frame: draw on a grid with a margin.
    pad = int(70 * wide.pixels_per_mm)
    padded = Canvas(wide.size + 2 * pad, wide.matrix, wide.offset + pad)
    inside = padded.mask(outlines.body_outline(anatomy))
    depth = ndimage.distance_transform_edt(inside).astype(np.float32)[pad:-pad, pad:-pad] / np.float32(scale / 2)
    share = np.clip(depth / patient.skin_depth_mm, 0.0, 1.0)
    thickness = patient.neck_thickness_mm * np.sqrt(1.0 - (1.0 - share) ** 2)
    head = np.zeros((wide.size, wide.size), np.float32)
    wide.add(head, outlines.cranium(anatomy), 1.0, blur_mm=6.0)
    face = np.zeros_like(head)
    wide.add(face, outlines.mouth(anatomy), patient.face_thickness_mm, blur_mm=7.0)
    thickness += face + head * np.float32(patient.head_thickness_mm - patient.neck_thickness_mm)
    return resized(thickness.astype(np.float32), canvas.size)


def shoulder_share(canvas: Canvas, anatomy: Anatomy) -> np.ndarray:
    """Shoulder as a share of its full thickness ``(size, size)``: a visible edge, then a slow rise."""
    share = np.zeros((canvas.size, canvas.size), np.float32)
    canvas.add(share, outlines.shoulder_outline(anatomy), 0.45, blur_mm=1.2)
    canvas.add(share, outlines.shoulder_outline(anatomy), 0.55, blur_mm=9.0)
    return share


def draw_still(canvas: Canvas, anatomy: Anatomy, machine: Machine, rng: np.random.Generator) -> StillLayers:
    """Draw everything that does not move in the swallow."""
    patient = anatomy.patient
    size, bone = canvas.size, BONE_PER_MM * patient.bone_density
    shoulder = shoulder_share(canvas, anatomy)
    tissue = (body_thickness(canvas, anatomy) + shoulder * np.float32(SHOULDER_THICKNESS_MM)) * np.float32(SOFT_PER_MM)
    tissue *= 1.0 + 0.055 * texture(size, patient.texture_seed)
    bones = np.zeros((size, size), np.float32)
    _draw_skull(canvas, bones, anatomy, bone)
    _draw_spine(canvas, bones, anatomy, bone)
    bones *= 1.0 + 0.16 * texture(size, patient.texture_seed + 1)
    metal = np.zeros((size, size), np.float32)
    _draw_teeth(canvas, bones, metal, anatomy, bone, rng, upper=True)
    if patient.has_plate:
        for part in outlines.cervical_plate(anatomy):
            canvas.add(metal, part, 2.2)
    if patient.has_tube:
        canvas.add(metal, outlines.feeding_tube(anatomy), 0.8, blur_mm=0.3)
    _draw_marker(canvas, metal, machine)
    jaw = np.zeros((size, size), np.float32)
    for half in outlines.mandible_halves(anatomy, 0.0):
        solid(canvas, jaw, half, 4.4 * bone, 4.0 * bone, 2.2)
    for points, thickness in zip(outlines.mandible_border(anatomy), (10.0, 6.5, 8.0), strict=True):
        canvas.add(jaw, points, thickness * bone, blur_mm=1.0)
    jaw *= 1.0 + 0.12 * texture(size, patient.texture_seed + 2)
    _draw_teeth(canvas, jaw, jaw, anatomy, bone, rng, upper=False)
    return StillLayers(canvas, tissue + bones + metal, jaw, _reach(jaw), shoulder > 0.8)


def _reach(jaw: np.ndarray) -> tuple[slice, slice]:
    """Bounding box of the jaw with a margin for its motion."""
    margin = jaw.shape[0] // 14
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(jaw.any(axis=axis))
        low, high = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        spans.append(slice(max(low - margin, 0), min(high + margin + 1, jaw.shape[0])))
    return spans[0], spans[1]


def _draw_skull(canvas: Canvas, bones: np.ndarray, anatomy: Anatomy, bone: float) -> None:
    solid(canvas, bones, outlines.cranium(anatomy), 13.0 * bone, 3.0 * bone, 3.0)
    solid(canvas, bones, outlines.maxilla(anatomy), 6.0 * bone, 2.0 * bone, 2.0)
    canvas.add(bones, outlines.hard_palate(anatomy), 10.0 * bone, blur_mm=0.4)
    for points, thickness in outlines.skull_details(anatomy):
        canvas.add(bones, points, 24.0 * thickness * bone, blur_mm=0.8)


def _draw_spine(canvas: Canvas, bones: np.ndarray, anatomy: Anatomy, bone: float) -> None:
    patient, spine = anatomy.patient, anatomy.spine
    for level in range(2, 8):
        # Pillars and facets of both sides, a little apart.
        for side in (-0.5, 0.5):
            shift = side * np.array(patient.ramus_shift_mm)
            for points, thickness in posterior_elements(patient, spine, level):
                solid(canvas, bones, points + shift, 4.6 * thickness * bone, 3.4 * thickness * bone, 1.5)
        solid(canvas, bones, anatomy.vertebrae[level], 4.6 * bone, 6.5 * bone, 1.4)
    # C1, around the dens.
    anterior_arch = spine.local(2.0, ellipse((7.5, patient.dens_mm + 2.5), (3.6, 5.6), -10))
    posterior_arch = spine.local(2.0, ellipse((-27.0, patient.dens_mm + 4.5), (13.0, 4.2), 12))
    lateral_mass = spine.local(2.0, ellipse((-6.0, patient.dens_mm + 1.5), (10.0, 6.5), 0))
    solid(canvas, bones, anterior_arch, 6.0 * bone, 4.0 * bone, 1.6)
    solid(canvas, bones, posterior_arch, 3.5 * bone, 3.5 * bone, 1.6)
    solid(canvas, bones, lateral_mass, 6.0 * bone, 2.0 * bone, 1.6)


def _draw_teeth(
    canvas: Canvas,
    bones: np.ndarray,
    metal: np.ndarray,
    anatomy: Anatomy,
    bone: float,
    rng: np.random.Generator,
    upper: bool,
) -> None:
    for outline, is_filled in outlines.teeth(anatomy, rng, upper):
        canvas.add(bones, outline, 6.5 * bone, blur_mm=0.4)
        crown = outline[[0, 1, 6, 7]]
        canvas.add(bones, crown, 5.0 * bone, blur_mm=0.3)
        if is_filled:
            middle = crown.mean(axis=0)
            share = 1.15 if rng.random() < anatomy.patient.crowns else rng.uniform(0.7, 1.25, (4, 2))
            filling = rounded(middle + (crown - middle) * share, 0.3)
            canvas.add(metal, filling, rng.uniform(1.2, 2.4), blur_mm=0.15)


def _draw_marker(canvas: Canvas, metal: np.ndarray, machine: Machine) -> None:
    radius = machine.marker_diameter_mm / 2
    center = np.array(machine.marker_mm)
    if machine.marker == "disc":
        canvas.add(metal, ellipse(center, (radius, radius)), 3.6, blur_mm=0.15)
    elif machine.marker == "rings":
        for shift, squeeze in ((0.0, 1.0), (0.42, 0.7)):
            middle = center + shift * np.array([-60.0, 40.0]) * 0.6
            ring = ellipse(middle, (0.22 * machine.marker_diameter_mm * squeeze, 0.22 * machine.marker_diameter_mm))
            canvas.add(metal, ribbon(np.concatenate([ring, ring[:2]]), 0.9), 1.6, blur_mm=0.2)


def attenuation(still: StillLayers, canvas: Canvas, jaw_canvas: Canvas, pose: Pose) -> np.ndarray:
    """Line integral of attenuation for one frame ``(size, size)``; never below zero."""
    patient = pose.patient
    bone = BONE_PER_MM * patient.bone_density
    total = moved(still.body, still.canvas, canvas).copy()
    rows, columns = still.jaw_window
    total[rows, columns] += moved(still.mandible, still.canvas, jaw_canvas, still.jaw_window)
    air = np.zeros_like(total)
    width = SOFT_PER_MM
    canvas.add(air, pose.pharynx, 24.0 * width, blur_mm=0.8)
    canvas.add(air, pose.oral_air, 22.0 * width, blur_mm=0.5)
    canvas.add(air, pose.trachea, 18.0 * width, blur_mm=1.8)
    if pose.vestibule is not None:
        canvas.add(air, pose.vestibule, 24.0 * width, blur_mm=0.9)
        canvas.add(air, pose.glottis, 20.0 * width * patient.glottis_air, blur_mm=0.9)
    # Tissue and contrast stand in the air instead of it.
    standing = ((pose.velum, patient.velum_thickness_mm), (pose.epiglottis, 14.0), (pose.arytenoid, 12.0))
    for points, thickness in standing:
        canvas.add(air, points, -thickness * width, blur_mm=0.5)
    canvas.add(air, pose.tongue, -9.0 * width, blur_mm=1.5)
    canvas.add(total, pose.hyoid, 4.6 * bone, blur_mm=0.5)
    canvas.add(total, pose.hyoid_horns, 2.2 * bone, blur_mm=0.4)
    calcified = 1.0 + 3.5 * patient.larynx_calcification
    cartilages = ((pose.cricoid, 1.1, 0.6), (pose.thyroid, 0.7, 1.0), (pose.thyroid_angle, 1.3, 0.6))
    for points, thickness, blur_mm in (*cartilages, (pose.arytenoid, 0.9, 0.5)):
        canvas.add(total, points, thickness * calcified * bone, blur_mm)
    contrast = pose.swallow.contrast_per_mm
    for pools, thickness, blur_mm in ((pose.lumen, 13.0, 0.9), (pose.residue, 9.0, 0.7), (pose.airway_bolus, 7.0, 0.6)):
        for points in pools:
            canvas.add(total, points, thickness * contrast, blur_mm)
    return np.maximum(total - air, 0.0)
