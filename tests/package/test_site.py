"""A site's day, by the commands of the pages that a site reads.

Download, checks, a fresh environment, inference, other runtimes, exports, copies without identity, MONAI's tools, an
upgrade; without a network wherever none is needed.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bundle.export.package import package_bundle
from bundle.phantom import generate_study
from bundle.phantom.writer import write_avi, write_dicom
from bundle.structures import STRUCTURES
from tests.docs.test_docs import FENCE
from tests.package.conftest import copy_of, serve

pytestmark = pytest.mark.slow

NAME = "vfss-agglomerative-distillation"
FREE_GB = 12
"""The environment has 6.7 GB when it is finished, and pip needs room for PyTorch's wheels."""
TIMEOUT_S = 900
OWN_PAGE = "docs/how-to/download.md"
PAGES = [
    "docs/concepts/inference.md",
    "docs/how-to/real-time.md",
    "docs/how-to/export.md",
    "docs/how-to/share-data.md",
]
"""What else a site reads: each command of these pages is run, and each block of Python, but for sessions with `>>>`."""
SMOKE = "['configs/train.json','configs/no_distillation.json','configs/smoke.json']"
TRAINING = f'python -m monai.bundle run training --config_file "{SMOKE}"'
NOT_REACHED = ("download.pytorch.org",)
"""Commands that need an index which is not reached from here: test_package.py has what can be tried of them."""

Run = subprocess.CompletedProcess[str]


def untested(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what tells packages that a test is running, which keeps some from reporting their use."""
    return {name: value for name, value in environment.items() if not name.startswith(("PYTEST", "PYTHON", "CI"))}


def blocks(page: str, heading: str = "") -> list[str]:
    """Commands of a page, or of the part below one of its headings, as bash runs them."""
    text = page.split(f"\n{heading}\n", 1)[1] if heading else page
    text = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0] if heading else text
    found = []
    for _, language, body in FENCE.findall(text):
        if language == "bash" and not any(address in body for address in NOT_REACHED):
            found.append(body)
        elif language == "python" and ">>>" not in body:
            found.append(f"python - <<'PYTHON'\n{body}PYTHON\n")
    return found


class Site:
    """A machine with a terminal, that has no network but for downloads from this machine and pip.

    Args:
        folder: Of everything that the site has.
        stands_for: What is put in place of the pages' examples of names, addresses and numbers.
    """

    def __init__(self, folder: Path, stands_for: Mapping[str, str]) -> None:
        self.folder, self.stands_for = folder, stands_for
        self.bundle, self.log = folder / "bundles" / NAME, folder / "attempts.log"
        self.path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # any environment that has MONAI

    def type(self, block: str, folder: Path | None = None, reaches: str = "nothing") -> Run:
        """Run lines as a person would, each after the other until one fails; the terminal keeps its ``PATH``.

        Args:
            block: Lines of a page.
            folder: Where the terminal is; the bundle's unless given.
            reaches: Of the network: "nothing", "this machine", or "an index" of packages.
        """
        for example, own in self.stands_for.items():
            block = block.replace(example, own)
        script = f'set -euo pipefail\n{block}\nprintf %s "$PATH" > {self.folder}/path'
        settings = {"PIP_NO_COMPILE": "1"} if reaches == "an index" else {"NETWORK_GUARD_LOG": str(self.log)}
        environment = {**untested(os.environ), **settings, "PATH": self.path, "OMP_NUM_THREADS": "2"}
        done = subprocess.run(
            [*(cut_off() if reaches == "nothing" else []), "bash", "-c", script],
            cwd=folder or self.bundle,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        self.path = (self.folder / "path").read_text()
        return done

    def python(self, code: str) -> Run:
        """Run Python in the bundle's folder."""
        return self.type(f"python - <<'PYTHON'\n{code}\nPYTHON")


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
def page(repository) -> str:
    return (repository / OWN_PAGE).read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory, address, packed, newer_archive, page) -> Iterator[Site]:
    """A site that has downloaded the bundle, checked it and installed what inference needs, as the page says."""
    folder = tmp_path_factory.mktemp("site")
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < FREE_GB:
        pytest.skip(f"a fresh environment needs {FREE_GB} GB of disk, {free_gb:.1f} GB are free in {folder}")
    site = Site(folder, stand_ins(folder, address, packed, newer_archive))
    refuse_without_index(folder)
    try:
        for block in blocks(page, "## Get it"):
            site.type(block, folder, reaches="this machine")
        site.stands_for["THE_MANIFESTS_NUMBER"] = sha256_of(site.bundle / "manifest.json")
        site.type("\n".join(blocks(page, "## Check it")), folder)
        install, *more = blocks(page, "## Install what inference needs")
        site.type(install, reaches="an index")
        guard = next((folder / "env").glob("lib/python*/site-packages"))
        shutil.copyfile(Path(__file__).with_name("network_guard.py"), guard / "network_guard.py")
        (guard / "network_guard.pth").write_text("import network_guard\n")
        site.for_training = more
        yield site
    finally:
        shutil.rmtree(folder / "env", ignore_errors=True)


def stand_ins(folder: Path, address: str, packed: Path, newer_archive: Path) -> dict[str, str]:
    """What the pages' examples stand for; the longer ones first."""
    (folder / "studies").mkdir()
    write_dicom(generate_study(seed=11, size=320, num_frames=6), folder / "studies" / "cine.dcm", patient="p1")
    write_avi(generate_study(seed=12, size=320, num_frames=6), folder / "studies" / "cine.avi")
    return {
        f"https://example.org/{NAME}-0.2.0.zip": f"{address}/{newer_archive.name}",
        f"https://example.org/{NAME}-0.1.0.zip": f"{address}/{packed.name}",
        "THE_ZIPS_NUMBER": sha256_of(packed),
        "python3.11 -m venv path/to/env": f"{sys.executable} -m venv {folder}/env",
        "path/to/env": f"{folder}/env",
        "path/to/files": f"{folder}/studies",
        "path/to/studies path/to/copies --blacken": f"{folder}/studies/cine.dcm {folder}/blackened --blacken",
        "path/to/studies": f"{folder}/studies",
        "path/to/cine.dcm": f"{folder}/studies/cine.dcm",
        "path/to/copies": f"{folder}/copies",
        "path/to/key": f"{folder}/key",
    }


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refuse_without_index(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder / "probe"), "termcolor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        pytest.skip("no package index can be reached, so no fresh environment can be made")


@pytest.fixture(scope="module")
def results(site, page) -> dict[str, Path]:
    """What inference makes of a DICOM and an AVI, with the bundle's own default settings: folders by suffix."""
    (block,) = blocks(page, "## Use it")
    done = site.type(block)
    folder = site.bundle.parent / "runs" / "inference"
    assert statuses(folder) == ["done", "done"]
    keys = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line.startswith("cine.")}
    return {Path(name).suffix: folder / key for name, key in keys.items()}


def statuses(folder: Path) -> list[str]:
    with (folder / "results.csv").open() as file:
        return [row["status"] for row in csv.DictReader(file)]


def test_the_environment_has_nothing_but_the_requirements(site):
    script = "import json; from importlib import metadata as m; print(json.dumps([d.name for d in m.distributions()]))"
    installed = {name.lower().replace("_", "-") for name in json.loads(site.python(script).stdout)}
    assert {"torch", "monai", "sam2", "onnxruntime", "dicom-anonymizer"} <= installed
    assert not {"mlflow", "transformers", "matplotlib", "itk", "pytest", "nncf", NAME} & installed


def test_every_script_answers_help(site):
    scripts = sorted(path.name for path in (site.bundle / "scripts").glob("*.py"))
    assert len(scripts) > 5
    for script in scripts:
        assert site.type(f"python scripts/{script} --help").stdout.lower().startswith("usage: ")


def test_a_stage_whose_packages_are_missing_says_so_in_one_line(site):
    done = site.type(f"! {TRAINING} 2> {site.folder}/error\ntail -n 1 {site.folder}/error")
    assert re.match(r"error: .+ needs the package \w+, which is not installed: .*'train'", done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_work(site, results, repository, name):
    found = blocks((repository / name).read_text())
    assert found
    for block in found:
        site.type(block)


def test_real_time_has_segmented_the_films(site):
    assert set(statuses(site.bundle.parent / "runs" / "realtime")) == {"done"}
    assert list((site.bundle.parent / "runs" / "exported").iterdir())


def test_the_copies_without_identity_are_there(site):
    for folder in ("copies", "blackened"):
        assert list((site.folder / folder).rglob("*.dcm"))


def test_the_download_verifies_after_use(site, results):
    assert "all as listed in the manifest" in site.type("python scripts/verify_bundle.py").stdout
    assert results[".dcm"].is_dir()


def test_a_dicom_gets_masks_as_dicom_seg_a_report_and_measures(results):
    import pydicom

    seg = pydicom.dcmread(results[".dcm"] / "masks.dcm")
    assert seg.SOPClassUID == pydicom.uid.SegmentationStorage
    assert len(seg.SegmentSequence) > 6
    assert seg.Rows == seg.Columns == 320
    assert_report_and_measures(results[".dcm"])


def test_an_avi_gets_a_report_and_measures_and_no_dicom_seg(results):
    assert not (results[".avi"] / "masks.dcm").exists()
    assert_report_and_measures(results[".avi"])


def assert_report_and_measures(folder: Path) -> None:
    import nibabel

    assert nibabel.load(folder / "masks.nii.gz").shape == (320, 320, 1, 6, len(STRUCTURES))
    assert "<html" in (folder / "report.html").read_text()
    with (folder / "measures.csv").open() as file:
        assert len(list(csv.DictReader(file))) > 5


def test_nothing_was_asked_of_another_machine(site, results):
    assert not site.log.exists(), site.log.read_text()
    with pytest.raises(AssertionError, match="no network in this test"):
        site.python("import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=5)")
    assert site.log.read_text() == "192.0.2.1\n"  # the guard works
    site.log.unlink()


def test_monai_loads_and_verifies_the_network_with_its_weights(site):
    done = site.python(
        f"import monai.bundle, torch; name, bundle_dir = '{NAME}', '{site.bundle.parent}'\n"
        "net = monai.bundle.load(name=name, bundle_dir=bundle_dir, workflow_type='inference', device='cpu')\n"
        "state = torch.load('models/model.pt', weights_only=True)\n"
        "assert net.state_dict().keys() == state.keys()\n"
        "assert all(torch.equal(value, state[key].to(value)) for key, value in net.state_dict().items())\n"
        "files = {'meta_file': 'configs/metadata.json', 'config_file': 'configs/inference.json'}\n"
        "monai.bundle.verify_net_in_out(net_id='network_def', device='cpu', **files)\n"
        "print(type(net).__name__)"
    )
    assert done.stdout.split()[-1] == "Segmenter"


def test_monai_verifies_the_metadata(site, repository):
    schema = site.folder / "schema.json"
    shutil.copyfile(repository / "tests" / "configs" / "metadata_schema.json", schema)
    site.type(f"python -m monai.bundle verify_metadata --meta_file configs/metadata.json --filepath {schema}")


def test_an_upgrade_is_a_download_beside_the_old_version_and_finds_the_results(site, results, page):
    download, upgrade = (blocks(page, heading)[0] for heading in ("## Get it", "## Upgrade"))
    newer = download.replace("-0.1.0.zip", "-0.2.0.zip")
    site.type(f"{upgrade}\n{newer}", site.folder, reaches="this machine")
    assert f"{NAME} 99.0.0: " in site.type("python scripts/verify_bundle.py").stdout
    assert (results[".dcm"] / "masks.dcm").is_file()
    default = site.python("from bundle.paths import results_root; print(results_root())").stdout.strip()
    assert Path(default) == results[".dcm"].parents[1]


def test_what_training_needs_can_be_added(site):
    for block in site.for_training:
        site.type(block, reaches="an index")
    site.type(TRAINING)
    assert (site.bundle / "runs" / "smoke" / "model.pt").is_file()
