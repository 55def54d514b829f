"""The app over HTTP, as viewers use it: every task on every kind of image, labels, sessions, and what is refused."""

import gzip
import io
import json
import re
import time
import zipfile

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from bundle.data.readers import read_clip
from bundle.export.model_card import load_segmenter
from bundle.inference.predictor import ClipInferer
from bundle.segmentation.named import answer_by_name
from bundle.segmentation.prompting import Prompt, encode_frame
from bundle.structures import STRUCTURES
from bundle.transforms.field_of_view import find_field_of_view
from bundle.weights import file_sha256
from tests.annotation.conftest import as_inference_sees

FILES = {
    "cine": "cine.dcm",
    "single": "single.dcm",
    "film": "film.avi",
    "gray": "gray.png",
    "rgb": "rgb.png",
    "photo": "photo.jpg",
    "volume": "volume.nii.gz",
    "timed": "timed.nii.gz",
    "flat": "flat.nii.gz",
}
SHAPES = {
    "cine": (128, 128, 4),
    "single": (128, 128, 1),
    "film": (128, 128, 4),
    "gray": (128, 100, 1),
    "rgb": (128, 100, 1),
    "photo": (128, 100, 1),
    "volume": (128, 100, 4),
    "timed": (128, 100, 1, 4),
    "flat": (128, 100),
}


@pytest.fixture(scope="module")
def expected(server, weights):
    """Masks ``(T, S, H, W)`` of an image by ``configs/inference.json``'s own parts, in this process."""
    segmenter = load_segmenter(weights.model)
    kept = {}

    def masks(image):
        if image not in kept:
            clip = read_clip(server.studies / FILES[image])
            inferer = ClipInferer(segmenter.image_size, batch_size=1, progress=False)
            kept[image] = inferer(as_inference_sees(clip), segmenter).numpy()
        return kept[image]

    masks.segmenter = segmenter
    return masks


def smallest_on_top(masks):
    """Label map ``(T, H, W)`` of masks ``(T, S, H, W)``, pixel by pixel: of the structures there, the smallest."""
    areas = masks.sum(axis=(2, 3))[:, :, None, None]
    smallest = np.where(masks, areas, np.inf).argmin(axis=1) + 1
    return np.where(masks.any(axis=1), smallest, 0)


def in_time_order(volume):
    """``(X, Y)``, ``(X, Y, T)`` or ``(X, Y, 1, T)`` as ``(T, H, W)``."""
    return np.asarray(volume).reshape(volume.shape[0], volume.shape[1], -1).transpose(2, 1, 0)


def read_nrrd(path):
    """Header fields and values of a NRRD file, first axis first, without the library that has written it."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    lines = [line.replace(":=", ":", 1) for line in head.decode().splitlines() if not line.startswith("#")]
    fields = dict(re.split(r":\s*", line, maxsplit=1) for line in lines[1:])
    data = gzip.decompress(body) if fields["encoding"].startswith("gz") else body
    shape = [int(size) for size in fields["sizes"].split()]
    return fields, np.frombuffer(data, np.uint8).reshape(shape, order="F")


# What it offers


def test_info_names_tasks_strategies_and_the_twelve_structures_with_their_values(server):
    info = server.request("GET", "/info/").json()
    values = {name: value for value, name in enumerate(STRUCTURES, start=1)}
    assert info["labels"] == values
    assert {name: task["labels"] for name, task in info["models"].items()} == dict.fromkeys(
        ["auto", "click", "propagate"], values
    )
    assert (list(info["trainers"]), sorted(info["strategies"])) == (["auto"], ["first", "random", "uncertainty"])
    assert info["datastore"]["total"] == len(FILES) + 2


# Automatic masks


@pytest.mark.parametrize("image", FILES)
def test_auto_labels_every_kind_of_image_on_its_own_grid(server, expected, image, tmp_path):
    label = nib.load(server.label("auto", image, ".nii.gz", tmp_path))
    assert label.shape == SHAPES[image]
    np.testing.assert_array_equal(in_time_order(label.dataobj), smallest_on_top(expected(image)))


@pytest.mark.parametrize("image", ["volume", "timed", "flat"])
def test_a_label_lies_where_its_nifti_lies(server, image, tmp_path):
    label = nib.load(server.label("auto", image, ".nii.gz", tmp_path))
    np.testing.assert_allclose(label.affine, nib.load(server.studies / FILES[image]).affine)


def test_without_a_wish_a_picture_gets_a_png_and_everything_else_nifti(server, expected):
    answer = server.infer("auto", "gray")
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(picture, smallest_on_top(expected("gray"))[0])
    assert server.infer("auto", "cine").headers["content-disposition"].endswith('.nii.gz"')


def test_one_frame_of_a_cine_is_labeled_alone(server, expected, tmp_path):
    label = in_time_order(nib.load(server.label("auto", "cine", ".nii.gz", tmp_path, slice=2)).dataobj)
    assert not label[[0, 1, 3]].any()
    np.testing.assert_array_equal(label[2], smallest_on_top(expected("cine"))[2])
    picture = Image.open(server.label("auto", "cine", ".png", tmp_path, slice=2))
    np.testing.assert_array_equal(np.asarray(picture), label[2])


def test_layers_keep_what_overlaps_and_every_segment_has_its_name_and_value(server, expected, tmp_path):
    fields, layers = read_nrrd(server.label("auto", "cine", ".seg.nrrd", tmp_path))
    masks = expected("cine")
    assert layers.shape == (len(STRUCTURES), 128, 128, 4)
    for index in range(len(STRUCTURES)):
        np.testing.assert_array_equal(in_time_order(layers[index]) == index + 1, masks[:, index])
    names = [name for key, name in fields.items() if key.endswith("_Name")]
    values = [int(value) for key, value in fields.items() if key.endswith("_LabelValue")]
    present = [index for index in range(len(STRUCTURES)) if masks[:, index].any()]
    assert names == [STRUCTURES[index] for index in present]
    assert values == [index + 1 for index in present]


def test_only_what_is_in_the_label_is_named_with_it(server, expected):
    said = server.infer("auto", "cine", output="json").json()
    label = smallest_on_top(expected("cine"))
    assert said["label_names"] == {name: v for v, name in enumerate(STRUCTURES, start=1) if (label == v).any()}
    assert said["frames"] == [0, 1, 2, 3]


# Clicks


@pytest.mark.parametrize(("image", "frame"), [("gray", 0), ("rgb", 0), ("cine", 2), ("film", 1), ("timed", 3)])
def test_clicks_label_one_structure_in_one_frame(server, expected, image, frame, tmp_path):
    path = server.label(
        "click",
        image,
        ".nii.gz",
        tmp_path,
        label="c3",
        slice=frame,
        foreground=[[70, 60], [75, 64]],
        background=[[9, 9]],
    )
    label = in_time_order(nib.load(path).dataobj)
    clip = read_clip(server.studies / FILES[image])
    view = find_field_of_view(clip.frames[:8])
    seen = torch.from_numpy(clip.frame(frame))[(..., *view.slices())]
    encoded = encode_frame(expected.segmenter, seen, clip.pixel_aspect)
    prompt = Prompt("c3", 0, [(70, 60), (75, 64), (9, 9)], [1, 1, 0]).within(view)
    answer = answer_by_name(expected.segmenter, encoded, prompt)
    mask = view.put_back(answer.mask, clip.shape.rows, clip.shape.columns).numpy()
    np.testing.assert_array_equal(label[frame], np.where(mask, STRUCTURES.index("c3") + 1, 0))
    assert not np.delete(label, frame, axis=0).any()


def test_boxes_and_points_may_come_in_our_way_or_in_3d_slicers(server, tmp_path):
    def label(**params):
        return read_nrrd(server.label("click", "cine", ".nrrd", tmp_path, label="c2", **params))[1]

    ours, slicers = label(slice=1, box=[40, 30, 90, 80]), label(roi=[90, 40, 30, 80, 0, 2])
    np.testing.assert_array_equal(ours, slicers)
    ours, slicers = label(slice=1, foreground=[[60, 50]]), label(foreground=[[60, 50, 1]])
    np.testing.assert_array_equal(ours, slicers)


def test_a_second_click_is_answered_within_three_tenths_of_a_second(server):
    seconds = []
    for x in range(60, 66):
        start = time.monotonic()
        assert server.infer("click", "cine", label="c4", slice=3, foreground=[[x, 60]]).status_code == 200
        seconds.append(time.monotonic() - start)
    assert min(seconds[1:]) < 0.3, seconds  # the best of five: tests share the machine


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"label": "nose", "foreground": [[9, 9]]}, "label must be one of"),
        ({"label": "c2"}, "give at least one point"),
        ({"label": "c2", "foreground": [[9, 9]]}, "on which frame?"),
        ({"label": "c2", "foreground": [[9, 9]], "slice": 4}, "a frame from 0 to 3"),
        ({"label": "c2", "foreground": [[9, 9, 2]], "slice": 1}, "on the frame that slice names"),
        ({"label": "c2", "foreground": [[9, 9, 1], [9, 9, 2]]}, "on one frame"),
        ({"label": "c2", "foreground": [[9, 900]], "slice": 1}, "must lie in the frame"),
        ({"label": "c2", "foreground": "9,9", "slice": 1}, "must be a list of points"),
        ({"label": "c2", "roi": [1, 2, 3, 4]}, "roi must be"),
        ({"label": "c2", "foreground": [[9, 9]], "slice": 1, "result_extension": ".exe"}, "result_extension must be"),
    ],
)
def test_a_click_that_means_nothing_is_refused_in_one_line(server, params, words):
    answer = server.infer("click", "cine", **params)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


# Propagation


def test_propagation_labels_the_chosen_structures_in_every_frame_asked(server, tmp_path):
    prompts = [
        {"label": "hyoid", "slice": 1, "foreground": [[60, 60]]},
        {"label": "c3", "slice": 2, "box": [40, 30, 90, 80]},
    ]
    answer = server.infer("propagate", "cine", output="json", prompts=prompts)
    assert answer.status_code == 200, answer.text
    assert answer.json()["propagated"] == ["hyoid", "c3"]
    label = in_time_order(nib.load(server.label("propagate", "cine", ".nii.gz", tmp_path, prompts=prompts)).dataobj)
    assert label.shape == (4, 128, 128)
    assert set(np.unique(label)) <= {0, STRUCTURES.index("hyoid") + 1, STRUCTURES.index("c3") + 1}


# Images that cannot be used


@pytest.mark.parametrize("task", ["auto", "click", "propagate"])
@pytest.mark.parametrize(("image", "words"), [("odd", "expected (X, Y)"), ("broken", "no DICOM, video, PNG")])
def test_an_image_of_another_shape_or_kind_is_refused_never_squeezed(server, task, image, words):
    answer = server.infer(task, image, label="c2", slice=0, foreground=[[1, 1]])
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert str(server.studies) not in answer.text


# Sessions


def test_an_image_that_is_sent_is_labeled_and_removed(server, expected):
    with (server.studies / "gray.png").open("rb") as file:
        session = server.request("PUT", "/session/", files={"files": ("mine.png", file)}).json()["session_id"]
    answer = server.request("POST", "/infer/auto", params={"session_id": session, "output": "image"})
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(picture, smallest_on_top(expected("gray"))[0])
    assert server.request("DELETE", f"/session/{session}").status_code == 200
    assert server.request("POST", "/infer/auto", params={"session_id": session}).status_code in (400, 404)
    assert not list((server.work_dir / "sessions").glob("*/mine.png"))


# Labels


def write_map(path, values, names):
    """A label map, and the names of its values as 3D Slicer sends them."""
    nib.save(nib.Nifti1Image(values, np.diag([-0.5, -0.5, 1.0, 1.0])), path)
    return [{"name": name, "idx": index} for index, name in names.items()]


def test_a_label_is_kept_with_our_values_whatever_the_viewers_were(server, tmp_path):
    values = np.zeros((128, 100, 4), np.uint8)
    values[10:20, 5:9, 1], values[30:40, 50:60, 2] = 1, 2
    info = write_map(tmp_path / "sent.nii.gz", values, {1: "c4", 2: "bolus"})
    answer = server.save("volume", tmp_path / "sent.nii.gz", label_info=info)
    assert answer.status_code == 200, answer.text
    assert answer.json()["frames"] == [1, 2]
    assert set(answer.json()["taken_as_absent"]) == set(STRUCTURES) - {"c4", "bolus"}
    (tmp_path / "kept.nii.gz").write_bytes(
        server.request("GET", "/datastore/label", params={"label": "volume", "tag": "final"}).content
    )
    kept = np.asarray(nib.load(tmp_path / "kept.nii.gz").dataobj)
    np.testing.assert_array_equal(kept == STRUCTURES.index("c4") + 1, values == 1)
    np.testing.assert_array_equal(kept == STRUCTURES.index("bolus") + 1, values == 2)


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd", ".nii.gz"])
def test_what_the_server_has_labeled_can_be_saved_as_it_came(server, suffix, tmp_path):
    sent = server.label("auto", "film", suffix, tmp_path, slice=1)
    assert server.save("film", sent, frames=[1]).status_code == 200
    kept = server.request("GET", "/datastore/label", params={"label": "film", "tag": "final"}).content
    if suffix == ".nii.gz":
        (tmp_path / "kept.nii.gz").write_bytes(kept)
        np.testing.assert_array_equal(nib.load(tmp_path / "kept.nii.gz").dataobj, nib.load(sent).dataobj)
    else:
        (tmp_path / "kept.nrrd").write_bytes(kept)
        sent_fields, sent_values = read_nrrd(sent)
        fields, values = read_nrrd(tmp_path / "kept.nrrd")
        np.testing.assert_array_equal(values, sent_values)
        assert {key: value for key, value in fields.items() if key.startswith("Segment")} == {
            key: value for key, value in sent_fields.items() if key.startswith("Segment")
        }


def test_a_label_that_does_not_fit_is_refused(server, tmp_path):
    def refusal(shape, names, image="volume", **params):
        values = np.zeros(shape, np.uint8)
        values[:2, :3] = 1
        info = write_map(tmp_path / "sent.nii.gz", values, names)
        answer = server.save(image, tmp_path / "sent.nii.gz", label_info=info, **params)
        assert answer.status_code in (400, 404, 422), answer.text
        return answer.json()["detail"]

    assert "must be on the image's grid (128, 100, 4)" in refusal((100, 128, 4), {1: "c2"})
    assert "must be on the image's grid" in refusal((128, 100, 3), {1: "c2"})
    assert "'nose' is no structure" in refusal((128, 100, 4), {1: "nose"})
    assert "the value 1 has no name" in refusal((128, 100, 4), {7: "c2"})
    assert "there is no image of that name" in refusal((128, 100, 4), {1: "c2"}, image="nobody")
    assert "tag must be one of" in refusal((128, 100, 4), {1: "c2"}, tag="elsewhere")
    assert "a frame from 0 to 3" in refusal((128, 100, 4), {1: "c2"}, frames=[4])
    (tmp_path / "sent.nii.gz").write_bytes(b"no label")
    answer = server.save("volume", tmp_path / "sent.nii.gz")
    assert (answer.status_code, answer.json()["detail"][:28]) == (422, "the label file cannot be rea")


def test_an_image_is_taken_in_once_and_only_if_it_can_be_read(server):
    def put(name, content):
        return server.request(
            "PUT", "/datastore/image", params={"image": name}, files={"file": (f"{name}.png", content)}
        )

    picture = (server.studies / "gray.png").read_bytes()
    assert put("added", picture).status_code == 200
    assert put("added", picture).status_code == 409
    assert put("nothing", b"no picture").status_code == 422
    assert server.request("GET", "/datastore/image", params={"image": "added"}).content == picture
    assert server.request("DELETE", "/datastore/image", params={"id": "added"}).status_code == 200


def test_many_images_are_labeled_at_once_as_a_beginning(server):
    params = {"images": ["rgb", "flat"], "max_workers": 1}
    answer = server.request("POST", "/batch/infer/auto", params={"run_sync": "true"}, json=params)
    assert answer.status_code == 200, answer.text
    listed = server.request("GET", "/datastore/", params={"output": "all"}).json()["objects"]
    assert {name for name, entry in listed.items() if "original" in entry["labels"]} == {"rgb", "flat"}


# The next image


def test_each_strategy_names_an_image_without_a_final_label(server):
    listed = server.request("GET", "/datastore/", params={"output": "all"}).json()["objects"]
    unlabeled = {name for name, entry in listed.items() if "final" not in entry["labels"]}
    chosen = {
        strategy: server.request("POST", f"/activelearning/{strategy}", json={}).json()
        for strategy in ("first", "random", "uncertainty")
    }
    readable = unlabeled - {"broken", "odd"}
    assert {answer["id"] for answer in chosen.values()} <= readable
    assert chosen["first"]["id"] == min(readable)
    assert chosen["uncertainty"]["uncertainty"] >= 0
    assert server.request("POST", "/activelearning/worst", json={}).status_code == 404


def test_images_that_cannot_be_read_are_skipped_and_listed_by_every_strategy(server):
    for strategy in ("first", "random", "uncertainty"):
        answers = [server.request("POST", f"/activelearning/{strategy}", json={}).json() for _ in range(8)]
        assert not {answer["id"] for answer in answers} & {"broken", "odd"}, strategy
        listed = {name: reason for answer in answers for name, reason in answer.get("unreadable", {}).items()}
        assert listed.get("broken", "no DICOM").count("no DICOM"), listed
    assert set(listed) == {"broken", "odd"}  # uncertainty looks at all
    assert server.request("POST", "/activelearning/first", json={}).json()["unreadable"].keys() == {"broken"}


# Whose work a label is


def test_a_label_says_of_each_structure_whether_the_model_a_person_or_both_have_made_it(server, weights, tmp_path):
    def kinds(frame, **params):
        answer = server.save("mine", tmp_path / "label.nii.gz", frames=[frame], **params)
        assert answer.status_code == 200, answer.text
        return {name: origin["kind"] for name, origin in answer.json()["origins"].items()}

    film = nib.load(server.studies / "timed.nii.gz")
    nib.save(
        nib.Nifti1Image(np.asarray(film.dataobj) // 2, film.affine), tmp_path / "mine.nii.gz"
    )  # asked by no other test
    with (tmp_path / "mine.nii.gz").open("rb") as file:
        assert (
            server.request("PUT", "/datastore/image", params={"image": "mine"}, files={"file": file}).status_code == 200
        )
    sent = server.label("auto", "mine", ".nii.gz", tmp_path, slice=1)
    assert set(kinds(1).values()) == {"AUTOMATIC"}
    image = nib.load(sent)
    values = np.asarray(image.dataobj).copy()
    c2, bolus = STRUCTURES.index("c2") + 1, STRUCTURES.index("bolus") + 1
    values[..., 1][values[..., 1] == c2] = 0
    values[:3, :3, 0, 1] = c2
    nib.save(nib.Nifti1Image(values, image.affine), sent)
    edited = kinds(1, client_id="Dr Miller")
    assert {name for name, kind in edited.items() if kind != "AUTOMATIC"} == {"c2"}
    assert edited["c2"] == "SEMIAUTOMATIC"
    kept = server.request("GET", "/datastore/label/info", params={"label": "mine", "tag": "final"}).json()
    assert kept["client_id"] == "Dr Miller"
    assert kept["origins"]["c2"]["model"]["sha256"] == file_sha256(weights.model)
    nib.save(nib.Nifti1Image(np.where(np.indices(values.shape)[3] == 3, bolus, 0).astype(np.uint8), image.affine), sent)
    assert set(kinds(3).values()) == {"MANUAL"}
    server.label("click", "mine", ".nii.gz", tmp_path, label="c3", slice=2, foreground=[[70, 60]])
    assert kinds(2)["c3"] == "SEMIAUTOMATIC"
    assert server.request("DELETE", "/datastore/label", params={"id": "mine", "tag": "final"}).status_code == 200
    assert server.request("DELETE", "/datastore/image", params={"id": "mine"}).status_code == 200


# What is refused before anything is done


LABEL = {"label": ("sent.nii.gz", b"no label")}
REFUSED = [
    ("POST", "/infer/auto?image=cine", {"data": {"params": "[1]"}}, 400, "params must be a JSON object"),
    ("POST", "/infer/auto", {}, 400, "name an image, or a session_id"),
    ("POST", "/infer/auto?session_id=none", {}, 404, "there is no such session"),
    ("POST", "/infer/auto?image=cine&output=dicom_seg", {}, 422, "a DICOM SEG is made when a final label is saved"),
    ("POST", "/infer/auto?image=cine&output=xml", {}, 422, "output: Input should be"),
    ("POST", "/infer/nose?image=cine", {}, 404, "model must be one of"),
    ("PUT", "/datastore/label?image=volume", {}, 422, "label: Field required"),
    ("PUT", "/datastore/label?image=volume", {"files": LABEL, "data": {"params": "[]"}}, 400, "must be a JSON object"),
    ("PUT", "/datastore/image?image=new", {"files": {"file": ("a.exe", b"")}}, 422, "an image file must be one of"),
    ("DELETE", "/datastore/label?id=flat&tag=final", {}, 404, "there is no such image or label"),
    ("DELETE", "/datastore/image?id=nobody", {}, 404, "there is no such image or label"),
    ("PUT", "/datastore/label/info?label=cine&tag=final", {"data": {"info": "[1]"}}, 404, "no such address"),
    ("GET", "/datastore/image?image=gray&check_sum=CRC:1", {}, 400, "check_sum must be hexadecimal"),
    ("GET", "/datastore/dataset", {}, 404, "no such address"),
    ("POST", "/train/nose", {"json": {}}, 404, "model must be one of ['auto']"),
    ("POST", "/train/auto", {"json": {"max_epochs": "ten"}}, 422, "max_epochs must be a positive whole number"),
    ("POST", "/train/auto", {"json": {"epochs": 1}}, 422, "unknown options ['epochs']"),
    ("POST", "/train/auto", {"json": [1]}, 422, "the request: Input should be a valid dictionary"),
    ("POST", "/train/auto", {"data": "{"}, 422, "the request: "),
    ("POST", "/train/", {"json": {"auto": {"max_epochs": 0}}}, 422, "max_epochs must be a positive whole number"),
    ("DELETE", "/train/", {}, 409, "no training is running"),
    ("DELETE", "/batch/infer", {}, 409, "no labeling of many images is running"),
    ("POST", "/batch/infer/nose", {"json": {"images": ["gray"]}}, 404, "many images are labeled by the model auto"),
    ("POST", "/batch/infer/auto", {"json": {"images": ["nobody"]}}, 404, "there are no images of 1 of the 1 names"),
    ("POST", "/batch/infer/auto", {"json": {"images": 5}}, 422, "images must be a list of images"),
    ("POST", "/batch/infer/auto", {"json": {"max_batch_size": "x"}}, 422, "max_batch_size must be a whole number"),
    ("POST", "/promote?force=perhaps", {}, 422, "force: Input should be a valid boolean"),
    ("PUT", "/session/?expiry=soon", {"files": {"files": ("a.png", b"1")}}, 422, "expiry: Input should be"),
    (
        "PUT",
        "/session/",
        {"files": [("files", ("a.png", b"1")), ("files", ("a.png", b"2"))]},
        400,
        "names of their own",
    ),
]


@pytest.mark.parametrize(("method", "path", "sent", "status", "words"), REFUSED)
def test_a_bad_request_is_answered_in_one_line_before_anything_is_done(server, method, path, sent, status, words):
    answer = server.request(method, path, **sent)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]
    assert str(server.studies) not in answer.text


def test_of_many_images_those_that_cannot_be_labeled_are_named_and_the_others_done(server):
    sent = {"images": ["broken", "flat"]}
    answers = server.request("POST", "/batch/infer/auto", params={"run_sync": "true"}, json=sent).json()
    assert "not a readable image" in answers["broken"]["error"]
    assert answers["flat"]["label"] == "flat"
    refused = server.request("POST", "/batch/infer/auto", params={"run_sync": "true"}, json={"images": ["broken"]})
    assert (refused.status_code, refused.json()["detail"][:33]) == (422, "none of 1 images could be labeled")


def test_the_server_says_where_it_is_and_whose_pages_may_use_it(server):
    said = server.log.read_text()
    assert f"annotate: listening at {server.address}, to this machine alone" in said
    pages = f"pages of {server.address}, http://localhost:{server.address.rsplit(':', 1)[1]}, https://labels.hospital.example"
    assert pages in said
    assert "'*'" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["../studies/cine", "/etc/hostname", "..", "a/b", "a\\b", ".hidden", "a\nb"])
def test_a_name_that_is_a_path_is_refused_on_every_route(server, name):
    picture = {"file": ("x.png", (server.studies / "gray.png").read_bytes())}
    label = {"label": ("x.nii.gz", b"")}
    answers = [
        server.infer("auto", name),
        server.request("POST", "/infer/auto", data={"params": json.dumps({"image": name})}, params={"image": "cine"}),
        server.request("POST", "/infer/auto", params={"session_id": name}),
        server.request("GET", "/datastore/image", params={"image": name}),
        server.request("PUT", "/datastore/image", params={"image": name}, files=picture),
        server.request("DELETE", "/datastore/image", params={"id": name}),
        server.request("PUT", "/datastore/label", params={"image": name}, files=label),
        server.request("PUT", "/datastore/label", params={"image": "cine", "tag": name}, files=label),
        server.request("GET", "/datastore/label", params={"label": "cine", "tag": name}),
    ]
    assert [answer.status_code for answer in answers] == [400] * len(answers)


def test_a_path_cannot_be_passed_off_as_a_sessions_image(server):
    forged = {"image": str(server.studies / "gray.png"), "session": {}}
    answer = server.request("POST", "/infer/auto", params={"image": "cine"}, data={"params": json.dumps(forged)})
    assert (answer.status_code, "sent to this server" in answer.text) == (400, True)


def test_a_file_beside_the_request_is_not_taken_for_a_path(server):
    with (server.studies / "gray.png").open("rb") as file:
        answer = server.request("POST", "/infer/auto", files={"file": ("x.png", file)})
    assert answer.status_code == 400


def test_archives_are_refused(server):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../out.png", b"")
    answer = server.request(
        "PUT", "/session/", params={"uncompress": "true"}, files={"files": ("a.zip", archive.getvalue())}
    )
    assert (answer.status_code, "archives are refused" in answer.text) == (400, True)


def test_pages_of_other_sites_and_other_names_for_this_machine_are_refused(server):
    assert server.request("POST", "/train/auto", headers={"Origin": "http://elsewhere.example"}).status_code == 403
    assert server.request("GET", "/info/", headers={"Host": "elsewhere.example"}).status_code == 400
    assert server.request("GET", "/info/", headers={"Origin": server.address}).status_code == 200


@pytest.mark.parametrize("path", ["/model/auto", "/proxy/dicom/studies", "/logs/", "/model/info/auto"])
def test_routes_that_nothing_needs_are_closed(server, path):
    assert server.request("GET", path).status_code == 404
    assert server.request("PUT", path, files={"file": ("model.pt", b"")}).status_code in (404, 405)


def test_nothing_to_promote_and_nothing_to_train_on_is_said(server):
    assert "train first" in server.request("POST", "/promote").json()["detail"]
    assert server.request("POST", "/undo_promotion").status_code == 409


def test_no_label_file_is_left_behind(server):
    server.infer("auto", "gray")
    deadline = time.monotonic() + 10  # it is removed after it was sent
    while left := list(server.temporary.glob("label-*")):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
