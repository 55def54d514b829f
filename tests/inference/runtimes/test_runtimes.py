"""Every runtime gives PyTorch's logits, on synthetic and on real frames, behind one interface."""

import logging
from copy import deepcopy

import pytest
import torch
from monai.bundle import ConfigParser

from bundle.data.readers import read_clip
from bundle.export.checkpoint import load_weights
from bundle.export.deploy import Exporter
from bundle.inference.predictor import ClipInferer
from bundle.inference.runtimes import load as loading
from bundle.inference.runtimes.enlarge import MaskEnlarger
from bundle.inference.runtimes.load import PRECISIONS, choose_precision, choose_runtime, load_runtime
from bundle.metrics.overlap import dice
from bundle.phantom import generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from bundle.transforms.letterbox import LetterboxGeometry, letterbox

TOLERANCE = 1e-4
RUNTIMES = [(name, precision) for name, precisions in PRECISIONS.items() for precision in precisions]
EXACT = [name for name, precision in RUNTIMES if precision == "float32"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def eager(segmenter, checkpoint):
    """The segmenter in PyTorch, apart from what the runtimes get."""
    return load_weights(deepcopy(segmenter), checkpoint)


@pytest.fixture(scope="module")
def real_frames(request):
    folder = request.config.rootpath.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("real images and weights (../shared/data) are not on this machine")
    film = read_clip(folder / "data" / "vfss_real" / "healthy_swallow.avi")
    return letterbox(torch.from_numpy(film.frames[::40]), 384)[0]


@pytest.fixture(scope="module")
def load(segmenter, checkpoint):
    """Load a runtime, once each."""
    loaded = {}

    def load(name: str, precision: str = "float32"):
        if not loading.is_installed(name):
            pytest.skip(f"{name} is not installed (extra openvino)")
        if (name, precision) not in loaded:
            try:
                loaded[name, precision] = load_runtime(
                    Exporter(segmenter, checkpoint, num_calibration_frames=8), name, precision, num_threads=1
                )
            except RuntimeError as error:
                pytest.skip(str(error))
        return loaded[name, precision]

    return load


def assert_same(logits: torch.Tensor, expected: torch.Tensor) -> None:
    """Probabilities to 1e-4, logits to 1e-5 of the largest: trained logits go far beyond 1."""
    torch.testing.assert_close(logits.sigmoid(), expected.sigmoid(), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * max(10.0, float(expected.abs().max())))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_logits_of_phantom_frames_are_pytorchs(load, eager, frames, name, batch_size):
    with torch.no_grad():
        expected = eager(frames[:batch_size])
    assert_same(load(name)(frames[:batch_size]), expected)


@pytest.mark.parametrize("name", EXACT)
def test_logits_of_real_frames_are_pytorchs(load, eager, real_frames, name):
    with torch.no_grad():
        expected = eager(real_frames)
    assert_same(load(name)(real_frames), expected)


@pytest.mark.parametrize(("name", "precision"), RUNTIMES)
def test_what_every_runtime_promises(load, frames, name, precision):
    runtime = load(name, precision)
    coarse, logits = runtime.coarse(frames), runtime(frames)
    assert coarse.shape == (4, len(STRUCTURES), 96, 96)
    assert logits.shape == (4, len(STRUCTURES), 384, 384)
    assert coarse.dtype == logits.dtype == torch.float32
    assert coarse.isfinite().all()
    assert list(runtime.parameters()) == []
    alone = runtime.coarse(frames[1:2])
    torch.testing.assert_close(alone, coarse[1:2], rtol=0, atol=0.02 * float(coarse.abs().max()))


@pytest.mark.parametrize(("name", "precision"), [pair for pair in RUNTIMES if pair[1] != "float32"])
def test_lower_precision_costs_little_dice(load, study, frames, card, record_property, name, precision):
    if "image_size" not in card:
        pytest.skip("models/model.pt is not made yet: make model")
    enlarge = MaskEnlarger(LetterboxGeometry(384, 384, 384), 96)
    networks = load("torch"), load(name, precision)
    labels = torch.from_numpy(study.masks)
    own, other = (float(dice(enlarge(network.coarse(frames)), labels).nanmean()) for network in networks)
    record_property("dice_difference", other - own)
    print(f"{name}, {precision}: Dice {own:.3f} {other - own:+.4f}")  # noqa: T201 - reported: pytest -s
    assert own > 0.5  # else the difference would mean nothing
    assert other > own - (0.15 if precision == "int8" else 0.02)


@pytest.mark.parametrize("name", EXACT)
def test_the_clip_inferer_takes_a_runtime_for_a_network(load, eager, frames, name):
    inferer = ClipInferer(384, batch_size=2, progress=False)
    assert (inferer(frames, load(name)) != inferer(frames, eager)).float().mean() < 1e-3


@pytest.mark.parametrize("num_streams", [2, None])
def test_streams_change_nothing(segmenter, checkpoint, load, frames, num_streams):
    expected = load("openvino").coarse(frames)
    several = load_runtime(Exporter(segmenter, checkpoint), "openvino", num_threads=2, num_streams=num_streams)
    assert_same(several.coarse(frames), expected)


def test_the_automatic_choice_is_said_in_the_log(segmenter, checkpoint, caplog):
    with caplog.at_level(logging.INFO):
        runtime = load_runtime(Exporter(segmenter, checkpoint), num_threads=1)
    assert f"runtime: {runtime.name}, float32 (chosen automatically)" in caplog.text


def test_the_automatic_choice_depends_on_device_precision_and_what_is_installed(monkeypatch):
    assert choose_runtime("float32", torch.device("cuda")) == "torch"
    monkeypatch.setattr(loading, "is_installed", lambda name: name != "openvino")
    assert choose_runtime("int8", torch.device("cpu")) == "onnx"
    assert choose_runtime("bfloat16", torch.device("cpu")) == "torch"


def test_the_automatic_precision_is_never_int8(monkeypatch):
    assert choose_precision("onnx") == choose_precision("torch") == "float32"
    monkeypatch.setattr(loading, "is_installed", lambda name: True)
    for has_bfloat16, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(loading, "processor_has_bfloat16", lambda has=has_bfloat16: has)
        assert choose_precision("openvino") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorrt"}, r"runtime must be auto or one of \['torch', .*\], got 'tensorrt'"),
        ({"runtime": "torchscript", "precision": "int8"}, "torchscript computes in float32, got 'int8'"),
        ({"precision": "int4"}, "no installed runtime computes in 'int4'; runtimes and precisions are"),
        ({"runtime": "onnx", "device": "cuda"}, "onnx runs on the CPU, got device 'cuda': take runtime 'torch'"),
    ],
)
def test_what_no_runtime_offers_is_refused(segmenter, checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        load_runtime(Exporter(segmenter, checkpoint), **options)


def test_the_real_time_config_segments_a_film(card, checkpoint, bundle_root, tmp_path):
    write_dicom(generate_study(seed=6, size=96, num_frames=4), tmp_path / "film.dcm", "p1")
    parser = ConfigParser()
    parser.read_config([str(bundle_root / "configs" / name) for name in ("inference.json", "realtime.json")])
    parser.read_meta(str(bundle_root / "configs" / "metadata.json"))
    changes = {"bundle_root": str(bundle_root), "checkpoint": str(checkpoint), "input": str(tmp_path / "film.dcm")}
    changes |= {"output_dir": str(tmp_path / "out"), "outputs": ["nifti", "areas"], "device": "cpu", "image_size": 384}
    changes |= {key: card[key] for key in ("student_backbone", "embed_dim", "structures")}
    parser.update(changes)
    parser.get_parsed_content("run")
    (areas,) = (tmp_path / "out").glob("*/areas.csv")
    assert len(areas.read_text().splitlines()) == 1 + 4
    assert list((tmp_path / "out").glob("*/masks.nii.gz"))


def test_frames_of_another_size_are_refused(load):
    with pytest.raises(ValueError, match=r"takes frames \(B, 1, 384, 384\), got \(1, 1, 32, 32\)"):
        load("torch").coarse(torch.zeros(1, 1, 32, 32))
