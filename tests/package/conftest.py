"""A tiny bundle and its archive, written without the code under test but for the manifest's text."""

import hashlib
import http.server
import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundle.export.manifest import FileEntry, Manifest

NAME = "tiny"

Files = dict[str, bytes]
FILES: Files = {
    "LICENSE": b"Apache-2.0",
    "configs/inference.json": b'{"image_size": 256}',
    "bundle/code.py": b"ANSWER = 42\n",
    "models/model.pt": bytes(range(256)) * 8,
    "requirements.txt": b"torch==2.14.1\n",
}


def manifest_of(files: Files, version: str = "0.1.0") -> Manifest:
    entries = {path: FileEntry(len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()}
    return Manifest(NAME, version, entries)


def write_folder(folder: Path, files: Files = FILES, version: str = "0.1.0") -> Path:
    for path, content in {**files, "manifest.json": manifest_of(files, version).to_json().encode()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def write_archive(path: Path, files: Files = FILES, version: str = "0.1.0") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, "manifest.json": manifest_of(files, version).to_json().encode()}.items():
            archive.writestr(f"{NAME}/{name}", content)
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A bundle as it was published, unpacked."""
    return write_folder(tmp_path / NAME)


@pytest.fixture
def archive_with(tmp_path: Path) -> Callable[..., Path]:
    """Writes an archive of a version, with files added to the tiny bundle's."""

    def write(version: str = "0.2.0", **files: bytes) -> Path:
        added = {name.replace("__", "/"): content for name, content in files.items()}
        return write_archive(tmp_path / f"{NAME}-{version}.zip", {**FILES, **added}, version)

    return write


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files, on the loopback address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The weights that ship; where there are none yet, a network with random ones."""
    shipped = repository / "models" / "model.pt"
    if shipped.is_file():
        return shipped
    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(repository / "configs" / "inference.json"))
    parser.read_meta(str(repository / "configs" / "metadata.json"))
    parser["bundle_root"] = str(repository)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return path


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Path:
    """A light copy of what is packed of this repository: weights and pictures are a few bytes, the weights listed."""
    from bundle.export.package import bundle_files

    target = tmp_path / "clone"
    sha256 = {}
    for relative, file in {**bundle_files(repository), "models/model.pt": None}.items():
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        if file is not None and file.suffix in (".py", ".md", ".json", ".toml", ".txt", ".conf", ""):
            shutil.copyfile(file, target / relative)
        else:
            (target / relative).write_text(relative)
            sha256[relative] = hashlib.sha256(relative.encode()).hexdigest()
    (target / "models" / "light.json").write_text(json.dumps([{"sha256": value} for value in sha256.values()]))
    return target


def copy_of(repository: Path, model_file: Path, target: Path) -> Path:
    """Copy what is packed, with a model whose checksum is on its card."""
    from bundle.export.package import bundle_files

    for relative, file in bundle_files(repository).items():
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / relative)
    shutil.copyfile(model_file, target / "models" / "model.pt")
    sha256 = hashlib.sha256(model_file.read_bytes()).hexdigest()
    card = json.loads((target / "models" / "model.json").read_text())
    (target / "models" / "model.json").write_text(json.dumps({**card, "sha256": sha256}))
    return target


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, repository: Path, model_file: Path) -> Path:
    """This repository's archive."""
    from bundle.export.package import package_bundle

    clone = copy_of(repository, model_file, tmp_path_factory.mktemp("packed") / "clone")
    return package_bundle(clone, clone.parent / "dist")
