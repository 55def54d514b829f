"""What a study compares: variants of phase 1 and phase 2, and the scale at which they are run. JSON, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.paths import ROOT
from bundle.text import read_json

FOLDER = ROOT / "configs" / "laboratory"
SCALES = FOLDER / "scales.json"
TEACHERS = FOLDER / "teachers.json"
"""Teachers beside those of ``configs/distill.json``, by name."""

Keys = dict[str, Any]
"""Keys of a config, as in an overlay."""

SHOWN = ("weights", "teachers", "costs", "time")
"""Weights of the teachers over the training; what students know of their teachers; sizes and speeds of the students;
processor time of the trainings."""


@dataclass(frozen=True)
class Phase:
    """How a phase differs from its config."""

    configs: tuple[str, ...]  # Files below ``configs/``, the base first
    keys: Keys = field(default_factory=dict)  # The study's own overlay
    teachers: tuple[str, ...] | None = None  # Names; None: those of the config
    # Of the scale's epochs, for phases that follow each other and together take as many steps as one
    share: float = 1.0
    # What is trained on, by name, of what the runner is given beside the phantom; None: the phantom
    data: str | None = None

    def overlay(self, teachers: Mapping[str, Any]) -> Keys:
        """The study's own keys, with the teachers spelled out.

        Raises:
            ValueError: If a teacher is unknown.
        """
        if self.teachers is None:
            return dict(self.keys)
        unknown = [name for name in self.teachers if name not in teachers]
        if unknown:
            raise ValueError(f"teachers are {sorted(teachers)}, got {unknown}: add others to {TEACHERS.name}")
        return {**self.keys, "teachers": {name: teachers[name] for name in self.teachers}}


@dataclass(frozen=True)
class Variant:
    """One way to make a model."""

    name: str  # For tables
    phase_1: tuple[Phase, ...]  # The distillations, each from the student of the one before; none: random weights
    phase_2: Phase  # The training with ground truth


@dataclass(frozen=True)
class Claim:
    """What the paper or a reader says, in a form that the runs can answer."""

    text: str  # In words
    variant: str  # Name of a variant
    than: str  # Name of the variant that it is compared with
    expected: str  # "higher" or "equivalent"
    of_paper: bool = True  # Whether the paper says so


@dataclass(frozen=True)
class EvidenceStudy:
    """A table."""

    name: str  # Of its file
    title: str  # Its heading
    question: str  # What is asked
    paper: str  # What the paper claims of it, or that it claims nothing
    reference: str  # The variant that the others are compared with
    variants: tuple[Variant, ...]  # In the order of the table
    # Of the paper, as far as the variants can answer them, and others that a reader would make
    claims: tuple[Claim, ...] = ()
    shows: tuple[str, ...] = ()  # What its table has beside scores: some of ``SHOWN``


@dataclass(frozen=True)
class Scale:
    """How large the runs of all studies are."""

    name: str  # "small" or "full"
    seeds: tuple[int, ...]  # Of the initial weights and the order of the frames; the data are the same
    data: Keys  # Arguments of ``make_phantom_dataset``
    phase_1: Keys  # Keys of every distillation
    phase_2: Keys  # Keys of every training
    # Of each frame in the feature store, from which the students are distilled; 0: from live teachers
    num_views: int = 0

    def described(self) -> Keys:
        """Its numbers side by side, for a table's caption."""
        data = {key.removeprefix("num_"): value for key, value in self.data.items()}
        phases = {
            f"{key} of {name}": value for name in ("phase_1", "phase_2") for key, value in getattr(self, name).items()
        }
        return {"scale": self.name, **data, "stored views": self.num_views, **phases}


def study_names() -> list[str]:
    """Studies that there are, by the names of their files."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path not in (SCALES, TEACHERS))


def read_study(path: str | Path) -> EvidenceStudy:
    """A study of a file.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If something is missing, unknown, or of another type.
    """
    path = Path(path)
    content = _read(path)
    _check(content, {"title", "question", "paper", "reference", "variants"}, {"claims", "shows"}, path)
    variants = tuple(read_variant(name, entry, path) for name, entry in content["variants"].items())
    if content["reference"] not in content["variants"]:
        raise ValueError(f"{path}: reference must be one of {list(content['variants'])}, got {content['reference']!r}")
    claims, shows = content.get("claims", []), tuple(content.get("shows", []))
    if not set(shows) <= set(SHOWN):
        raise ValueError(f"{path}: shows must be some of {list(SHOWN)}, got {list(shows)}")
    words = {key: content[key] for key in ("title", "question", "paper", "reference")}
    answered = tuple(_claim(entry, content["variants"], path) for entry in claims)
    return EvidenceStudy(path.stem, **words, variants=variants, claims=answered, shows=shows)


def read_scale(name: str, path: str | Path = SCALES) -> Scale:
    """A scale by its name.

    Raises:
        ValueError: If there is none of that name, or it is not complete.
    """
    content = _read(Path(path))
    if name not in content:
        raise ValueError(f"{path} has the scales {[key for key in content if not key.startswith('_')]}, not {name!r}")
    entry = content[name]
    _check(entry, {"seeds", "data", "phase_1", "phase_2"}, {"num_views"}, Path(path))
    seeds, num_views = tuple(entry["seeds"]), entry.get("num_views", 0)
    return Scale(name, seeds, entry["data"], entry["phase_1"], entry["phase_2"], num_views)


def teacher_configs(path: str | Path = TEACHERS) -> Keys:
    """Every teacher that a study can name, and how it is loaded."""
    own = {key: value for key, value in _read(Path(path)).items() if not key.startswith("_")}
    return {**_read(ROOT / "configs" / "distill.json")["teachers"], **own}


def read_variant(name: str, entry: Keys, path: Path) -> Variant:
    """A variant of a file's entry with ``phase_1`` and ``phase_2``; without them, those of the configs.

    Raises:
        ValueError: If something is unknown, or of another type.
    """
    _check(entry, set(), {"phase_1", "phase_2"}, path)
    first = entry.get("phase_1", {})
    chain = [] if first is None else first if isinstance(first, list) else [first]
    second = _phase(entry.get("phase_2", {}), "train.json", path)
    return Variant(name, tuple(_phase(part, "distill.json", path) for part in chain), second)


def _claim(entry: Keys, variants: Keys, path: Path) -> Claim:
    _check(entry, {"text", "variant", "than", "expected"}, {"of_paper"}, path)
    claim = Claim(**entry)
    if not {claim.variant, claim.than} <= set(variants) or claim.expected not in ("higher", "equivalent"):
        raise ValueError(
            f"{path}: a claim is about two of {list(variants)}, expected 'higher' or 'equivalent', got {entry}"
        )
    return claim


def _phase(entry: Keys, config: str, path: Path) -> Phase:
    _check(entry, set(), {"configs", "keys", "teachers", "share", "data"}, path)
    teachers, share = entry.get("teachers"), entry.get("share", 1.0)
    if not (isinstance(share, int | float) and share > 0):
        raise ValueError(f"{path}: share must be a number above 0, of the scale's epochs, got {share!r}")
    return Phase(
        configs=tuple(entry.get("configs", [config])),
        keys=entry.get("keys", {}),
        teachers=None if teachers is None else tuple(teachers),
        share=share,
        data=entry.get("data"),
    )


def _read(path: Path) -> Keys:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; studies are {study_names()}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, got {type(content).__name__}")
    return content


def _check(entry: Any, needed: set[str], allowed: set[str], path: Path) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: expected an object with {sorted(needed | allowed)}, got {entry!r}")
    keys = {key for key in entry if not key.startswith("_")}
    if needed - keys or keys - needed - allowed:
        raise ValueError(
            f"{path}: missing {sorted(needed - keys)}, unknown {sorted(keys - needed - allowed)}; "
            f"needed {sorted(needed)}, allowed {sorted(allowed)}"
        )
