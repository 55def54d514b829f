"""Image formation: physics that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from bundle.phantom.layers import texture
from bundle.phantom.machine import draw_machine
from bundle.phantom.xray import Detector, collimator, display, store

SIZE = 128
SENSOR = np.full((64, 64), 1 / 64**2, np.float32)


def machine(**changes):
    ideal = {"scatter": 0.0, "glare": 0.0, "gamma": 1.0, "lag": 0.0, "photons": 1e9, "is_round": False}
    ideal |= {"gray_scale": "linear", "cut_corner_mm": 0.0, "shutter_mm": (-500.0, -500.0, 500.0, 500.0)}
    return replace(draw_machine(np.random.default_rng(0)), **(ideal | changes))


def detector(**changes) -> Detector:
    return Detector(machine(**changes), SIZE, np.random.default_rng(0))


def steps(*attenuations: float) -> np.ndarray:
    """Vertical stripes of the given attenuation."""
    return np.repeat(np.array(attenuations, np.float32), SIZE // len(attenuations))[None].repeat(SIZE, axis=0)


def middle(image: np.ndarray, index: int, count: int) -> float:
    width = SIZE // count
    return float(np.median(display(image)[:, index * width + width // 3 : index * width + 2 * width // 3]))


def test_transmission_follows_beer_and_lambert():
    image = detector().expose(steps(2.0, 2.5, 3.0, 4.0), SENSOR, 1)
    grays = [middle(image, i, 4) for i in range(4)]
    assert grays[0] / grays[1] == pytest.approx(np.exp(0.5), rel=0.02)
    assert grays[1] / grays[3] == pytest.approx(np.exp(1.5), rel=0.02)


def test_a_log_machine_is_linear_in_thickness():
    image = detector(gray_scale="log").expose(steps(1.0, 1.5, 2.0, 2.5), SENSOR, 1)
    grays = [middle(image, i, 4) for i in range(4)]
    assert grays[1] - grays[2] == pytest.approx(grays[2] - grays[3], rel=0.12)


def test_brightness_control_holds_the_gray_of_a_thicker_patient():
    thin = display(detector().expose(steps(2.0, 2.0), SENSOR, 1)).mean()
    thick = display(detector().expose(steps(3.5, 3.5), SENSOR, 1)).mean()
    assert thin == pytest.approx(thick, rel=0.02)


def test_more_photons_mean_less_noise_by_the_square_root():
    few = display(detector(photons=400.0).expose(steps(2.0, 2.0), SENSOR, 1))
    many = display(detector(photons=1600.0).expose(steps(2.0, 2.0), SENSOR, 1))
    assert few[20:-20, 20:-20].std() / many[20:-20, 20:-20].std() == pytest.approx(2.0, rel=0.1)


def test_lag_leaves_a_ghost_that_fades_with_skipped_frames():
    def ghost(frames_between: int) -> float:
        machine = detector(lag=0.3)
        machine.expose(steps(2.0, 3.0), SENSOR, 1)
        return middle(machine.expose(steps(3.0, 2.0), SENSOR, frames_between), 0, 2)

    fresh = middle(detector().expose(steps(3.0, 2.0), SENSOR, 1), 0, 2)
    assert ghost(1) > ghost(3) > fresh
    assert ghost(10) == pytest.approx(fresh, rel=0.02)


def test_scatter_lifts_the_dark():
    def dark(scatter: float) -> float:
        return middle(detector(scatter=scatter).expose(steps(2.0, 6.0, 2.0, 6.0), SENSOR, 1), 1, 4)

    assert dark(0.4) > dark(0.0) + 0.02


def test_direct_exposure_saturates_flat():
    image = display(detector(saturation=0.95, photons=500.0).expose(steps(0.0, 3.0, 3.0, 3.0), SENSOR / 8, 1))
    assert image[:, 4:20].max() <= 0.951
    assert image[10:-10, 8:20].std() < 0.01


def test_stored_values_are_12_bits_and_come_back():
    gray = np.linspace(0, 1, 500, dtype=np.float32)
    stored = store(gray)
    assert stored.dtype == np.uint16
    assert stored.max() < 4096
    assert abs(display(stored) - gray).max() < 1 / 3900


def test_the_collimator_is_open_inside_and_shut_outside():
    closed = machine(shutter_mm=(-60.0, -70.0, 50.0, 80.0), field_mm=200.0, edge_mm=1.0, is_round=True)
    aperture, veil = collimator(closed, 200)  # one pixel per millimeter
    assert aperture[100, 60] > 0.95
    assert aperture[100, 30] < 0.01
    assert aperture[100, 160] < 0.01
    assert aperture[100, 42] > aperture[100, 70], "the inner edge has a bright shoulder"
    assert veil[100, 20] > veil[2, 2], "the image intensifier's circle cuts the corners"


def test_tissue_texture_has_the_spectrum_of_tissue():
    """Power falls as f^-3: by 2^3 per octave."""
    field = texture(512, seed=1)
    power = abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None]) * 512
    octaves = [power[(frequency > f - 1) & (frequency < f + 1)].mean() for f in (8, 16, 32, 64)]
    slope = np.polyfit(np.log([8, 16, 32, 64]), np.log(octaves), 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.25)
