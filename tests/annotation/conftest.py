"""A real MONAI Label server in its own environment, and small synthetic studies of every kind for it."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
import torch
from monai.data import MetaTensor
from PIL import Image

from bundle.data.clip import Clip
from bundle.data.readers import read_clip
from bundle.export.model_card import load_segmenter
from bundle.keys import FIELD_OF_VIEW, PIXEL_ASPECT
from bundle.phantom.study import PhantomStudy, generate_study
from bundle.phantom.writer import write_avi, write_dicom
from bundle.segmentation.memory import Memory
from bundle.segmentation.sam2 import build_tracker
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.transforms.field_of_view import find_field_of_view
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
SIZE, NUM_FRAMES = 128, 4
START_SECONDS = 240


@dataclass
class Server:
    """A running server.

    Attributes:
        address: Without a slash at the end.
        studies: Its folder of images, if it has one.
        work_dir: Its folder of models.
        log: What it says.
        temporary: Its folder of temporary files.
    """

    address: str
    studies: Path
    work_dir: Path
    log: Path
    temporary: Path
    session: requests.Session = field(default_factory=requests.Session)

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self.session.request(method, self.address + path, timeout=300, **kwargs)

    def infer(self, model: str, image: str, output: str = "image", **params: Any) -> requests.Response:
        """Ask as a viewer does: parameters as JSON in a form."""
        query = {"image": image, "output": output}
        return self.request("POST", f"/infer/{model}", params=query, data={"params": json.dumps(params)})

    def label(self, model: str, image: str, suffix: str, folder: Path, **params: Any) -> Path:
        """The label file that an inference gives."""
        answer = self.infer(model, image, result_extension=suffix, **params)
        assert answer.status_code == 200, answer.text
        path = folder / f"label{suffix}"
        path.write_bytes(answer.content)
        return path

    def save(self, image: str, label: Path, tag: str = "final", **params: Any) -> requests.Response:
        """Save a label as a viewer does."""
        with label.open("rb") as file:
            return self.request(
                "PUT",
                "/datastore/label",
                params={"image": image, "tag": tag},
                data={"params": json.dumps(params)},
                files={"label": (label.name, file)},
            )


@pytest.fixture(scope="session")
def annotation_python() -> Path:
    """Python of the annotation environment, which is made if it is not there."""
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("no .venv beside the tests to build the annotation environment on")
    result = subprocess.run(
        ["bash", str(ROOT / "scripts" / "setup_annotation.sh")], capture_output=True, text=True, timeout=600
    )
    if result.returncode and any(words in result.stderr for words in ("Retrying (Retry", "NewConnectionError")):
        pytest.skip("the package index cannot be reached, and the annotation environment is not made yet")
    assert result.returncode == 0, result.stderr[-2000:]
    return ROOT / ".venv-annotation" / "bin" / "python"


def as_inference_sees(clip: Clip) -> MetaTensor:
    """Frames with what ``StudyDataset`` notes of them."""
    frames = clip.frames
    return MetaTensor(
        torch.from_numpy(frames),
        meta={PIXEL_ASPECT: clip.pixel_aspect, FIELD_OF_VIEW: find_field_of_view(frames[:8])},
    )


@dataclass(frozen=True)
class Weights:
    """Files of weights for a server, and what they belong to."""

    model: Path
    memory: Path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """The shipped model and memory if they are there, else random ones."""
    folder = tmp_path_factory.mktemp("weights")
    model = ROOT / "models" / "model.pt"
    torch.manual_seed(0)
    if not model.is_file():
        model = folder / "model.pt"
        segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0")), STRUCTURES, image_size=256)
        torch.save(segmenter.state_dict(), model)
        card = {"student_backbone": "efficientvit_b0", "embed_dim": 256, "image_size": 256, "structures": STRUCTURES}
        model.with_suffix(".json").write_text(json.dumps(card))
    shipped = ROOT / "models" / "memory.pt"
    if model.parent == shipped.parent and shipped.is_file():
        return Weights(model, shipped)
    torch.save(Memory(build_tracker(load_segmenter(model))).state_dict(), folder / "memory.pt")
    return Weights(model, folder / "memory.pt")


@pytest.fixture(scope="session")
def start_server(annotation_python: Path, weights: Weights) -> Callable[..., Any]:
    """Start a server on a folder or an address, as `make annotate` does; stopped when the block ends."""

    @contextmanager
    def start(studies: Path | str, work_dir: Path, **options: Any) -> Iterator[Server]:
        port, log = free_port(), work_dir.with_suffix(".log")
        options = {"port": port, "work_dir": work_dir, "model": weights.model, "memory": weights.memory, **options}
        command = [str(annotation_python), str(ROOT / "scripts" / "annotate.py"), str(studies)]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        temporary = work_dir.with_suffix(".tmp")
        temporary.mkdir()
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=work_dir.parent, env={**os.environ, "TMPDIR": str(temporary)}
            )
        server = Server(f"http://127.0.0.1:{port}", Path(studies), work_dir, log, temporary)
        try:
            wait_until_it_answers(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)

    return start


def wait_until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if server.request("GET", "/info/").status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.3)
    raise RuntimeError(f"the server did not start: {server.log.read_text()[-2000:]}")


def make_study(seed: int, num_frames: int = NUM_FRAMES) -> PhantomStudy:
    return generate_study(seed, SIZE, num_frames)


def write_every_kind(folder: Path) -> None:
    """One synthetic study as a DICOM cine, a single DICOM frame, films, pictures and NIfTI of three shapes."""
    study = make_study(0)
    write_dicom(study, folder / "cine.dcm", "p0")
    write_dicom(make_study(1, 1), folder / "single.dcm", "p1")
    write_avi(study, folder / "film.avi")
    frames = (read_clip(folder / "cine.dcm").frames[:, 0] * 255).round().astype(np.uint8)  # (T, H, W)
    frames = frames[:, :-28]  # 100 rows: an axis that is exchanged is noticed
    Image.fromarray(frames[1]).save(folder / "gray.png")
    Image.fromarray(frames[1]).convert("RGB").save(folder / "rgb.png")
    Image.fromarray(frames[1]).save(folder / "photo.jpg", quality=95)
    volume, affine = frames.transpose(2, 1, 0), np.diag([-0.5, -0.5, 1.0, 1.0])
    nib.save(nib.Nifti1Image(volume, affine), folder / "volume.nii.gz")
    nib.save(nib.Nifti1Image(volume[:, :, None], affine), folder / "timed.nii.gz")
    nib.save(nib.Nifti1Image(volume[:, :, 1], affine), folder / "flat.nii.gz")


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on one study of every kind."""
    folder = tmp_path_factory.mktemp("annotation")
    (folder / "studies").mkdir()
    write_every_kind(folder / "studies")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 2, 3), np.uint8), np.eye(4)), folder / "studies" / "odd.nii.gz")
    (folder / "studies" / "broken.png").write_bytes(b"no picture")
    public = "https://labels.hospital.example"  # of the proxy in test_proxy.py
    with start_server(folder / "studies", folder / "work", public_address=public) as running:
        yield running
