"""The segmenter on a real film: measures by hand, points, what may be written where, and a run on small films."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.stats import spearmanr

from bundle.data.clip import Clip, FrameOrigin
from bundle.inference.predictor import ClipInferer
from bundle.keys import FIELD_OF_VIEW, IMAGE
from bundle.structures import STRUCTURES
from bundle.transforms.field_of_view import Window
from bundle.workflows import sim_to_real
from bundle.workflows.sim_to_real import EVIDENCE, Settings, measure_all, measure_sim_to_real, write_page
from bundle.workflows.sim_to_real_measures import FilmMeter, by_rule, by_structure, summarize
from bundle.workflows.sim_to_real_page import candidates, format_page, ranges
from bundle.workflows.sim_to_real_pictures import check_folder
from bundle.workflows.sim_to_real_points import HandPoint, HandPoints, judge, read_points, right_by_structure
from bundle.workflows.sim_to_real_prediction import predict_dice
from bundle.workflows.sim_to_real_product import Product, film_chunks, load_product, segment
from bundle.workflows.sim_to_real_variants import NONE, Variant, variants
from bundle.workflows.stages import ROOT

SAME = Variant(NONE, "", lambda frame: frame)


class ChunkedFilm:
    """A film as the product's dataset gives it."""

    def __init__(self, frames: np.ndarray, view: Window) -> None:
        self.frames, self.view = frames, view

    def __iter__(self):
        for first in range(0, len(self.frames), 2):
            yield {IMAGE: MetaTensor(torch.from_numpy(self.frames[first : first + 2]), meta={FIELD_OF_VIEW: self.view})}


def bright_is_everything(frames: torch.Tensor) -> torch.Tensor:
    """A network that finds all twelve structures where a frame is bright."""
    return (frames - 0.5).repeat(1, len(STRUCTURES), 1, 1) * 100


def product_of(frames: np.ndarray, view: Window) -> Product:
    film = ChunkedFilm(frames, view)
    return Product(bright_is_everything, ClipInferer(64, 2, progress=False), STRUCTURES, 2, "ab" * 32, film)


def masks_of(*frames: list[tuple[slice, slice]]) -> np.ndarray:
    """Films of one structure, 8 x 8."""
    masks = np.zeros((len(frames), 1, 8, 8), bool)
    for index, parts in enumerate(frames):
        for part in parts:
            masks[(index, 0, *part)] = True
    return masks


# Measures


def test_parts_areas_and_steadiness_are_as_counted_by_hand_however_the_film_is_cut():
    square, dot = (slice(0, 2), slice(0, 3)), (slice(5, 6), slice(4, 6))
    masks = masks_of([square, dot], [square], [])
    for cuts in ([masks], [masks[:1], masks[1:2], masks[2:]]):
        meter = FilmMeter(["hyoid"])
        for chunk in cuts:
            meter.add(chunk)
        row = by_structure(meter.result(), ["hyoid"])["hyoid"]
        assert row["found"] == pytest.approx(2 / 3)
        assert row["area_px"] == 7.0
        assert row["area_variation"] == pytest.approx(1 / 7)
        assert row["parts"] == 1.5
        assert row["largest_part"] == pytest.approx((6 / 8 + 1) / 2)
        assert row["change"] == pytest.approx(((1 - 12 / 14) + 1) / 2)  # 8 and 6 pixels share 6; then nothing is left
        assert np.isnan(row["area_units"])  # no C2, no C4


def test_what_is_never_found_has_no_parts_and_no_change_and_its_rules_are_not_asked():
    meter = FilmMeter(STRUCTURES)
    meter.add(np.zeros((3, 12, 8, 8), bool))
    film = meter.result()
    summary = summarize(film)
    assert summary["found"] == 0.0
    assert all(np.isnan(summary[name]) for name in ("plausibility", "parts", "largest_part", "change"))
    assert {row["asked"] for row in by_rule(film).values()} == {0}


def test_a_rule_names_the_frames_in_which_it_fails():
    masks = np.zeros((3, 2, 8, 8), bool)
    masks[:, 0, 4], masks[:, 1, 6] = True, True
    masks[1] = masks[1, ::-1]
    meter = FilmMeter(["laryngeal_vestibule", "trachea"])
    meter.add(masks)
    assert by_rule(meter.result())["vestibule above the trachea"] == {
        "holds": pytest.approx(2 / 3),
        "asked": 3,
        "fails": [1],
    }


def test_one_frame_is_no_film():
    meter = FilmMeter(["hyoid"])
    meter.add(np.zeros((1, 1, 8, 8), bool))
    with pytest.raises(ValueError, match="film of two frames or more"):
        meter.result()


def test_a_measure_that_orders_patients_as_dice_does_has_correlation_one_and_a_constant_one_has_none():
    patients = [
        {
            "domain": "hard",
            "dice": score,
            "found": 1.0,
            "plausibility": score**2,
            "parts": -score,
            "largest_part": 0.5,
            "change": np.nan,
        }
        for score in (0.2, 0.5, 0.6, 0.9)
    ]
    found = predict_dice(patients)
    assert found["plausibility"]["hard"] == pytest.approx({"rho": 1.0, "low": 1.0, "high": 1.0, "patients": 4})
    assert found["parts"]["all"]["rho"] == pytest.approx(-1.0)
    assert found["found"]["all"]["rho"] is None
    assert found["change"]["all"] == {"rho": None, "low": None, "high": None, "patients": 0}


def test_the_rank_correlation_is_scipys_with_and_without_ties():
    rng = np.random.default_rng(0)
    for scores in (rng.random(9), np.array([1.0, 2, 2, 3, 3, 3, 4, 5, 6])):
        patients = [
            {
                "domain": "hard",
                "dice": dice,
                "found": value,
                "plausibility": 0,
                "parts": 0,
                "largest_part": 0,
                "change": 0,
            }
            for dice, value in zip(scores, rng.random(9), strict=True)
        ]
        expected = spearmanr([one["found"] for one in patients], scores).statistic
        assert predict_dice(patients)["found"]["hard"]["rho"] == pytest.approx(expected)


# Points


def test_a_point_is_right_if_a_mask_lies_within_its_radius_and_an_outside_point_if_none_does():
    mask = np.zeros((20, 20), bool)
    mask[10, 13] = True
    near, far = (HandPoint(0, "hyoid", 10, 10, radius, True) for radius in (3, 2))
    assert (judge(near, mask)["is_right"], judge(far, mask)["is_right"]) == (True, False)
    assert judge(HandPoint(0, "hyoid", 10, 10, 3, False), mask)["is_right"] is False
    nothing = judge(HandPoint(0, "hyoid", 10, 10, 3, False), np.zeros((20, 20), bool))
    assert (nothing["is_right"], nothing["distance"]) == (True, None)
    counts = right_by_structure([judge(near, mask), judge(far, mask), nothing])
    assert counts == {"hyoid": {"inside": [1, 2], "outside": [1, 1]}}


def test_points_of_another_film_are_refused():
    points = HandPoints(20, 30, 5, (), "a film")
    points.check(5, 20, 30)
    with pytest.raises(ValueError, match="of a film of 5 frames, 20 x 30, got 4 frames, 20 x 30: leave --points out"):
        points.check(4, 20, 30)


def test_a_misspelt_key_of_a_point_is_refused(tmp_path):
    content = {"rows": 1, "columns": 1, "num_frames": 1, "recording": "", "points": [{"frame": 0, "radios": 3}]}
    (tmp_path / "points.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="radios"):
        read_points(tmp_path / "points.json")


def test_the_points_that_ship_are_inside_their_film_and_of_known_structures():
    shipped = read_points(EVIDENCE / "sim_to_real_points.json")
    assert len(shipped.points) > 50
    for point in shipped.points:
        assert point.structure in STRUCTURES
        assert 0 <= point.row < shipped.rows
        assert 0 <= point.column < shipped.columns
        assert 0 <= point.frame < shipped.num_frames


# Changes of the frames


def test_every_change_keeps_shape_and_range_and_only_none_keeps_the_values():
    rng = np.random.default_rng(0)
    frame = rng.uniform(0.1, 0.6, (32, 24)).astype(np.float32)
    kept = set()
    for variant in variants(np.linspace(0, 1, 64, dtype=np.float32)):
        changed = np.asarray(variant.change(frame))
        assert changed.shape == frame.shape, variant.name
        assert 0.0 <= changed.min() <= changed.max() <= 1.0, variant.name
        if np.array_equal(changed, frame) and variant.darkest is None:
            kept.add(variant.name)
    assert kept == {NONE}


def test_matched_frames_have_the_reference_histogram():
    (matching,) = [v for v in variants(np.linspace(0.5, 1, 64, dtype=np.float32)) if v.name == "histogram matching"]
    frame = np.random.default_rng(0).uniform(0, 0.2, (64, 64)).astype(np.float32)
    assert np.quantile(matching.change(frame), (0.0, 0.5, 1.0)) == pytest.approx((0.5, 0.75, 1.0), abs=0.02)


def test_the_network_sees_the_changed_picture_alone_and_there_is_no_mask_outside_it():
    frames = np.full((3, 1, 40, 40), 0.2, np.float32)
    view = Window(10, 30, 10, 30)
    inverted = Variant("inverted", "", lambda frame: 1.0 - frame)
    masks = np.concatenate(
        [m for m, _ in segment(film_chunks(product_of(frames, view)), product_of(frames, view), inverted)]
    )
    assert masks.shape == (3, 12, 40, 40)
    assert masks[..., 10:30, 10:30].all()
    assert masks.sum() == 3 * 12 * 400


def test_a_tighter_view_is_the_box_around_what_is_brighter():
    frames = np.full((2, 1, 60, 60), 0.1, np.float32)
    frames[..., :2, :], frames[..., -2:, :], frames[..., :2], frames[..., -2:] = 0.0, 0.0, 0.0, 0.0
    frames[..., 20:40, 20:40] = 0.9
    product = product_of(frames, Window(0, 60, 0, 60))
    tighter = Variant("tighter", "", lambda frame: frame, darkest=0.15)
    assert next(segment(film_chunks(product), product, tighter))[1] == Window(20, 40, 20, 40)
    assert next(segment(film_chunks(product), product, SAME))[1] == Window(0, 60, 0, 60)


def test_only_a_change_that_gains_on_the_film_and_costs_no_dice_is_a_candidate():
    base = {
        "plausibility": 0.9,
        "found": 1.0,
        "parts": 2.0,
        "change": 0.1,
        "points_right": 50,
        "dice": {"standard": 0.9},
    }
    better = base | {"points_right": 55}
    rows = {
        NONE: base,
        "more points": better,
        "more rules": base | {"plausibility": 0.93},
        "fewer parts": base | {"parts": 1.5},
        "hardly better": base | {"points_right": 52, "plausibility": 0.91, "parts": 1.9},
        "costly": better | {"dice": {"standard": 0.89}},
        "ragged": better | {"parts": 2.2},
        "unsteady": better | {"change": 0.2},
        "misses points": base | {"parts": 1.5, "points_right": 49},
        "finds less": better | {"found": 0.9},
        "less plausible": better | {"plausibility": 0.89},
    }
    assert candidates(rows, num_points=100) == ["more points", "more rules", "fewer parts"]


# Where pictures and words go


def test_pictures_of_a_real_film_may_not_lie_among_the_projects_files(tmp_path):
    check_folder(ROOT / "runs" / "sim_to_real")
    check_folder(tmp_path)
    for folder in (ROOT, ROOT / "docs" / "evidence", ROOT / "runs" / ".." / "docs"):
        with pytest.raises(ValueError, match="must not lie among the project's files"):
            check_folder(folder)
    with pytest.raises(ValueError, match="must not lie"):
        measure_sim_to_real(tmp_path / "film.avi", ROOT / "docs")


def test_frames_are_listed_as_ranges():
    assert ranges([0, 1, 2, 7, 9, 10]) == "0-2, 7, 9-10"
    assert ranges([0, 2, 4], most=2) == "0, 2, ..."
    assert ranges([]) == ""


@pytest.fixture(scope="module")
def small_report(tmp_path_factory):
    """A whole run on a small film and small patients, with a network that knows only bright and dark."""
    folder = tmp_path_factory.mktemp("pictures")
    frames = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (4, 1, 48, 64))
    origin = tuple(FrameOrigin(Path("film.avi"), index) for index in range(4))
    clip = Clip(frames, None, None, "none", origin)
    points = HandPoints(48, 64, 4, (HandPoint(1, "hyoid", 24, 32, 40, True, "middle"),), "a film of one ramp")
    settings = Settings(patients=3, changed_patients=1, frames=2, size=64, points=points)
    product = product_of(frames.astype(np.float32) / 255, Window(0, 48, 0, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sim_to_real, "NUM_PICTURES", 2)
        patch.setattr(
            sim_to_real, "variants", lambda reference: [SAME, Variant("inverted", "", lambda frame: 1 - frame)]
        )
        return measure_all(product, clip, settings, folder), folder


def test_a_run_measures_film_and_patients_and_draws_every_change(small_report):
    report, folder = small_report
    json.dumps(report, allow_nan=False)
    assert report["film"]["num_frames"] == 4
    assert len(report["synthetic"]["hard"]["patients"]) == 3
    assert report["synthetic"]["standard"]["true"]["summary"]["plausibility"] == 1.0
    assert [point["is_right"] for point in report["film"]["points"]] == [True]
    assert list(report["variants"]) == [NONE, "inverted"]
    assert len(list(folder.glob("*.png"))) == 2 * 3  # the first frame, the last, and that with a point
    assert report["variants"][NONE]["dice"]["hard"] != report["variants"]["inverted"]["dice"]["hard"]


def test_the_page_says_whether_the_words_are_about_this_model(small_report):
    report, _ = small_report
    words = "Written about the model `{}`.\n\nThe hyoid is found."
    current = format_page(report, words.format("ab" * 6))
    assert "The hyoid is found." in current
    assert "older model" not in current
    assert "**Written about an older model**, `cdcdcdcdcdcd`" in format_page(report, words.format("cd" * 32))
    assert "Nobody has written down yet" in format_page(report, None)
    with pytest.raises(ValueError, match="must name the model's SHA-256"):
        format_page(report, "The hyoid is found.")


def test_the_page_can_be_written_again_without_the_film(small_report, tmp_path):
    report, _ = small_report
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert write_page(tmp_path) == (tmp_path / "report.md").read_text()
    with pytest.raises(FileNotFoundError, match="give a film to measure"):
        write_page(tmp_path / "none")


def test_the_page_says_what_the_film_is_and_that_nothing_is_known_of_its_accuracy(small_report):
    page = format_page(small_report[0], None)
    assert "a film of one ramp" in page
    assert "**No accuracy.**" in page
    assert "1 of 1 points in 1 frames" in page
    assert "nan" not in page.lower()


def test_what_was_written_about_the_film_names_its_model():
    seen = (EVIDENCE / "sim_to_real_seen.md").read_text(encoding="utf-8")
    assert "`" in seen.partition("\n")[0]


# The real film


def test_the_shipped_model_sees_the_real_film_by_the_products_own_path(shared_dir, tmp_path):
    film = shared_dir / "data" / "vfss_real" / "healthy_swallow.avi"
    if not film.is_file():
        pytest.skip("the real film is not on this machine")
    product = load_product(film, ROOT / "models" / "model.pt", tmp_path)
    chunk = next(film_chunks(product))[:1]
    masks, view = next(segment(iter([chunk]), product, SAME))
    assert (view.bottom - view.top) * (view.right - view.left) < 0.5 * 920 * 1512
    found = {name for name, mask in zip(STRUCTURES, masks[0], strict=True) if mask.any()}
    assert {"c2", "c3", "c4", "mandible", "tongue", "trachea"} <= found
