"""The fuzz run: damages in the same way each time, accounts for every file, and notices each broken rule."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from bundle.data.readers import read_clip
from bundle.data.worker import IN_PROCESS_VARIABLE
from bundle.laboratory.trials.damage import NUM_FRAMES, PATIENT_NAME, damage, write_seeds
from bundle.laboratory.trials.fuzz import ReadingLimits, Watch, contradiction, fuzz, shape_by_hand

QUICK = ["DICOM explicit", "DICOM deflated", "DICOM RLE", "AVI MJPEG", "MP4 H.264", "PNG 8-bit", "NIfTI gz"]


def test_a_short_run_accounts_for_every_file_and_breaks_no_rule():
    report = fuzz(count=8 * len(QUICK), seed=1, kinds=QUICK)
    assert report.broken == [], report.in_words()
    assert len(report.outcomes) == 9 * len(QUICK)  # the intact ones too
    assert {outcome.verdict for outcome in report.outcomes} == {"done", "refused"}
    assert report.in_words().count("DICOM RLE") >= 1


def test_seeds_of_every_kind_are_written_or_named_with_the_reason(tmp_path):
    seeds, missing = write_seeds(tmp_path)
    assert len(seeds) + len(missing) == 42
    assert set(missing) <= {"DICOM JPEG extended", "DICOM JPEG lossless", "DICOM JPEG-LS"}  # encoders of an extra
    assert all(path.stat().st_size > 500 for path in seeds.values())
    assert PATIENT_NAME.encode() in seeds["DICOM explicit"].read_bytes()


def test_damage_depends_on_the_generator_only():
    content = bytes(range(256)) * 20
    one, how = damage(content, np.random.default_rng([0, 7]))
    assert (one, how) == damage(content, np.random.default_rng([0, 7]))
    assert len({damage(content, np.random.default_rng([0, number]))[0] for number in range(50)}) > 45


def test_damage_reaches_inside_deflated_files(tmp_path):
    seeds, _ = write_seeds(tmp_path, ["NIfTI gz", "DICOM deflated"])
    for path in seeds.values():
        ways = {damage(path.read_bytes(), np.random.default_rng(number))[1].split(":")[0] for number in range(20)}
        assert ways & {"inside gzip", "inside deflate"}


@pytest.mark.parametrize("content", [b"", b"a", b"ab"])
def test_the_shortest_files_can_be_damaged_too(content):
    assert len({damage(content, np.random.default_rng(number))[0] for number in range(60)}) > 1


def test_too_slow_and_too_large_are_noticed_and_the_files_kept(tmp_path):
    slow = fuzz(count=0, kinds=["PNG 8-bit"], limits=ReadingLimits(seconds=0), keep=tmp_path / "slow")
    assert "the limit is 0 s [intact]" in slow.broken[0].reason
    assert sorted(path.name for path in (tmp_path / "slow").iterdir()) == ["PNG_8-bit.png", "PNG_8-bit.png.txt"]
    large = fuzz(count=0, kinds=["PNG 8-bit"], limits=ReadingLimits(num_megabytes=1))
    assert "the limit is 1 MB" in large.broken[0].reason
    assert "1 files broke a rule" in large.in_words()


@pytest.mark.parametrize("kind", ["DICOM implicit", "AVI MJPEG", "NIfTI float", "NIfTI gz"])
def test_a_clip_with_other_frames_or_another_size_than_its_header_is_noticed(tmp_path, kind):
    path = write_seeds(tmp_path, [kind])[0][kind]
    clip = read_clip(path)
    assert contradiction(path, clip) == ""
    fewer = dataclasses.replace(
        clip, stored=clip.stored[:-1], origin=clip.origin[:-1], frame_times_ms=clip.frame_times_ms[:-1], displays=()
    )
    assert f"num_frames={NUM_FRAMES}" in contradiction(path, fewer)
    assert contradiction(path, dataclasses.replace(fewer, warnings=("the header says 6 frames, the file has 5",))) == ""
    assert "columns=" in contradiction(path, dataclasses.replace(clip, stored=clip.stored[..., 1:]))


def test_header_sizes_are_read_without_the_readers(tmp_path):
    seeds, _ = write_seeds(tmp_path, ["DICOM explicit", "PNG 16-bit", "NIfTI scaled", "NIfTI gz", "JPEG"])
    shapes = {kind: shape_by_hand(path) for kind, path in seeds.items()}
    assert shapes.pop("JPEG") is None
    assert {(shape.rows, shape.columns) for shape in shapes.values()} == {(48, 64)}
    assert [shape.num_frames for shape in shapes.values()] == [6, 1, 6, 6]


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"kinds must be among .*'MP4 H\.264'.* got \['MP5'\]"):
        fuzz(count=1, kinds=["MP5"])


def test_memory_of_child_processes_is_watched():
    code = "import time; block = bytearray(200 * 2**20); time.sleep(0.3)"
    with Watch() as watch:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert watch.num_megabytes > 200
    assert watch.seconds > 0.3


def test_the_script_ends_with_1_when_a_rule_is_broken(bundle_root):
    script = [
        sys.executable,
        str(bundle_root / "scripts" / "laboratory" / "fuzz_studies.py"),
        "--count",
        "0",
        "--kinds",
        "NIfTI",
    ]
    quick = {**os.environ, IN_PROCESS_VARIABLE: "1"}
    broken = subprocess.run([*script, "--seconds", "0"], capture_output=True, text=True, check=False, env=quick)
    assert broken.returncode == 1
    assert "1 files broke a rule" in broken.stdout
