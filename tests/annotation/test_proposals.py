"""Whose work a label is: what the model has proposed is told from what a person has changed, structure by structure."""

import json

import numpy as np
import pytest

from bundle.annotation.images import ImageCache, Proposals
from bundle.annotation.label_maps import Annotation
from bundle.phantom.writer import write_dicom
from tests.annotation.conftest import make_study

NAMES = ("hyoid", "c2", "c3")
MODEL = {"name": "segmenter", "version": "1.0", "sha256": "a" * 64}
NEWER = {**MODEL, "sha256": "b" * 64}


@pytest.fixture(scope="module")
def cine(tmp_path_factory):
    path = tmp_path_factory.mktemp("cine") / "cine.dcm"
    write_dicom(make_study(0), path, "p0")
    return path


@pytest.fixture
def proposals(tmp_path):
    return Proposals(tmp_path / "proposals", NAMES)


def label(**values):
    """A label map of 4 frames: of each structure the frames in which it has its two pixels."""
    layers = np.zeros((1, 4, 128, 128), np.uint8)
    for name, frames in values.items():
        index = NAMES.index(name)
        layers[0, frames, 10 * index, :2] = index + 1
    return Annotation(layers)


def kinds(proposals, image, annotation, frames):
    return {name: origin.kind for name, origin in proposals.origins(image, annotation, frames).items()}


def test_what_was_accepted_untouched_is_automatic_and_what_was_changed_is_not(proposals, cine):
    image = ImageCache().get(cine)
    proposed = label(hyoid=[0, 1], c2=[0, 1])
    proposals.add(image, proposed, range(4), NAMES, MODEL, is_automatic=True)
    assert set(kinds(proposals, image, proposed, [0, 1]).values()) == {"AUTOMATIC"}
    edited = label(hyoid=[0, 1], c2=[0, 1], c3=[1])
    edited.layers[0, 1, 50, 50] = NAMES.index("c2") + 1
    found = proposals.origins(image, edited, [0, 1])
    assert {name: origin.kind for name, origin in found.items()} == {
        "hyoid": "AUTOMATIC",
        "c2": "SEMIAUTOMATIC",
        "c3": "MANUAL",  # the model has shown none in these frames
    }
    assert (found["hyoid"].model, found["c2"].model, found["c3"].model) == (MODEL, MODEL, None)


def test_an_erased_structure_is_semiautomatic_and_frames_that_are_not_labeled_do_not_count(proposals, cine):
    image = ImageCache().get(cine)
    proposals.add(image, label(hyoid=[0, 1]), range(4), NAMES, MODEL, is_automatic=True)
    assert kinds(proposals, image, label(), [0])["hyoid"] == "SEMIAUTOMATIC"
    assert kinds(proposals, image, label(), [2])["hyoid"] == "AUTOMATIC"


def test_clicks_are_semiautomatic_even_if_their_answer_is_kept_as_it_is(proposals, cine):
    image = ImageCache().get(cine)
    proposals.add(image, label(c2=[1]), [1], ["c2"], MODEL, is_automatic=False)
    assert kinds(proposals, image, label(c2=[1]), [1]) == {"hyoid": "MANUAL", "c2": "SEMIAUTOMATIC", "c3": "MANUAL"}


def test_without_a_proposal_everything_is_a_persons_work(proposals, cine):
    assert set(kinds(proposals, ImageCache().get(cine), label(c2=[1]), [1]).values()) == {"MANUAL"}


def test_the_model_that_is_named_is_the_one_whose_mask_was_kept(proposals, cine):
    image = ImageCache().get(cine)
    proposals.add(image, label(c2=[1]), [1], NAMES, MODEL, is_automatic=True)
    proposals.add(image, label(hyoid=[1]), [1], NAMES, NEWER, is_automatic=True)
    found = proposals.origins(image, label(c2=[1]), [1])
    assert (found["c2"].kind, found["c2"].model) == ("AUTOMATIC", MODEL)
    assert (found["hyoid"].kind, found["hyoid"].model) == ("AUTOMATIC", MODEL)  # none, as the first has said


def test_proposals_are_known_after_a_restart_and_of_the_same_film_under_another_name(proposals, cine, tmp_path):
    proposals.add(ImageCache().get(cine), label(c2=[1]), [1], NAMES, MODEL, is_automatic=True)
    again = Proposals(proposals.folder, NAMES)
    (tmp_path / "copy.dcm").write_bytes(cine.read_bytes())
    assert kinds(again, ImageCache().get(tmp_path / "copy.dcm"), label(c2=[1]), [1])["c2"] == "AUTOMATIC"
    write_dicom(make_study(1), tmp_path / "other.dcm", "p1")
    assert kinds(again, ImageCache().get(tmp_path / "other.dcm"), label(c2=[1]), [1])["c2"] == "MANUAL"


def test_a_line_that_a_full_disk_has_cut_off_spoils_no_other(proposals, cine):
    image = ImageCache().get(cine)
    proposals.add(image, label(c2=[1]), [1], NAMES, MODEL, is_automatic=True)
    (path,) = proposals.folder.iterdir()
    with path.open("a") as file:
        file.write("\n" + json.dumps({"is_automatic": True})[:-3])
    proposals.add(image, label(c2=[2]), [2], NAMES, NEWER, is_automatic=True)
    assert kinds(proposals, image, label(c2=[1, 2]), [1, 2])["c2"] == "AUTOMATIC"
