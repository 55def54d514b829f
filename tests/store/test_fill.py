"""The stage: what is missing is made, and only that."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bundle.laboratory.trials.store_contents import contents
from bundle.store.shard import Shard, StoreError
from bundle.store.store import FeatureStore, identities
from tests.store.conftest import NUM_VIEWS, ToyTeacher, items

ALL = 2 * 5 * NUM_VIEWS + 5


def damage(path: Path) -> None:
    """Change one byte in the middle of a shard's largest column."""
    shard = Shard(path)
    column = max(shard.columns, key=lambda name: shard.column(name).numel())
    start = path.read_bytes().index(shard.column(column)[0].numpy().tobytes())
    changed = bytearray(path.read_bytes())
    changed[start + 1] ^= 16
    path.write_bytes(changed)


def shards(stage, teacher: str) -> list[Path]:
    store = FeatureStore(stage.folder)
    folder = store.feature_folder(identities(stage.teachers)[teacher], stage.options["precision"])
    return sorted((folder / "shards").glob("*.safetensors"))


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_everything_is_stored_once_and_a_second_run_does_nothing(stage, precision):
    first = stage.fill(precision=precision)
    before = contents(stage.folder)
    assert first["loud"] >= ALL - 5  # equal views (not drawn) share their features
    assert len([key for key in before if key.startswith("views/")]) == ALL
    assert stage.fill(precision=precision) == {"loud": 0, "quiet": 0}
    assert contents(stage.folder) == before


def test_another_teacher_is_run_alone(filled):
    filled.teachers["quiet"] = ToyTeacher(5, seed=7)
    seen = filled.fill()
    assert seen["loud"] == 0
    assert seen["quiet"] > 0


def test_a_renamed_teacher_is_not_run(filled):
    filled.teachers = {"renamed": filled.teachers["loud"]}
    assert filled.fill() == {"renamed": 0}


def test_more_views_keep_those_that_are_there(filled):
    before = contents(filled.folder)
    assert 0 < filled.fill(num_views=NUM_VIEWS + 1)["loud"] <= 10
    after = contents(filled.folder)
    assert before.items() <= after.items()
    assert len([key for key in after if key.startswith("views/")]) == ALL + 10


def test_a_changed_frame_is_made_again_alone(filled):
    path = filled.datalist.parent / "a" / "3.png"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    assert 0 < filled.fill()["loud"] <= NUM_VIEWS


def test_a_touched_file_is_decoded_again_but_no_teacher_runs(filled):
    os.utime(filled.datalist.parent / "a" / "3.png", ns=(1, 1))
    with pytest.raises(StoreError, match="not in the store"):
        filled.views()
    assert filled.fill() == {"loud": 0, "quiet": 0}
    filled.views()


def test_other_settings_of_the_augmentation_are_other_views(filled):
    filled.noise = 0.2
    assert filled.fill()["loud"] > 0


def test_ranks_share_the_work_and_give_what_one_process_gives(filled):
    expected = contents(filled.folder)
    shutil.rmtree(filled.folder)
    seen = [filled.fill(rank=rank, num_ranks=3)["loud"] for rank in range(3)]
    assert min(seen) > 0
    assert contents(filled.folder).keys() == expected.keys()
    assert len(filled.views()) == 10


@pytest.mark.parametrize("part", ["views", "features"])
def test_a_damaged_entry_is_made_again_and_only_that(filled, part):
    expected = contents(filled.folder)
    path = shards(filled, "loud")[0] if part == "features" else sorted((filled.folder / "views").glob("*.saf*"))[0]
    damage(path)
    with pytest.raises(StoreError, match=r"entry 0 \(.*is damaged: run configs/cache_features.json again"):
        items(filled.views("training")), items(filled.views("validation"))
    seen = filled.fill()
    assert (seen["loud"], seen["quiet"]) == ((1, 0) if part == "features" else (0, 0))
    assert contents(filled.folder).keys() == expected.keys()
    assert filled.fill() == {"loud": 0, "quiet": 0}


def test_a_truncated_shard_is_made_again(filled):
    expected = contents(filled.folder)
    path = shards(filled, "quiet")[0]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match="is no complete shard"):
        filled.views()
    assert 0 < filled.fill()["quiet"] <= 4
    assert contents(filled.folder) == expected


def test_frames_that_cannot_be_read_are_all_named_and_the_rest_is_stored(stage):
    (stage.datalist.parent / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(
        StoreError, match=r"5 frames cannot be read: a frames 0, 1, 2, 3, 4 \(.*1\.png.*take them out of the data"
    ):
        stage.fill()
    assert len([key for key in contents(stage.folder) if key.startswith("views/")]) == ALL - 5 * NUM_VIEWS
    with pytest.raises(StoreError, match=r"15 of 30 views of 5 frames are not in the store .*a:0, a:1, a:2, …"):
        stage.views()


def test_features_that_are_not_finite_name_their_teacher(stage):
    stage.teachers["quiet"].weight.data[0] = float("nan")
    with pytest.raises(StoreError, match="teacher 'quiet': "):
        stage.fill()


def test_the_size_is_told_before_and_is_what_it_takes(stage, capsys, monkeypatch):
    stage.fill(shard_mib=1)
    told = capsys.readouterr().out + capsys.readouterr().err
    assert f"{ALL} views needed; to make: {ALL} views, features {ALL} of loud, {ALL} of quiet" in told
    taken = sum(path.stat().st_size for path in stage.folder.rglob("*.safetensors"))
    shutil.rmtree(stage.folder)
    filler = stage.filler(shard_mib=1)
    asked = []
    monkeypatch.setattr("bundle.store.fill.check_disk", lambda folder, num_bytes: asked.append(num_bytes))
    filler.run()
    assert taken <= asked[0] <= taken + 8 * 4096  # of eight small files


def test_a_disk_that_is_too_small_is_refused_before_a_teacher_runs(stage, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(1000, 0, 1000))
    with pytest.raises(StoreError, match=r"needs 0\.00 GiB more, its disk has 0\.00 GiB free: free some space"):
        stage.fill()
    assert stage.teachers["loud"].num_frames == 0


def test_a_folder_with_something_else_is_refused(stage):
    stage.folder.mkdir()
    (stage.folder / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="must be a store of format 'feature-store-1', got None: name another folder"):
        stage.fill()


def test_frames_of_another_size_than_configured_are_refused(stage):
    with pytest.raises(ValueError, match=r"views must be \(1, 32, 32\), the deterministic transforms give \(1, 16, 16"):
        stage.fill(image_size=32)


def test_int8_keeps_its_quantizer_for_later_runs(stage):
    stage.options["precision"] = "int8"
    stage.fill()
    (quantizer,) = (
        path
        for path in stage.folder.rglob("quantizer.safetensors")
        if "loud" in path.parent.joinpath("teacher.json").read_text()
    )
    before = quantizer.read_bytes()
    stage.fill(num_views=NUM_VIEWS + 2)
    assert quantizer.read_bytes() == before


def test_features_of_another_quantizer_are_refused(stage):
    stage.options["precision"] = "int8"
    stage.fill()
    for path in stage.folder.rglob("quantizer.safetensors"):
        path.unlink()
    stage.seed = 1  # other views, so another sample
    with pytest.raises(StoreError, match=r"is encoded as 'int8 .*', not 'int8 .*': delete"):
        stage.fill()


def test_stored_features_are_the_teachers_of_the_stored_view(filled):
    item = filled.views()[0]
    with torch.no_grad():
        expected = filled.teachers["loud"](item["image"][None].float() / 255)[0]
    torch.testing.assert_close(item["features"]["loud"].float(), expected, rtol=2**-11, atol=1e-3)
