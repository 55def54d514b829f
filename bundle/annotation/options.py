"""What the app is started with, as plain values: they reach MONAI Label, and its training process, as one JSON text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bundle.paths import ROOT, results_root

# Unless an option says otherwise. It stands here and not with the cache, so that `--help` need not load PyTorch.
CACHE_MEGABYTES = 256


@dataclass(frozen=True)
class AppOptions:
    """Options of the app."""

    work_dir: str = str(results_root() / "annotate")  # folder of promoted models, trainings and downloads
    # Weights that are served until another model is promoted, with the card beside them
    model: str = str(ROOT / "models" / "model.pt")
    memory: str = str(ROOT / "models" / "memory.pt")  # weights of SAM 2's memory, for propagation
    cache_megabytes: float = CACHE_MEGABYTES  # limit of what is kept of encoded frames

    def __post_init__(self) -> None:
        if not Path(self.model).is_file():
            raise FileNotFoundError(f"no model at {self.model}: train one (`make demo`), or name it with --model")

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> "AppOptions":
        """Options as a person types them, by name.

        Raises:
            ValueError: If a name is unknown, or a number is none.
        """
        numbers = {field.name for field in fields(cls) if isinstance(field.default, float | int)}
        values = {name: float(text) if name in numbers else text for name, text in texts.items()}
        return cls.from_json(json.dumps(values))

    @classmethod
    def from_json(cls, text: str) -> "AppOptions":
        """Options from :meth:`to_json`.

        Raises:
            ValueError: If a name is unknown.
        """
        values = json.loads(text)
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown options {unknown}: expected some of {[field.name for field in fields(cls)]}")
        return cls(**values)
