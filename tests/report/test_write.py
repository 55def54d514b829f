"""The report as a file: one page that loads nothing, names nobody, and says what it could not work out."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bundle.metrics.kinematics import FilmMeasures, Measure, SwallowMeasures, measure_film, measure_if_lateral
from bundle.metrics.reliability import human_reliability
from bundle.report import write_report
from bundle.report.words import number
from bundle.structures import STRUCTURES
from tests.report.conftest import KEY, MODEL, make_clip

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'


class Tags(HTMLParser):
    """Collects start tags with their attributes, and the text of the page's data."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][1].get("id") == "study" and data.strip():
            self.data.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def write(
    path: Path,
    num_frames=3,
    structures=STRUCTURES,
    masks=None,
    measures="take",
    model=MODEL,
    size=(24, 32),
    **attributes,
) -> str:
    frames = np.linspace(0, 1, num_frames * size[0] * size[1], dtype=np.float32).reshape(num_frames, 1, *size)
    clip = make_clip(frames, **attributes)
    if masks is None:
        masks = np.zeros((num_frames, len(structures), 24, 32), bool)
    if measures == "take":
        measures = measure_film(masks, clip.frame_times_ms, structures)
    return write_report(path / "report.html", masks, clip, structures, measures, model, KEY).read_text()


def content(text: str) -> dict:
    return json.loads(Tags(text).data[0])


def test_it_is_one_file_that_loads_nothing(study):
    text = study.path.read_text()
    assert list(study.path.parent.iterdir()) == [study.path]
    policy = next(meta["content"] for meta in Tags(text).named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none';")
    assert "http:" not in policy
    addresses = [
        value for _, attributes in Tags(text).found for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses
    assert [address for address in addresses if not address.startswith("data:")] == []
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", re.sub(r'"frames":\[.*?\]', "", text))
    assert set(outside) <= {"http://www.w3.org/2000/svg"}  # a name, not an address that is loaded
    assert not re.search(r"url\(|@import|\bimport\s*\(|fetch\(|XMLHttpRequest|eval\(", text)


def test_it_names_no_file_path_or_patient(study):
    text = study.path.read_text()
    assert "JANE" not in text
    assert "cine.dcm" not in text
    assert KEY in text


def test_it_says_where_everything_comes_from(study):
    text = study.path.read_text()
    rate = 1000 / np.median(np.diff(study.clip.frame_times_ms))
    for words in (
        "Research use only, not for diagnosis",
        "The masks are automatic and no person has checked them",
        "true masks",
        "1.2.3",
        f"{study.clip.pixel_spacing_mm[0]:.3g} mm (calibrated PixelSpacing)",
        f"{rate:.3g} frames/s, from the source",
        "Synthetic phantom",
        "30 frames of 256 × 256 pixels",
    ):
        assert words in text


def test_every_measure_is_in_the_table_with_its_value_or_its_reason(study):
    text = study.path.read_text()
    (swallow,) = study.measures.swallows
    assert len(swallow.measures) == 21
    for measure in swallow.measures.values():
        row = re.search(rf'<tr data-measure="{measure.name}">(.*?)</tr>', text).group(1)
        shown = float(re.search(r"<b>(.*?)</b>", row).group(1).replace("−", "-"))
        assert shown == pytest.approx(measure.value, rel=0.05, abs=0.005)
        limit = human_reliability(measure.name).limit
        assert f'<td class="people">{"–" if limit is None else f"± {number(limit)}"}</td>' in row
        assert f"<td>{measure.num_frames}</td>" in row


def test_a_study_of_100_frames_stays_far_below_ten_megabytes(study):
    per_frame = study.path.stat().st_size / 30
    assert 100 * 4 * per_frame < 10e6  # 512 x 512 has four times the pixels, and the outlines at most twice the points


def test_nothing_computable_is_said_and_the_frames_are_still_there(tmp_path):
    text = write(tmp_path)
    assert len(re.findall(r'<td class="missing" colspan="3">Not computable: needs ', text)) == 21
    assert text.count('<p class="missing">Not computable: needs') == 4  # three plots and the path
    assert "No key frames were found" in text
    assert len(content(text)["frames"]) == 3
    assert content(text)["plots"] == {}


def test_two_swallows_have_a_card_each_and_what_was_refused_is_listed_with_its_reason(tmp_path):
    one = SwallowMeasures({"residue": Measure("residue", 2.0, "%", 0.5, 3)}, {"hyoid_peak": 0}, (), (), (0, 2))
    missing = Measure("residue", None, "%", reason="not computable: needs pharynx after the swallow")
    other = SwallowMeasures({"residue": missing}, {"hyoid_peak": 2}, (2,), (), (1, 3))
    text = write(tmp_path, measures=FilmMeasures((one, other), ("the film ends",)))
    assert re.findall(r"<h2>(Swallow . of .)</h2>", text) == ["Swallow 1 of 2", "Swallow 2 of 2"]
    assert '<b>2</b> ± 0.50</span> <span class="unit">%</span>' in text
    assert "<li>Swallow 2: needs pharynx after the swallow – Residue after the swallow</li>" in text
    assert "frames 2–3 · 0.04–0.08 s" in text
    assert "<li>The film ends</li>" in text
    assert [event["label"] for event in content(text)["events"]] == ["Hyoid peak 1", "Hyoid peak 2"]
    assert content(text)["airway"] == [2]


def test_a_film_without_a_swallow_says_why_at_the_top_of_its_measures(tmp_path):
    text = write(tmp_path)
    assert "No swallow is measured: Needs c2, c4." in text
    assert "<h2>The whole film</h2>" in text
    assert "<h3>Refused, and why</h3>" in text


def test_people_and_their_sources_are_on_the_page(study):
    text = study.path.read_text()
    assert "Sia et al., Dysphagia 2012" in text
    assert "no human figure found" in text
    assert "this model's errors were below: not measured for this model" in text


def test_without_measures_there_are_curves_but_no_table(tmp_path, study):
    clip = make_clip(study.clip.frames[:3])
    path = write_report(tmp_path / "r.html", study.masks[:3], clip, STRUCTURES, None, MODEL, KEY)
    assert "No measures were taken" in path.read_text()
    assert set(content(path.read_text())["plots"]) == {"hyoid", "areas", "bolus"}
    assert content(path.read_text())["events"] == []


def test_masks_of_no_neck_are_shown_and_nothing_is_claimed_of_them(tmp_path, study):
    masks = np.ascontiguousarray(study.masks[..., ::-1, :])
    measures = measure_if_lateral(masks, study.clip.frame_times_ms)
    text = write_report(tmp_path / "r.html", masks, study.clip, STRUCTURES, measures, MODEL, KEY).read_text()
    assert text.count("This does not look like a lateral swallow study") == 2  # at the top, and where measures would be
    assert "data-measure" not in text
    assert "Save as CSV" not in text
    assert 'class="key-frame' not in text
    shown = content(text)
    assert (shown["plots"], shown["events"], shown["airway"]) == ({}, [], [])
    assert len(shown["outlines"]) == len(shown["frames"]) == 30


def test_one_frame_is_a_report_too(tmp_path):
    text = write(tmp_path, num_frames=1)
    assert 'max="0"' in text
    assert "<dd>one frame</dd>" in text


def test_without_frame_times_a_display_rate_is_stated_and_no_time(tmp_path):
    text = write(tmp_path, frame_times_ms=None)
    assert "no frame times; shown at 12 frames/s, for looking at only" in text
    assert content(text)["times"] is None
    assert content(text)["displayRate"] == 12


def test_frame_times_that_do_not_increase_are_not_used(tmp_path):
    text = write(tmp_path, frame_times_ms=np.array([0.0, 40.0, 40.0]), measures=None)
    assert "frame times do not increase and are not used" in text
    assert content(text)["times"] is None


def test_without_spacing_there_are_no_millimetres(tmp_path):
    text = write(tmp_path, pixel_spacing_mm=None, spacing_source="none")
    assert "none: no millimeters in this report" in text


def test_a_clip_of_oblong_pixels_is_shown_in_its_true_shape_and_says_so(tmp_path):
    masks = np.zeros((3, 12, 24, 32), bool)
    masks[:, 0, 6:12, 8:16] = True
    text = write(tmp_path, masks=masks, pixel_aspect=4 / 3, pixel_spacing_mm=None)
    assert "24 × 32 pixels, each 1.333 times as high as wide; shown and measured so, in widths of a pixel" in text
    assert "shown reduced to 24 × 24" in text
    data = content(text)
    assert (data["width"], data["height"]) == (24, 24)
    ring = data["outlines"][0][0]
    x, y = (int(number) / data["units"] for number in re.match(r"M(\S+) (\S+?)l", ring).groups())
    assert 5.5 <= x <= 12.5  # columns 8 to 16 of 32 are 6 to 12 of 24
    assert 5.5 <= y <= 12.5


def test_hostile_names_warnings_and_reasons_stay_text(tmp_path):
    swallow = SwallowMeasures(
        {"=cmd": Measure("=cmd", None, "1", reason=HOSTILE), HOSTILE: Measure(HOSTILE, 1.0, HOSTILE)},
        {HOSTILE: 1},
        (),
        (HOSTILE,),
        (0, 3),
    )
    measures = FilmMeasures((swallow,), (HOSTILE,))
    masks = np.zeros((3, 2, 24, 32), bool)
    masks[:, 0, 4:9, 4:9] = True
    text = write(
        tmp_path,
        structures=(HOSTILE, "</style>"),
        masks=masks,
        measures=measures,
        model={HOSTILE: HOSTILE, "errors": HOSTILE},
        warnings=(HOSTILE,),
        spacing_source=HOSTILE,
    )
    tags = Tags(text)
    assert len(tags.named("script")) == text.count("</script>") == 2
    assert len(tags.named("style")) == 1
    assert tags.named("img") == []
    assert [attributes for _, attributes in tags.found if any(key.startswith("on") for key in attributes)] == []
    assert "%27%3Dcmd" in text  # no spreadsheet takes the cell for a formula
    assert HOSTILE.lower() in content(text)["events"][0]["label"].lower()


def test_masks_on_another_grid_are_refused(tmp_path):
    with pytest.raises(ValueError, match="masks must be on the clip's grid"):
        write(tmp_path, masks=np.zeros((3, 12, 24, 31), bool), measures=None)
    assert list(tmp_path.iterdir()) == []


def test_masks_without_a_channel_per_structure_are_refused(tmp_path):
    with pytest.raises(ValueError, match="masks must be"):
        write(tmp_path, masks=np.zeros((3, 4, 24, 32), bool), measures=None)
