"""Which files of a folder are images to be annotated; run in the annotation environment, without a server."""

import json
import subprocess
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path
from bundle.annotation.datastores import StudyFolder
from bundle.annotation.images import ImageCache
from bundle.annotation.images import Proposals
folder = StudyFolder(sys.argv[1], ("c2",), ImageCache(), Proposals(Path("none"), ("c2",)))
print(json.dumps({name: folder.get_image_uri(name) for name in folder.list_images()}))
"""


def test_images_are_what_inference_would_take_and_the_rest_is_named_once(tmp_path, annotation_python):
    for name in ("film.avi", "._film.avi", "notes.txt", "sub/x.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"any")
    for name in ("1.2.840.113.5", "1.2.840.113.6"):  # as a PACS names its files
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [annotation_python, "-c", SCRIPT, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    images = json.loads(done.stdout.splitlines()[-1])
    assert {name: Path(path).name for name, path in images.items()} == {
        "film": "film.avi",
        "1.2.840.113.5": "1.2.840.113.5",
        "1.2.840.113.6": "1.2.840.113.6",
    }
    assert [line for line in done.stderr.splitlines() if "left out" in line] == [
        "left out, hidden, or of the system: 1 (._film.avi)",
        "left out, subfolder that is not searched: 1 (sub)",
        "left out, neither DICOM nor of a suffix that is read here: 1 (notes.txt)",
    ]
