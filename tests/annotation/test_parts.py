"""What the app is made of, without a server: prompts, encodings, doubt, models in a folder, held-out patients."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bundle.annotation.fine_tuning import HeldOutPatients, LabeledImage, training_options, write_label_datalist
from bundle.annotation.images import ImageCache
from bundle.annotation.label_maps import Annotation, write_annotation
from bundle.annotation.model_store import ModelStore
from bundle.annotation.options import AppOptions
from bundle.annotation.refusals import RefusedRequestError, is_plain_name
from bundle.annotation.requested import all_prompts, click_prompt, json_object, requested_frames
from bundle.annotation.served_model import ServedModel, doubt, num_bytes_of
from bundle.annotation.server import (
    allowed_hosts,
    allowed_origins,
    check_host,
    check_public_address,
    describe_service,
    label_settings,
    listen,
)
from bundle.data.datalist import load_datalist
from bundle.deidentify.pseudonyms import Pseudonyms
from bundle.phantom.writer import write_dicom
from bundle.segmentation.named import answer_by_name
from bundle.segmentation.prompting import EncodedFrame, Prompt, encode_frame
from bundle.segmentation.segmenter import ImageFeatures
from bundle.structures import STRUCTURES
from bundle.transforms.field_of_view import Window
from bundle.transforms.letterbox import LetterboxGeometry
from bundle.transforms.load import LoadFramed
from bundle.weights import file_sha256
from tests.annotation.conftest import make_study


@pytest.fixture(scope="module")
def cine(tmp_path_factory):
    """A synthetic DICOM cine of 4 frames of 128 x 128."""
    path = tmp_path_factory.mktemp("cine") / "cine.dcm"
    write_dicom(make_study(0), path, "p0")
    return path


# Prompts


def test_points_on_several_frames_are_a_prompt_for_each(cine):
    image = ImageCache().get(cine)
    request = {"label": "hyoid", "foreground": [[1, 2, 0], [3, 4, 2]], "background": [[5, 6, 2]]}
    assert all_prompts(request, image, STRUCTURES) == [
        Prompt("hyoid", 0, [(1, 2)], [1]),
        Prompt("hyoid", 2, [(3, 4), (5, 6)], [1, 0]),
    ]
    with pytest.raises(RefusedRequestError, match=r"got prompts on frames \[0, 2\]"):
        click_prompt(request, image, STRUCTURES)


def test_3d_slicers_box_is_put_in_order_and_lies_on_its_middle_frame(cine):
    image = ImageCache().get(cine)
    prompt = click_prompt({"label": "c2", "roi": [90, 40, 30, 80, 1, 3], "foreground": []}, image, STRUCTURES)
    assert prompt == Prompt("c2", 2, [], [], (40, 30, 90, 80))


def test_without_a_slice_every_frame_is_asked_for(cine):
    image = ImageCache().get(cine)
    assert requested_frames({}, image) == requested_frames({"slice": -1}, image) == [0, 1, 2, 3]
    assert requested_frames({"slice": 3}, image) == [3]
    for wrong in (4, "1", True, 1.0, -2):
        with pytest.raises(RefusedRequestError, match="a frame from 0 to 3"):
            requested_frames({"slice": wrong}, image)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, True, "1", None])
@pytest.mark.parametrize("make", [lambda x: {"foreground": [[5, 6, x]]}, lambda x: {"roi": [1, 9, 1, 9, x, 1]}])
def test_a_number_that_is_none_is_no_coordinate(cine, make, number):
    with pytest.raises(RefusedRequestError, match="must be"):
        all_prompts({"label": "c2", **make(number)}, ImageCache().get(cine), STRUCTURES)


@pytest.mark.parametrize("text", ["[1]", "5", '"slice"', "{slice", "null"])
def test_parameters_that_are_no_json_object_are_refused(text):
    with pytest.raises(RefusedRequestError, match="params must be a JSON object"):
        json_object(text)
    assert json_object("") == {}


@pytest.mark.parametrize("name", ["p001 lateral (2)", "Müller", "1.2.840.10008", "a" * 200])
def test_a_plain_name_is_taken(name):
    assert is_plain_name(name)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/a", "a/", "a\\b", "a\0b", "a\nb", "a" * 201])
def test_a_name_that_could_lead_into_another_folder_is_not(name):
    assert not is_plain_name(name)


# The served model


@pytest.fixture
def model(weights):
    return ServedModel(lambda: weights.model, weights.memory)


def test_a_frame_is_encoded_once_for_many_clicks(model, cine, monkeypatch):
    encoded = []
    encode = model.segmenter().encode
    monkeypatch.setattr(model.segmenter(), "encode", lambda frames: encoded.append(len(frames)) or encode(frames))
    image = ImageCache().get(cine)
    first = model.click(image, Prompt("c2", 1, [(60, 60)], [1]))
    again = model.click(image, Prompt("c2", 1, [(60, 60)], [1]))
    assert encoded == [1]
    assert torch.equal(first.mask, again.mask)
    model.click(image, Prompt("c2", 2, [(60, 60)], [1]))
    assert encoded == [1, 1]


def test_a_whole_cine_does_not_push_out_what_is_being_clicked(model, cine):
    image = ImageCache().get(cine)
    model.click(image, Prompt("c2", 1, [(60, 60)], [1]))
    assert len(list(model.automatic(image, range(4)))) == 4
    assert len(model.encodings) == 1


def test_another_file_is_served_as_soon_as_it_is_there(weights, cine, tmp_path):
    served = tmp_path / "served.pt"
    served.write_bytes(weights.model.read_bytes())
    served.with_suffix(".json").write_bytes(weights.model.with_suffix(".json").read_bytes())
    model = ServedModel(lambda: served, weights.memory)
    image = ImageCache().get(cine)
    (before,) = model.automatic(image, [1])
    state = {name: value.clone() for name, value in model.segmenter().state_dict().items()}
    state["structure_queries.quality.layers.2.bias"] -= 1000  # every structure is judged absent
    torch.save(state, served)
    (after,) = model.automatic(image, [1])
    assert before.any()
    assert not after.any()


def test_every_model_is_built_as_the_card_beside_it_says(weights, cine, tmp_path):
    state = torch.load(weights.model, weights_only=True)
    card = json.loads(weights.model.with_suffix(".json").read_text())
    small = tmp_path / "small.pt"
    torch.save(state, small)
    small.with_suffix(".json").write_text(json.dumps({**card, "image_size": 256}))
    model = ServedModel(lambda: small, weights.memory)
    assert model.segmenter().image_size == 256
    assert model.identity()["sha256"] == file_sha256(small)
    small.with_suffix(".json").write_text(json.dumps({**card, "structures": card["structures"][::-1]}))
    torch.save(state, small)
    with pytest.raises(RefusedRequestError, match="other structures than before: start the server again") as error:
        model.automatic(ImageCache().get(cine), [0]).__next__()
    assert error.value.status == 503


def test_weights_that_were_broken_while_it_served_are_said(weights, tmp_path):
    broken = tmp_path / "served.pt"
    broken.write_bytes(weights.model.read_bytes())
    broken.with_suffix(".json").write_bytes(weights.model.with_suffix(".json").read_bytes())
    model = ServedModel(lambda: broken, weights.memory)
    broken.write_bytes(b"no weights")
    with pytest.raises(RefusedRequestError, match="the served model cannot be loaded"):
        model.segmenter()


def test_without_weights_of_the_memory_propagation_is_refused(weights, cine, tmp_path):
    model = ServedModel(lambda: weights.model, tmp_path / "none.pt")
    with pytest.raises(RefusedRequestError, match="needs trained weights of SAM 2's memory") as error:
        next(model.propagate(ImageCache().get(cine), [Prompt("c2", 1, [(60, 60)], [1])]))
    assert error.value.status == 501


@pytest.fixture
def bordered(tmp_path):
    """A synthetic picture in a black border, the field of view cut out of it, and where that lies."""
    picture = np.zeros((180, 260), np.uint8)
    picture[30:158, 70:198] = (make_study(0).frames[0, 0] * 255).round().clip(16, 255)
    view = Window(27, 161, 67, 201)
    for name, pixels in {"whole": picture, "view": picture[view.slices()]}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    images = [ImageCache().get(tmp_path / f"{name}.png") for name in ("whole", "view")]
    return *images, view


def test_annotators_see_the_same_masks_with_and_without_a_black_border(model, bordered):
    whole, view, window = bordered
    assert whole.view == window
    (masks,), (expected,) = (model.automatic(image, [0]) for image in (whole, view))
    assert expected.any()
    np.testing.assert_array_equal(masks[(..., *window.slices())], expected)
    assert masks.sum() == expected.sum()
    clicks = [Prompt("c2", 0, [(60 + x, 50 + y)], [1], (20 + x, 9 + y, 90 + x, 80 + y)) for x, y in ((67, 27), (0, 0))]
    of_whole, of_view = (model.click(*asked).mask for asked in zip((whole, view), clicks, strict=True))
    assert of_view.any()
    assert torch.equal(of_whole, window.put_back(of_view, 180, 260))
    carried = [next(model.propagate(*asked)).mask for asked in zip((whole, view), [[c] for c in clicks], strict=True)]
    assert torch.equal(carried[0], window.put_back(carried[1], 180, 260))


def test_a_click_beside_the_picture_counts_as_at_its_edge_and_a_box_beside_it_is_refused(model, bordered):
    whole, _, _ = bordered
    beside, at_edge = (Prompt("c2", 0, [(130, 90), (x, 90)], [1, 0]) for x in (5, 67))
    assert torch.equal(model.click(whole, beside).mask, model.click(whole, at_edge).mask)
    with pytest.raises(RefusedRequestError, match="the box is beside the picture, which is rows 27 to 161"):
        model.click(whole, Prompt("c2", 0, box=(2, 2, 40, 170)))


def test_what_is_carried_on_begins_as_the_clicks_were_answered(model, cine):
    image = ImageCache().get(cine)
    clicks = [Prompt("c2", 1, [(60, 60), (30, 20)], [1, 0]), Prompt("c2", 3, [(64, 58)], [1])]
    masks = {tracked.frame: tracked.mask for tracked in model.propagate(image, clicks)}
    assert sorted(masks) == [0, 1, 2, 3]
    for click in clicks:
        assert torch.equal(masks[click.frame], model.click(image, click).mask)
    (kept,) = (
        tracked.mask for tracked in model.propagate(image, [Prompt("c2", 1, mask=masks[1])]) if tracked.frame == 1
    )
    assert torch.equal(kept[:120, :110], masks[1][:120, :110])


def test_a_click_is_answered_by_name_in_the_view(model, cine):
    image, click = ImageCache().get(cine), Prompt("c2", 1, [(60, 60), (30, 20)], [1, 0])
    segmenter = model.segmenter()
    encoded = encode_frame(segmenter, image.frame(1)[(..., *image.view.slices())], image.clip.pixel_aspect)
    expected = answer_by_name(segmenter, encoded, replace(click, frame=0).within(image.view))
    answer = model.click(image, click)
    assert torch.equal(answer.logits, expected.logits)
    assert answer.mask[60, 60]
    assert not answer.mask[20, 30]


def test_the_memory_of_another_student_is_refused(weights, cine, tmp_path):
    (tmp_path / "memory.pt").write_bytes(weights.memory.read_bytes())
    (tmp_path / "memory.json").write_text(json.dumps({"student": "0" * 64}))
    model = ServedModel(lambda: weights.model, tmp_path / "memory.pt")
    with pytest.raises(RefusedRequestError, match="was trained on another student than this segmenter's") as error:
        next(model.propagate(ImageCache().get(cine), [Prompt("c2", 1, [(60, 60)], [1])]))
    assert error.value.status == 501


def test_encodings_are_kept_within_a_limit_of_bytes(weights):
    features = ImageFeatures(torch.zeros(1, 1, 5, 5), (torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)))
    frame = EncodedFrame(features, LetterboxGeometry(1, 1, 1))
    assert num_bytes_of(frame) == 27 * 4
    encodings = ServedModel(lambda: weights.model, weights.memory, cache_megabytes=54 * 4 / 2**20).encodings
    encodings.update(dict.fromkeys("abc", frame))
    assert list(encodings) == ["b", "c"]


def test_doubt_is_in_bits_per_pixel_expected_inside():
    sure = torch.full((2, 4, 4), -60.0)
    sure[0, :2] = 60.0
    assert doubt(sure) == pytest.approx(0.0, abs=1e-6)
    # 32 pixels of 1 bit each, 16 expected inside
    assert doubt(torch.zeros(2, 4, 4)) == pytest.approx(2.0)


# Models in a folder


def write_model(path, content):
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps({"is": content.decode()}))
    return path


def test_the_candidate_is_served_by_promotion_only_and_the_previous_one_is_kept(tmp_path):
    store = ModelStore(tmp_path / "work", write_model(tmp_path / "shipped.pt", b"shipped"))
    store.offer(write_model(tmp_path / "new.pt", b"new"))
    assert store.served().read_bytes() == b"shipped"
    store.promote({"candidate_mean_dice": 0.5})
    assert (store.served().read_bytes(), store.previous.read_bytes()) == (b"new", b"shipped")
    assert json.loads(store.served().with_suffix(".json").read_text()) == {"is": "new"}
    assert not store.candidate.exists()
    store.undo_promotion()
    assert (store.served().read_bytes(), store.previous.read_bytes()) == (b"shipped", b"new")
    assert (tmp_path / "shipped.pt").read_bytes() == b"shipped"
    assert [record["action"] for record in store.history()] == ["promote", "undo promotion"]
    assert store.history()[0]["candidate_mean_dice"] == 0.5


def test_there_must_be_something_to_promote_and_to_go_back_to(tmp_path):
    store = ModelStore(tmp_path / "work", write_model(tmp_path / "shipped.pt", b"shipped"))
    for action in (lambda: store.promote({}), store.undo_promotion):
        with pytest.raises(RefusedRequestError, match="train first") as error:
            action()
        assert error.value.status == 409


# Training data


PSEUDONYMS = Pseudonyms(b"k" * 32)


def test_a_patient_keeps_the_side_once_taken(tmp_path):
    held_out = HeldOutPatients(tmp_path / "held_out.json", PSEUDONYMS)
    assert held_out.split(["a", "b"]) == {"a": False, "b": True}
    assert held_out.split(["c", "b", "d", "e"]) == {"c": False, "b": True, "d": False, "e": True}
    assert HeldOutPatients(tmp_path / "held_out.json", PSEUDONYMS).split(["e", "a"]) == {"e": True, "a": False}


def test_who_has_not_the_key_cannot_tell_a_patient_from_the_files_by_guessing(tmp_path):
    path = tmp_path / "held_out.json"
    HeldOutPatients(path, PSEUDONYMS).split(["12345"])
    assert list(json.loads(path.read_text())) == [PSEUDONYMS.name("patient", "12345")]
    other = HeldOutPatients(tmp_path / "other.json", Pseudonyms())
    assert other.pseudonym("12345") not in path.read_text()


def test_a_patient_is_told_by_the_dicom_header_or_the_start_of_the_name(tmp_path):
    for name, patient in (("one.dcm", "p0"), ("two.dcm", "p0"), ("three.dcm", "p1")):
        write_dicom(make_study(0, 1), tmp_path / name, patient)
    for name in ("p7_first.png", "p7_second.png"):
        (tmp_path / name).write_bytes(b"")

    def patient(name):
        return LabeledImage(tmp_path / name, Path(), (0,)).identity()

    assert patient("one.dcm") == patient("two.dcm") != patient("three.dcm")
    assert patient("p7_first.png") == patient("p7_second.png") != patient("one.dcm")


def test_labels_become_a_data_list_that_training_reads(tmp_path):
    images, labeled, truth = ImageCache(), [], {}
    for number in range(2):
        image = tmp_path / f"p{number}.dcm"
        write_dicom(make_study(number), image, f"p{number}")
        layers = np.random.default_rng(number).integers(0, 13, (1, 4, 128, 128)).astype(np.uint8)
        label = write_annotation(Annotation(layers), images.get(image).grid, STRUCTURES, tmp_path / f"{number}.nii.gz")
        labeled.append(LabeledImage(image, label, (1, 3)))
        truth[image.resolve()] = layers[0]
    held_out = HeldOutPatients(tmp_path / "held_out.json", PSEUDONYMS)
    datalist = write_label_datalist(labeled, STRUCTURES, held_out, tmp_path / "list", images)
    load = LoadFramed(STRUCTURES)
    for section in ("training", "validation"):
        entries = load_datalist(datalist, section, STRUCTURES)
        assert [entry["frame"] for entry in entries] == [1, 3]
        for entry in entries:
            expected = truth[entry["image"]][entry["frame"]] == np.arange(1, 13)[:, None, None]
            np.testing.assert_array_equal(load(entry)["label"].numpy(), expected)
    patients = {item["patient"] for item in json.loads(datalist.read_text())["training"]}
    assert patients == {held_out.pseudonym(labeled[0].identity())}
    with pytest.raises(RefusedRequestError, match="at least two patients, of whom one is held out, got 1"):
        write_label_datalist(labeled[:1], STRUCTURES, held_out, tmp_path / "list", images)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"max_epochs": "ten"}, "max_epochs must be a positive whole number such as 10, got 'ten'"),
        ({"max_epochs": 1.5}, "max_epochs must be a positive whole number"),
        ({"batch_size": True}, "batch_size must be a positive whole number"),
        ({"learning_rate": 0}, "learning_rate must be a positive number such as 0.0003, got '0'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        (
            {"epochs": 3},
            r"unknown options \['epochs'\]: expected some of \['max_epochs', 'batch_size', 'learning_rate'\]",
        ),
    ],
)
def test_an_option_of_a_training_that_is_unknown_or_cannot_be_is_refused(request_, words):
    with pytest.raises(RefusedRequestError, match=words):
        training_options(request_)
    assert training_options({"model": "auto", "client_id": None, "batch_size": 2.0}) == {
        "max_epochs": 10,
        "batch_size": 2,
        "learning_rate": 0.0003,
    }


# How it is started


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "labels.example.org"])
def test_other_machines_are_listened_to_only_when_asked(host):
    with pytest.raises(ValueError, match="there is no password and no encryption"):
        check_host(host, allow_network=False)
    check_host(host, allow_network=True)
    check_host("127.0.0.1", allow_network=False)


def test_requests_may_call_the_server_by_its_own_names_only():
    assert allowed_hosts("127.0.0.1", None) == ["127.0.0.1", "localhost", "[::1]"]
    assert allowed_hosts("127.0.0.1", "https://labels.example.org:8443/")[-1] == "labels.example.org"
    assert allowed_hosts("0.0.0.0", "https://labels.example.org") == allowed_hosts(
        "127.0.0.1", "https://labels.example.org"
    )


def test_the_port_is_taken_before_anything_is_loaded():
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"cannot listen to port {port} of 127.0.0.1 .*another with --port"):
            listen("127.0.0.1", port)


def test_what_is_said_at_the_start_is_what_is_let_in():
    origins = allowed_origins("127.0.0.1", 8000, "https://labels.example.org")
    said = describe_service("films", 3, Path("model.pt"), "127.0.0.1", 8000, origins)
    assert "listening at http://127.0.0.1:8000, to this machine alone" in said
    assert "pages of http://127.0.0.1:8000, http://localhost:8000, https://labels.example.org may use it" in said
    said = describe_service("films", 3, Path("model.pt"), "0.0.0.0", 8000, allowed_origins("0.0.0.0", 8000, None))
    assert "every machine that can reach it, without a password" in said
    assert allowed_origins("::1", 8000, None) == ["http://[::1]:8000", "http://localhost:8000"]


def test_a_proxys_address_is_taken_as_browsers_send_it_and_nothing_else():
    assert check_public_address("https://labels.example.org:8443/") == "https://labels.example.org:8443"
    assert check_public_address(None) is None
    for wrong in ("labels.example.org", "https://labels.example.org/vfss", "*"):
        with pytest.raises(ValueError, match=r"public_address must be such as https://labels\.example\.org, got"):
            check_public_address(wrong)


def test_options_reach_the_app_as_they_were_given(weights, tmp_path):
    options = AppOptions(work_dir=str(tmp_path), model=str(weights.model), cache_megabytes=1.5)
    settings = label_settings(str(tmp_path), options, 8000, "RF")
    assert AppOptions.from_json(json.loads(settings["MONAI_LABEL_APP_CONF"])["options"]) == options
    assert json.loads(settings["MONAI_LABEL_DICOMWEB_SEARCH_FILTER"]) == {"Modality": "RF"}
    with pytest.raises(ValueError, match=r"unknown options \['modle'\]"):
        AppOptions.from_json('{"modle": 1}')
    with pytest.raises(FileNotFoundError, match="no model at"):
        AppOptions(model=str(tmp_path / "none.pt"))
