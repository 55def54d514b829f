"""The public interface: four names, loaded when they are used; the same masks as the command's."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bundle
from bundle.command.app import main


def test_importing_the_package_loads_nothing_heavy():
    script = "import sys, bundle; sys.exit(' '.join({'torch', 'monai', 'numpy'} & sys.modules.keys()) or None)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_type_checkers_are_told_the_same_names():
    stub = Path(bundle.__file__).with_name("__init__.pyi").read_text()
    told = dict(re.findall(r"^from (\S+) import (\w+)$", stub, flags=re.MULTILINE))
    assert {name: module for module, name in told.items()} == bundle._PLACES


def test_every_public_name_is_there_and_no_other():
    for name in bundle.__all__:
        assert callable(getattr(bundle, name))
        assert name in dir(bundle)
    with pytest.raises(AttributeError, match="has no attribute 'segmentt'"):
        _ = bundle.segmentt


@pytest.mark.slow
def test_the_interface_gives_the_command_s_masks(film, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["segment", str(film), "--output", str(tmp_path / "out"), "--device", "cpu", "outputs=['nifti']"])
    assert caught.value.code == 0
    segmenter = bundle.load_segmenter()
    clip = bundle.read_clip(film)
    masks = bundle.segment(clip, segmenter)
    (written,) = (tmp_path / "out").glob("*/masks.nii.gz")
    import nibabel as nib

    np.testing.assert_array_equal(np.asarray(nib.load(written).dataobj)[:, :, 0].transpose(2, 3, 1, 0), masks)
    measures = bundle.measure_swallow(masks, clip.frame_times_ms, segmenter.structures, clip.pixel_aspect)
    assert measures.measures
