"""A site's day: a fresh environment, download, verification, inference without a network, MONAI's tools, an upgrade."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bundle.data.phantom import generate_study
from bundle.data.phantom.writer import write_avi, write_dicom
from bundle.export.package import package_bundle
from bundle.structures import STRUCTURES
from tests.package.conftest import copy_of, serve

pytestmark = pytest.mark.slow

NAME = "vfss-agglomerative-distillation"
FREE_GB = 12
"""The environment has 6.0 GB when it is finished, and pip needs room for PyTorch's wheels."""
SET_UP_TIMEOUT_S, TIMEOUT_S = 900, 300

Run = subprocess.CompletedProcess[str]


def run(command: list[str], folder: Path, timeout_s: int = TIMEOUT_S, **environment: str) -> Run:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**untested(os.environ), **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def untested(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what tells packages that a test is running, which keeps some from reporting their use."""
    return {name: value for name, value in environment.items() if not name.startswith(("PYTEST", "PYTHON", "CI"))}


class Site:
    """A machine that has the environment of the bundle's ``requirements.txt``, the bundle, and no network."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.bundle = folder / "bundles" / NAME
        self.log = folder / "attempts.log"

    def do(self, *arguments: str, folder: Path | None = None) -> Run:
        """Run the environment's Python; it reaches this machine only, and so does what it starts."""
        before = [] if folder is None else cut_off()
        settings = {"NETWORK_GUARD_LOG": str(self.log), "OMP_NUM_THREADS": "2"}
        return run([*before, str(self.python), *arguments], folder or self.folder, **settings)


def cut_off() -> list[str]:
    """A command prefix after which there is no network at all, where this machine allows that."""
    command = ["unshare", "--map-root-user", "--net"]
    can = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if can else []


@pytest.fixture(scope="module")
def newer_archive(packed, tmp_path_factory, repository, model_file) -> Path:
    """The same bundle one version later, in the folder that is served."""
    clone = copy_of(repository, model_file, tmp_path_factory.mktemp("newer") / "clone")
    version = packed.stem.removeprefix(f"{NAME}-")
    for path, old, new in (
        ("pyproject.toml", f'\nversion = "{version}"', '\nversion = "99.0.0"'),
        ("CHANGELOG.md", f"## [{version}]", f"## [99.0.0]\n\n## [{version}]"),
        ("configs/metadata.json", f'"version": "{version}"', '"version": "99.0.0"'),
        ("configs/metadata.json", '"changelog": {', '"changelog": {"99.0.0": "a test",'),
    ):
        text = (clone / path).read_text()
        assert old in text
        (clone / path).write_text(text.replace(old, new, 1))
    return package_bundle(clone, packed.parent)


@pytest.fixture(scope="module")
def address(packed) -> Iterator[str]:
    """The publisher's server, on this machine."""
    with serve(packed.parent) as url:
        yield url


@pytest.fixture(scope="module")
def environment(tmp_path_factory, packed, repository) -> Iterator[Path]:
    """Python of a fresh environment with what the bundle's requirements say, by the commands that the page says."""
    folder = tmp_path_factory.mktemp("fresh")
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < FREE_GB:
        pytest.skip(f"a fresh environment needs {FREE_GB} GB of disk, {free_gb:.1f} GB are free in {folder}")
    refuse_without_index(folder)
    shutil.unpack_archive(packed, folder)
    try:
        run([sys.executable, "-m", "venv", "env"], folder)
        python = folder / "env" / "bin" / "python"
        for command, settings in SET_UP:
            run([str(python), *command.split()[1:]], folder / NAME, SET_UP_TIMEOUT_S, **settings)
        guard = next((folder / "env").glob("lib/python*/site-packages"))
        shutil.copyfile(Path(__file__).with_name("network_guard.py"), guard / "network_guard.py")
        (guard / "network_guard.pth").write_text("import network_guard\n")
        yield python
    finally:
        shutil.rmtree(folder / "env", ignore_errors=True)


SET_UP = [
    ("python -m pip install --constraint requirements.txt setuptools wheel torch", {}),
    ("python -m pip install --no-build-isolation --requirement requirements.txt", {"SAM2_BUILD_CUDA": "0"}),
]


def refuse_without_index(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder / "probe"), "termcolor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SET_UP_TIMEOUT_S)
    if done.returncode:
        pytest.skip("no package index can be reached, so no fresh environment can be made")


@pytest.fixture(scope="module")
def site(tmp_path_factory, environment, address, packed) -> Site:
    """A site that has downloaded the bundle into an empty folder, with MONAI's command."""
    site = Site(environment, tmp_path_factory.mktemp("site"))
    (site.folder / "bundles").mkdir()
    options = ["--name", NAME, "--url", f"{address}/{packed.name}", "--bundle_dir", "bundles"]
    site.do("-m", "monai.bundle", "download", *options)
    return site


@pytest.fixture(scope="module")
def results(site) -> dict[str, Path]:
    """What inference makes of a DICOM and an AVI, with the bundle's own default settings: folders by suffix."""
    studies = site.folder / "studies"
    studies.mkdir()
    write_dicom(generate_study(seed=11, size=256, num_frames=6), studies / "cine.dcm", patient="p1")
    write_avi(generate_study(seed=12, size=256, num_frames=6), studies / "cine.avi")
    command = ["-m", "monai.bundle", "run", "run", "--config_file", "configs/inference.json", "--input"]
    done = site.do(*command, str(studies), folder=site.bundle)
    folder = site.bundle / "runs" / "inference"
    with (folder / "results.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "done"]
    keys = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line.startswith("cine.")}
    return {Path(name).suffix: folder / key for name, key in keys.items()}


def test_the_page_says_the_commands_that_are_tried_here(repository):
    page = (repository / "docs" / "how-to" / "download.md").read_text()
    for command, settings in SET_UP:
        assert f"\n{''.join(f'{k}={v} ' for k, v in settings.items())}{command}\n" in page
    assert "python -m monai.bundle run run --config_file configs/inference.json --input" in page
    assert f"python -m monai.bundle download --name {NAME} --url " in page


def test_the_environment_has_nothing_but_the_requirements(environment, site):
    script = "import json; from importlib import metadata as m; print(json.dumps([d.name for d in m.distributions()]))"
    installed = {name.lower().replace("_", "-") for name in json.loads(site.do("-c", script).stdout)}
    assert {"torch", "monai", "sam2"} <= installed
    assert not {"mlflow", "transformers", "matplotlib", "itk", "pytest"} & installed


def test_the_download_verifies_before_and_after_use(site, results):
    assert "all as listed in the manifest" in site.do(str(site.bundle / "scripts" / "verify_bundle.py")).stdout
    assert list((site.bundle / "runs").iterdir())


def test_a_dicom_gets_masks_as_dicom_seg_a_report_and_measures(results):
    import pydicom

    seg = pydicom.dcmread(results[".dcm"] / "masks.dcm")
    assert seg.SOPClassUID == pydicom.uid.SegmentationStorage
    assert len(seg.SegmentSequence) > 6
    assert seg.Rows == seg.Columns == 256
    assert_report_and_measures(results[".dcm"])


def test_an_avi_gets_a_report_and_measures_and_no_dicom_seg(results):
    assert not (results[".avi"] / "masks.dcm").exists()
    assert_report_and_measures(results[".avi"])


def assert_report_and_measures(folder: Path) -> None:
    import nibabel

    assert nibabel.load(folder / "masks.nii.gz").shape == (256, 256, 1, 6, len(STRUCTURES))
    assert "<html" in (folder / "report.html").read_text()
    with (folder / "measures.csv").open() as file:
        assert len(list(csv.DictReader(file))) > 5


def test_nothing_was_asked_of_another_machine(site, results):
    assert not site.log.exists(), site.log.read_text()
    with pytest.raises(AssertionError, match="no network in this test"):
        site.do("-c", "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=5)")
    assert site.log.read_text() == "192.0.2.1\n"  # the guard works
    site.log.unlink()


def test_monai_loads_the_network_with_its_weights(site):
    script = (
        "import monai.bundle, sys, torch; sys.path.insert(0, sys.argv[2] + '/' + sys.argv[1])\n"
        "net = monai.bundle.load(name=sys.argv[1], bundle_dir=sys.argv[2], workflow_type='inference', device='cpu')\n"
        "state = torch.load(sys.argv[2] + '/' + sys.argv[1] + '/models/model.pt', weights_only=True)\n"
        "assert net.state_dict().keys() == state.keys()\n"
        "assert all(torch.equal(value, state[key].to(value)) for key, value in net.state_dict().items())\n"
        "print(type(net).__name__)"
    )
    done = site.do("-c", script, NAME, str(site.bundle.parent), folder=site.bundle)
    assert done.stdout.split()[-1] == "Segmenter"


def test_monai_verifies_and_exports_the_network(site):
    script = (
        "import json, sys, torch; from monai.bundle import ckpt_export, verify_net_in_out\n"
        "files = {'meta_file': 'configs/metadata.json', 'config_file': 'configs/inference.json'}\n"
        "verify_net_in_out(net_id='network_def', device='cpu', **files)\n"
        "data = json.load(open('configs/metadata.json'))['network_data_format']\n"
        "shape = [1, 1, *data['inputs']['image']['spatial_shape']]\n"
        "options = {'ckpt_file': 'models/model.pt', 'use_trace': True, 'input_shape': shape}\n"
        "ckpt_export(net_id='network_def', filepath=sys.argv[1], **options, **files)\n"
        "logits = torch.jit.load(sys.argv[1])(torch.rand(shape))\n"
        "print(list(logits.shape) == [1, data['outputs']['pred']['num_channels'], *shape[2:]])"
    )
    done = site.do("-c", script, str(site.folder / "model.ts"), folder=site.bundle)
    assert done.stdout.split()[-1] == "True"


def test_monai_verifies_the_metadata(site, shared_dir):
    schema = site.folder / "schema.json"
    shutil.copyfile(shared_dir / "reference" / "meta_schema_20240725.json", schema)
    options = ["--meta_file", "configs/metadata.json", "--filepath", str(schema)]
    site.do("-m", "monai.bundle", "verify_metadata", *options, folder=site.bundle)


def test_a_second_download_keeps_the_old_version_and_the_upgrade_replaces_it(site, results, address, newer_archive):
    options = ["--name", NAME, "--url", f"{address}/{newer_archive.name}", "--bundle_dir", "bundles"]
    site.do("-m", "monai.bundle", "download", *options)
    before = json.loads((site.bundle / "manifest.json").read_text())["version"]
    assert before != "99.0.0"  # silently kept
    sha256 = newer_archive.with_name(f"{newer_archive.name}.sha256").read_text().split()[0]
    script = str(site.bundle / "scripts" / "upgrade_bundle.py")
    done = site.do(script, f"{address}/{newer_archive.name}", "--sha256", sha256)
    assert done.stdout.startswith(f"{before} -> 99.0.0; kept: runs; before: ")
    assert f"{NAME} 99.0.0: " in site.do(str(site.bundle / "scripts" / "verify_bundle.py")).stdout
    assert (results[".dcm"] / "masks.dcm").is_file()
