"""Small parts of the report: curves, marks, pictures, words, key frames, clock."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from bundle.metrics.kinematics.clip_masks import ClipMasks
from bundle.metrics.reliability import HUMAN
from bundle.report.content import MOST_PIXELS, encode_frames, picture_size
from bundle.report.curves import swallow_curves
from bundle.report.marks import NIGHT, PAPER, contrast, structure_marks
from bundle.report.sections import key_frames
from bundle.report.words import grouped, moment, number, rate_in_words, runs_in_words, sentence, structure_label
from bundle.structures import STRUCTURES
from tests.report.conftest import make_clip


def rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def blank(num_frames: int, rows: int, columns: int, **attributes):
    return make_clip(np.zeros((num_frames, 1, rows, columns), np.float32), **attributes)


# Curves


def test_curves_agree_with_the_measures_of_the_same_masks(study):
    (swallow,) = study.measures.swallows
    curves = swallow_curves(ClipMasks(study.masks, study.clip.frame_times_ms), [swallow.frames])
    hyoid, areas, bolus = curves.plots
    measures, events = swallow.measures, swallow.events
    for axis, curve in zip("xy", hyoid.curves, strict=True):
        peak = curve.values[events["hyoid_peak"]]
        assert peak == pytest.approx(measures[f"hyoid_peak_{axis}"].value, abs=1.5)  # a mean over the plateau
        assert curve.values[curves.rest_frames[0]] == pytest.approx(measures[f"hyoid_rest_{axis}"].value, abs=1.5)
    smallest = min(areas.curves[0].values)
    assert smallest == pytest.approx(measures["pharyngeal_area_constriction"].value, abs=0.001)
    in_airway = [frame for frame, value in enumerate(bolus.curves[1].values) if value]
    assert tuple(in_airway) == swallow.airway_frames


def test_a_frame_without_hyoid_is_a_gap_in_its_curve(study):
    masks = study.masks.copy()
    masks[5, STRUCTURES.index("hyoid")] = False
    forward, up = swallow_curves(ClipMasks(masks, None)).plots[0].curves
    assert [frame for frame, value in enumerate(forward.values) if value is None] == [5]
    assert up.values[5] is None


def test_without_vertebrae_areas_are_in_pixels_and_the_hyoid_says_what_it_needs():
    masks = np.zeros((2, 2, 8, 8), bool)
    masks[:, 0, :2, :3] = True
    hyoid, areas, bolus = swallow_curves(ClipMasks(masks, None, ("bolus", "hyoid"))).plots
    assert hyoid.reason == "not computable: needs hyoid"
    assert (areas.unit, areas.curves[0].values) == ("pixels", [6.0, 6.0])
    assert bolus.reason == "not computable: needs pharynx, laryngeal_vestibule or trachea"


def test_areas_of_oblong_pixels_are_in_the_square_of_their_width():
    masks = np.zeros((1, 2, 8, 8), bool)
    masks[:, :, :2, :3] = True
    _, areas, bolus = swallow_curves(ClipMasks(masks, None, ("bolus", "pharynx"), pixel_aspect=1.5)).plots
    assert (areas.unit, areas.curves[0].values) == ("(pixel width)²", [9.0])
    assert bolus.curves[0].values == [9.0]


def test_curves_of_oblong_pixels_are_those_of_square_ones(study):
    odd = study.masks[..., 1::2]  # every second column: pixels half as high as wide
    pairs = zip(
        swallow_curves(ClipMasks(study.masks, None)).plots,
        swallow_curves(ClipMasks(odd, None, pixel_aspect=0.5)).plots,
        strict=True,
    )
    for square, oblong in pairs:
        assert square.unit == oblong.unit
        for expected, found in zip(square.curves, oblong.curves, strict=True):
            top = max(abs(value) for value in expected.values)
            np.testing.assert_allclose(found.values, expected.values, atol=max(2.5, 0.05 * top))  # a pixel is 2.4 %C2-4


def test_a_site_with_other_structures_sees_their_areas():
    masks = np.ones((1, 1, 4, 4), bool)
    areas = swallow_curves(ClipMasks(masks, None, ("lung",))).plots[1]
    assert [curve.structure for curve in areas.curves] == ["lung"]


def test_the_hyoids_lines_have_the_band_that_people_err_by_and_areas_have_none(study):
    hyoid, areas, bolus = swallow_curves(ClipMasks(study.masks, None)).plots
    assert [curve.band for curve in hyoid.curves] == [HUMAN["hyoid_peak_x"].limit, HUMAN["hyoid_peak_y"].limit]
    assert {curve.band for curve in (*areas.curves, *bolus.curves)} == {None}


def test_a_frame_in_which_the_hyoid_jumps_is_a_gap_in_its_curve(study):
    masks = study.masks.copy()
    hyoid = STRUCTURES.index("hyoid")
    masks[5, hyoid] = np.roll(masks[5, hyoid], 60, axis=0)
    forward, _ = swallow_curves(ClipMasks(masks, None)).plots[0].curves
    assert [frame for frame, value in enumerate(forward.values) if value is None] == [5]


# Marks


def test_letters_are_unique_and_never_only_color_tells():
    names = (*STRUCTURES, "lung", "left_lung", "lungs", "bolus_2", "<&>", "頚")
    codes = [mark.code for mark in structure_marks(names)]
    assert len(set(codes)) == len(names)
    assert all(1 <= len(code) <= 3 for code in codes)


def test_curves_and_letters_have_the_contrast_that_wcag_asks_for():
    for mark in structure_marks(STRUCTURES):
        assert contrast(rgb(mark.on_light), PAPER) >= 3
        assert contrast(rgb(mark.on_dark), NIGHT) >= 3
        assert contrast(rgb(mark.ink), rgb(mark.color)) >= 4.5


def test_contrast_is_that_of_the_guideline():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)  # the known AA gray


# Pictures


def test_pictures_are_jpegs_of_the_frames():
    frames = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(1, 1, 48, 64)
    (text,) = encode_frames(make_clip(frames), 24, 32)
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (32, 24), "L")
    np.testing.assert_allclose(np.asarray(picture).mean() / 255, 0.5, atol=0.01)


@pytest.mark.parametrize(
    ("num_frames", "rows", "columns", "expected"),
    [(100, 512, 512, (512, 512)), (10, 20, 30, (20, 30)), (10, 1024, 512, (768, 384)), (1, 1, 5000, (1, 768))],
)
def test_pictures_have_the_frames_size_up_to_a_longest_side(num_frames, rows, columns, expected):
    assert picture_size(blank(num_frames, rows, columns)) == expected


def test_pictures_of_a_long_clip_are_smaller_so_that_the_page_stays_bounded():
    height, width = picture_size(blank(1000, 300, 400))
    assert width / height == pytest.approx(4 / 3, rel=0.01)
    assert 1000 * height * width == pytest.approx(MOST_PIXELS, rel=0.01)


@pytest.mark.parametrize(("aspect", "expected"), [(9 / 8, (480, 640)), (8 / 9, (427, 720)), (1.0, (480, 720))])
def test_pixels_that_are_not_square_are_shown_square_and_never_enlarged(aspect, expected):
    assert picture_size(blank(1, 480, 720, pixel_aspect=aspect, pixel_spacing_mm=None)) == expected


# Words and numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(139.2, "139"), (21.33, "21.3"), (0.154, "0.15"), (0.000395, "0.0004"), (-3.2, "−3.20"), (14.0, "14"), (0.0, "0")],
)
def test_numbers_have_about_three_digits(value, text):
    assert number(value) == text


def test_a_number_too_small_to_show_says_so():
    assert number(1e-9) == "< 0.0001"


def test_names_are_words():
    assert structure_label("upper_oesophageal_sphincter") == "Upper oesophageal sphincter"
    assert structure_label("c2") == "C2"
    assert sentence("laryngeal_vestibule is absent") == "Laryngeal vestibule is absent"
    assert sentence("ues_opening_duration is short") == "“Opening time” is short"


def test_every_measure_has_a_place_and_only_one(study):
    (swallow,) = study.measures.swallows
    groups = grouped(swallow.measures.values())
    names = [measure.name for members in groups.values() for measure in members]
    assert sorted(names) == sorted(swallow.measures)
    assert [measure.name for measure in groups["Scale and others"]] == ["c2_c4_length"]


def test_runs_of_frames_are_counted_from_one():
    assert runs_in_words([3, 4, 5, 9]) == "4–6, 10"


# Key frames and clock


def test_key_frames_are_rest_events_and_the_start_of_each_airway_run(study):
    (swallow,) = study.measures.swallows
    found = {key.label: key.frame for key in key_frames(swallow, rest_frame=2)}
    events = swallow.events
    assert found["Rest"] == 2
    assert found["Hyoid peak"] == events["hyoid_peak"]
    assert found["Maximum constriction"] == events["pharyngeal_constriction"]
    assert found["UES opens"] == events["ues_opening"]
    assert found["Bolus in airway: review"] == swallow.airway_frames[0]


def test_the_clock_starts_at_the_first_frame():
    clip = blank(3, 4, 4, frame_times_ms=np.array([500.0, 540.0, 600.0]))
    assert moment(clip, 2) == "frame 3 · 0.100 s"
    assert rate_in_words(clip) == "20 frames/s, varying, from the source's frame times"


def test_the_clock_says_what_the_file_calls_its_times():
    clip = blank(3, 4, 4, frame_times_source="FrameTimeVector")
    assert rate_in_words(clip) == "25 frames/s, from the source's frame times (FrameTimeVector)"
