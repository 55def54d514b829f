"""The models of a server: the one that it serves, the one that training made, and the one before."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bundle.annotation.refusals import RefusedRequestError
from bundle.atomic import atomic_path, write_json
from bundle.weights import file_sha256

HISTORY = "promotions.json"


@dataclass(frozen=True)
class ModelStore:
    """Files of weights in a folder. Training writes the candidate only; what is served changes by promotion alone."""

    folder: Path  # made when something is written
    shipped: Path  # what is served until the first promotion; never changed

    @property
    def candidate(self) -> Path:
        """What training made last."""
        return self.folder / "candidate.pt"

    @property
    def previous(self) -> Path:
        """What was served before the last promotion."""
        return self.folder / "previous.pt"

    def served(self) -> Path:
        """The file that is served now."""
        promoted = self.folder / "served.pt"
        return promoted if promoted.is_file() else self.shipped

    def offer(self, weights: Path) -> None:
        """Make a file of weights the candidate."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _copy(weights, self.candidate)

    def promote(self, scores: dict[str, Any]) -> None:
        """Serve the candidate, and keep what was served as the previous one."""
        self._replace(self.candidate, {"action": "promote", **scores})
        self.candidate.unlink()

    def undo_promotion(self) -> None:
        """Serve the previous model again; what is served now becomes the previous one."""
        self._replace(self.previous, {"action": "undo promotion"})

    def history(self) -> list[dict[str, Any]]:
        """What was promoted, and when."""
        path = self.folder / HISTORY
        return json.loads(path.read_text(encoding="utf-8"))["promotions"] if path.is_file() else []

    def _replace(self, successor: Path, record: dict[str, Any]) -> None:
        if not successor.is_file():
            raise RefusedRequestError(f"there is no {successor.stem} model: train first", status=409)
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_sha256": file_sha256(self.served()),
            "to_sha256": file_sha256(successor),
            **record,
        }
        with TemporaryDirectory(dir=self.folder) as folder:  # going back, the two change places
            kept = Path(folder) / "kept.pt"
            _copy(self.served(), kept)
            _copy(successor, self.folder / "served.pt")
            _copy(kept, self.previous)
        write_json(self.folder / HISTORY, {"promotions": [*self.history(), record]})


def _copy(source: Path, target: Path) -> None:
    """The weights, and the card beside them that says what they fit."""
    shutil.copyfile(source.with_suffix(".json"), target.with_suffix(".json"))
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
