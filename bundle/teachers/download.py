"""Where the teachers' published weights are, and how to fetch them where their hosts can be reached."""

import shutil
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.teachers.find import fetch_from_hub, unreachable
from bundle.weights import file_sha256, verify_sha256


@dataclass(frozen=True)
class PublishedWeights:
    """One teacher's weights as their authors publish them.

    Args:
        teacher: Name of the teacher.
        source: Hub id, or the address of a zip archive.
        file_name: The file with the weights, in the hub or in the archive.
        license: What the source says, as far as we know; check it before use.
        sha256: The checksum that the source publishes; None when it publishes none.
    """

    teacher: str
    source: str
    file_name: str
    license: str
    sha256: str | None = None

    def __str__(self) -> str:
        checksum = self.sha256 or "not published by the source: recorded on first download"
        return f"{self.teacher}: {self.file_name} from {self.source}\n  license: {self.license}\n  sha256:  {checksum}"


PUBLISHED = (
    PublishedWeights(
        "medsam2",
        "wanglab/MedSAM2",
        "MedSAM2_latest.pt",
        "code Apache-2.0; for the weights read the hub's model card (not verified by us)",
    ),
    PublishedWeights(
        "rad_dino",
        "microsoft/rad-dino",
        "model.safetensors",
        "stated as MIT on the hub, earlier as MSRLA; for research, not for clinical practice (not verified by us)",
    ),
    PublishedWeights(
        "medclip",
        "https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip",
        "pytorch_model.bin",
        "package metadata say BSD; none stated for the weights; trained on MIMIC-CXR and CheXpert (not verified by us)",
    ),
    PublishedWeights(
        "medclip_resnet",
        "https://storage.googleapis.com/pytrial/medclip-pretrained.zip",
        "pytorch_model.bin",
        "as medclip",
    ),
)


def select_weights(teachers: Sequence[str]) -> tuple[PublishedWeights, ...]:
    """The weights of some teachers; of all without a name."""
    names = [weights.teacher for weights in PUBLISHED]
    if unknown := set(teachers) - set(names):
        raise ValueError(f"no published weights for {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return tuple(weights for weights in PUBLISHED if not teachers or weights.teacher in teachers)


def download_weights(weights: PublishedWeights, folder: Path) -> Path:
    """Fetch one teacher's weights into ``folder/<teacher>`` unless they are there, and check or record their checksum.

    The checksum of the first download is written beside the file and checked whenever the file is asked for again.
    """
    path = folder / weights.teacher / weights.file_name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        if weights.source.startswith("https://"):
            _fetch_from_archive(weights, path)
        else:
            shutil.copyfile(fetch_from_hub(weights.source, (weights.file_name,)), path)
    record = path.with_name(f"{path.name}.sha256")
    expected = weights.sha256 or (record.read_text().split()[0] if record.is_file() else None)
    if expected is not None:
        verify_sha256(path, expected)
    record.write_text(f"{file_sha256(path)}  {path.name}\n")
    return path


def _fetch_from_archive(weights: PublishedWeights, path: Path) -> None:
    with TemporaryDirectory(dir=path.parent) as scratch:
        archive_path = Path(scratch) / "archive.zip"
        try:
            urllib.request.urlretrieve(weights.source, archive_path)
        except OSError as error:
            raise unreachable(weights.source, weights.file_name) from error
        with zipfile.ZipFile(archive_path) as archive:
            members = [name for name in archive.namelist() if Path(name).name == weights.file_name]
            if len(members) != 1:
                raise FileNotFoundError(f"{weights.source} must hold one {weights.file_name}, it holds {len(members)}")
            unpacked = archive.extract(members[0], scratch)
        shutil.move(unpacked, path)
