"""Measure what the input check accepts and refuses, and write the page that says so."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from monai.data import MetaTensor
from PIL import Image
from tqdm import tqdm

from bundle.atomic import write_json, write_text
from bundle.data.readers import read_clip
from bundle.export.model_card import load_segmenter
from bundle.inference.input_check import EVERY, InputCheck, exposure_of, load_input_check
from bundle.inference.predictor import ClipInferer
from bundle.keys import FIELD_OF_VIEW
from bundle.laboratory.experiments.input_check import (
    CALIBRATION,
    DOMAINS,
    HELD_OUT,
    Film,
    make_statistics,
    phantoms,
    pictures_of,
)
from bundle.laboratory.public_sets.ct_lesions import read_ct_volume
from bundle.metrics.kinematics.verdict import NO_NECK, Look, judge_study
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.transforms.field_of_view import find_field_of_view

SWALLOW, OTHER, MIRRORED = "a swallow", "no swallow", "a swallow in its mirror image"
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "moon", "page", "rocket", "text"),
)


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one kind."""

    name: str
    what: str  # ``SWALLOW``, ``OTHER`` or ``MIRRORED``
    films: Callable[[], Iterator[Film]]
    is_held_out: bool = True  # whether the limit was set without them


@dataclass
class Score:
    """What the check makes of one set."""

    name: str
    what: str
    is_held_out: bool
    pictures: int = 0  # each taken for a study of its own
    unseen: int = 0  # refused since nothing can be seen
    unlike: int = 0  # further than the limit
    no_neck: int = 0  # whose masks do not stand as a neck's
    refused: int = 0  # by any of these
    turned: int = 0  # seen as facing the other way
    films: int = 0  # with more than one picture, each taken for one study
    films_refused: int = 0

    def add(self, film: Film, check: InputCheck, segmenter: Segmenter) -> None:
        """Ask of every frame, and of all of them together."""
        looks, masks, turned = look_at(film, check, segmenter)
        for index, look in enumerate(looks):
            alone = judge_study(masks[index : index + 1], STRUCTURES, [Look(0, look.exposure, look.distance)])
            self.unseen += bool(look.exposure)
            self.unlike += look.distance is not None and look.distance > 1
            self.no_neck += judge_study(masks[index : index + 1], STRUCTURES).reason == NO_NECK
            self.refused += alone.reason != ""
        self.pictures += len(looks)
        self.turned += turned * len(looks)
        if len(looks) > 1:
            self.films += 1
            self.films_refused += judge_study(masks, STRUCTURES, looks).reason != ""


def look_at(film: Film, check: InputCheck, segmenter: Segmenter) -> tuple[list[Look], np.ndarray, bool]:
    """Every frame as the product sees each eighth, its masks ``(T, S, H, W)``, and whether it was mirrored for it."""
    view = find_field_of_view(film.frames)
    is_mirrored = check.is_mirrored(film.frames, view)
    frames = np.ascontiguousarray(film.frames[..., ::-1]) if is_mirrored else film.frames
    pictures = pictures_of(Film(film.name, frames))
    looks = [
        Look(index, exposure_of(frame), distance)
        for index, (frame, distance) in enumerate(zip(frames, check.distances(pictures), strict=True))
    ]
    inferer = ClipInferer(segmenter.image_size, progress=False)
    meta = {FIELD_OF_VIEW: find_field_of_view(frames)}
    return looks, inferer(MetaTensor(torch.from_numpy(frames), meta=meta), segmenter).numpy(), is_mirrored


def picture_sets(folder: Path, patients: int, every: int = 1) -> list[PictureSet]:
    """Phantoms, and the folder's real pictures; half of the chest X-rays of two hospitals help to set the limit."""
    drawn = {domain: partial(phantoms, HELD_OUT, domain, patients, 4) for domain in DOMAINS}
    fewer = {domain: partial(phantoms, HELD_OUT, domain, patients // 3, 2) for domain in DOMAINS}
    swallows = [PictureSet(f"phantom, {domain}", SWALLOW, films) for domain, films in drawn.items()]
    mirrored = [
        PictureSet(f"phantom, {domain}, mirrored", MIRRORED, partial(_turned, films, _mirror))
        for domain, films in fewer.items()
    ]
    film = folder / "vfss_real" / "healthy_swallow.avi"
    chest, jsrt = (folder / name / "images" for name in ("cxr_lungs", "jsrt"))
    cine, shoulder = (folder / "dicom_real" / name for name in ("xa_coronary_cine.dcm", "rf_shoulder.dcm"))
    return [
        *swallows,
        PictureSet("a real swallow", SWALLOW, partial(_clip, film)),
        *mirrored,
        PictureSet("the real swallow, mirrored", MIRRORED, partial(_turned, partial(_clip, film, every), _mirror)),
        PictureSet(
            "chest X-rays, Montgomery and Shenzhen", OTHER, partial(_stills, chest, 0, 2 * every), is_held_out=False
        ),
        PictureSet("other films of these hospitals", OTHER, partial(_stills, chest, 1, 2 * every)),
        PictureSet("chest X-rays, JSRT", OTHER, partial(_stills, jsrt, 0, every)),
        PictureSet("coronary cine", OTHER, partial(_clip, cine, every)),
        PictureSet("shoulder", OTHER, partial(_clip, shoulder)),
        PictureSet("CT slices", OTHER, partial(_slices, folder / "ct_lesions")),
        PictureSet("phantom, upside down", OTHER, partial(_turned, fewer["standard"], _upside_down)),
        PictureSet("phantom, on its side", OTHER, partial(_turned, fewer["standard"], _on_its_side)),
        PictureSet("photographs and textures", OTHER, _photographs),
        PictureSet("noise", OTHER, _noise),
    ]


def _stills(folder: Path, first: int, step: int) -> Iterator[Film]:
    for path in sorted(folder.glob("*.png"))[first::step]:
        yield Film(path.stem, np.asarray(Image.open(path).convert("L"), np.float32)[None, None] / 255)


def _clip(path: Path, step: int = 1) -> Iterator[Film]:
    yield Film(path.stem, read_clip(path).frames[::step])


def _slices(folder: Path) -> Iterator[Film]:
    for path in sorted(folder.glob("*.npz")):
        yield Film(path.stem, read_ct_volume(path).image[:, None].astype(np.float32) / 255)


def _photographs() -> Iterator[Film]:
    for name in PHOTOGRAPHS:
        picture = np.asarray(getattr(skimage.data, name)(), np.float32)
        gray = picture[..., :3].mean(axis=-1) if picture.ndim == 3 else picture
        yield Film(name, gray[None, None] / gray.max())


def _noise() -> Iterator[Film]:
    random = np.random.default_rng(0)
    for spread in (0.05, 0.1, 0.2, 0.4):
        frames = 0.5 + spread * random.standard_normal((5, 1, 512, 512))
        yield from (Film("noise", frame[None]) for frame in frames.clip(0, 1).astype(np.float32))


def _turned(films: Callable[[], Iterator[Film]], turn: Callable[[np.ndarray], np.ndarray]) -> Iterator[Film]:
    for film in films():
        yield Film(film.name, np.ascontiguousarray(turn(film.frames)))


def _mirror(frames: np.ndarray) -> np.ndarray:
    return frames[..., ::-1]


def _upside_down(frames: np.ndarray) -> np.ndarray:
    return frames[..., ::-1, :]


def _on_its_side(frames: np.ndarray) -> np.ndarray:
    return frames.swapaxes(-1, -2)


PAGE = """# The input check

**Question.** Does the product say when a film is none of its business, without refusing swallows? How it decides is in
[inference](../concepts/inference.md#is-it-a-swallow-at-all).

Every picture is taken here for a study of its own; *unlike* are those whose features lie further from the training's
than the limit, *no neck* those whose masks break the rules, and *refused* those that the check refuses, for either
reason or since nothing can be seen. Model `{model}`, statistics of {kilobytes} kB.

## What is no swallow

{others}

## What is one

{swallows}

A frame of an accepted film may be refused: where the masks of a real film go wrong, as in the swallow itself, too few
rules hold in that frame, and enough in the film.

The real swallow is one film of one healthy adult ([measured](sim_to_real.md) without true masks). It was not used to
set the limit, but who built the check knew it.

## Which way the patient faces

A film that faces the other way than the phantom must be seen so, and mirrored for the network; others must not.

{sides}

## What it costs

{cost}

## How it was made

{made}

## What cannot be concluded

- **Few kinds of pictures.** Other radiographs of a neck (a lateral view of the cervical spine, a swallow seen from the
  front, an esophagus further down) are what a hospital's archive holds, and none was at hand. Expect some to pass.
- **One real swallow.** How many real swallows are refused at a site is not known. A refused film can be
  [segmented all the same](../concepts/inference.md#is-it-a-swallow-at-all).
- That a film is accepted says that it is like the phantom and that its masks could be a neck's, not that they
  are right.
- Half of the chest X-rays of two hospitals helped to set the limit; the other half did not, but is like them. All other
  sets are held out as a whole.

Written by `python scripts/laboratory/make_input_check.py FOLDER`; all numbers are in `input_check.json` beside
this page. Real pictures: Montgomery and Shenzhen (Jaeger et al. 2014, Candemir et al. 2014), JSRT (Shiraishi et al.
2000), NIH DeepLesion (Yan et al. 2018), test files of fo-dicom and Orthanc, a healthy swallow (Cubero et al. 2025), and
scikit-image's photographs. None of them is part of this repository.
"""


def make_input_check(pictures: Path, checkpoint: Path, output_dir: Path, patients: int, every: int = 1) -> Path:
    """Fit the statistics, measure the check with them, and write the page.

    Args:
        pictures: Folder of the real pictures.
        checkpoint: The model's weights; the statistics are written beside them.
        output_dir: For ``input_check.md`` and ``input_check.json``.
        patients: Of each of the phantom's domains, to fit with, to set the limit with, and to measure with.
        every: Of the large sets of real pictures one in so many is taken.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If a set of pictures is missing.
    """
    sets = picture_sets(pictures, patients, every)
    helping = [one for one in sets if one.what == OTHER and not one.is_held_out]
    segmenter = load_segmenter(checkpoint)
    card = make_statistics(checkpoint, segmenter.student, patients, (film for one in helping for film in one.films()))
    check = load_input_check(checkpoint)
    scores = []
    for one in sets:
        score = Score(one.name, one.what, one.is_held_out)
        for film in tqdm(one.films(), desc=one.name, unit="film"):
            score.add(film, check, segmenter)
        scores.append(score)
    content = {"card": card, "cost": time_check(check, segmenter), "scores": [asdict(score) for score in scores]}
    write_json(output_dir / "input_check.json", content)
    return write_text(output_dir / "input_check.md", render_check_page(content))


def time_check(check: InputCheck, segmenter: Segmenter, rounds: int = 5) -> dict[str, float]:
    """Milliseconds of processor time for one frame: of the check, and of the network in PyTorch."""
    frames = next(phantoms(CALIBRATION, "standard", 1, 4)).frames
    pictures, whole = pictures_of(Film("", frames)), torch.from_numpy(frames)
    return {
        "check_ms": _processor_ms(lambda: check.distances(pictures), rounds) / len(frames),
        "network_ms": _processor_ms(lambda: segmenter(whole), rounds) / len(frames),
    }


@torch.inference_mode()
def _processor_ms(work: Callable[[], object], rounds: int) -> float:
    work()
    start = time.process_time()
    for _ in range(rounds):
        work()
    return 1000 * (time.process_time() - start) / rounds


def render_check_page(content: Mapping[str, Any]) -> str:
    """The page, from the numbers."""
    scores, card, cost = content["scores"], content["card"], content["cost"]
    groups = {what: [score for score in scores if score["what"] == what] for what in (OTHER, SWALLOW, MIRRORED)}
    share = cost["check_ms"] / cost["network_ms"] / EVERY
    return PAGE.format(
        model=card["checkpoint_sha256"][:12],
        kilobytes=round(card["bytes"] / 1000),
        others=_table([*groups[OTHER], _total(groups[OTHER])]),
        swallows=_table(groups[SWALLOW]),
        sides=_sides([*groups[SWALLOW], *groups[MIRRORED]]),
        cost=f"Looking at a frame takes {cost['check_ms']:.0f} ms of one processor core, the network in PyTorch "
        f"{cost['network_ms']:.0f} ms; one frame in {EVERY} is looked at, so the check adds {100 * share:.1f}% "
        "to a long film. To the first eight frames it adds two looks at each, for the side.",
        made=card["made"],
    )


def _table(scores: Sequence[Mapping[str, Any]]) -> str:
    head = "| set | pictures | unlike | no neck | refused | films refused |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {_name(score)} | {score['pictures']} | {_of(score, 'unlike')} | {_of(score, 'no_neck')} | "
        f"**{_of(score, 'refused')}** | {_films(score)} |"
        for score in scores
    )


def _sides(scores: Sequence[Mapping[str, Any]]) -> str:
    head = "| set | pictures | seen as mirrored | refused |\n|---|---|---|---|\n"
    return head + "\n".join(
        f"| {score['name']} | {score['pictures']} | {_of(score, 'turned')} | {_of(score, 'refused')} |"
        for score in scores
    )


def _total(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    held_out = [score for score in scores if score["is_held_out"]]
    counted = ("pictures", "unlike", "no_neck", "refused", "films", "films_refused")
    return {"name": "all that are held out", "is_held_out": True} | {
        key: sum(score[key] for score in held_out) for key in counted
    }


def _name(score: Mapping[str, Any]) -> str:
    return score["name"] if score["is_held_out"] else f"{score['name']} (helped to set the limit)"


def _of(score: Mapping[str, Any], key: str) -> str:
    return f"{100 * score[key] / score['pictures']:.1f}%" if score["pictures"] else "–"


def _films(score: Mapping[str, Any]) -> str:
    return f"{score['films_refused']} of {score['films']}" if score["films"] else "–"
