"""The data set: formats of practice, one list, written whole or not at all."""

import inspect
import json
import shutil

import pytest

from bundle.data.datalist import check_datalist, load_datalist
from bundle.phantom import dataset as module
from bundle.phantom import generate_study, make_phantom_dataset
from bundle.structures import STRUCTURES

SMALL = {"num_train": 6, "num_validation": 1, "num_test": 1, "size": 48, "num_frames": 2}


@pytest.fixture(scope="module")
def listing_path(tmp_path_factory):
    return make_phantom_dataset(tmp_path_factory.mktemp("data") / "phantom", **SMALL)


def test_the_list_is_in_the_contracted_form(listing_path):
    listing = json.loads(listing_path.read_text())
    assert listing["synthetic"] is True
    assert listing["structures"] == list(STRUCTURES)
    assert [len(listing[section]) for section in ("training", "validation", "test")] == [6, 1, 1]
    assert set(listing["training"][0]) == {"patient", "image", "label"}


def test_every_file_it_names_is_there_with_its_truth(listing_path):
    listing = json.loads(listing_path.read_text())
    entries = listing["training"] + listing["validation"] + listing["test"]
    for entry in entries:
        image = listing_path.parent / entry["image"]
        assert image.exists()
        assert (listing_path.parent / entry["label"]).is_file()
        assert (image.parent / "kinematics.json").is_file()
        assert json.loads((image.parent / "description.json").read_text())["synthetic"] is True
    assert {entry["image"].rsplit("/", 1)[1] for entry in entries} == {"cine.dcm", "cine.avi", "frames"}


def test_no_patient_is_in_two_splits(listing_path):
    listing = json.loads(listing_path.read_text())
    patients = [e["patient"] for section in ("training", "validation", "test") for e in listing[section]]
    assert len(set(patients)) == len(patients) == 8


def test_the_same_parameters_reuse_what_is_there(listing_path, monkeypatch):
    monkeypatch.setattr(module, "generate_study", None)  # would fail if called
    assert make_phantom_dataset(listing_path.parent, **SMALL) == listing_path


def test_other_parameters_are_refused_and_named(listing_path):
    with pytest.raises(FileExistsError, match=r"made otherwise \(size 48 there, 64 asked\); remove it or choose"):
        make_phantom_dataset(listing_path.parent, **(SMALL | {"size": 64}))


def test_a_folder_with_other_content_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not a phantom data set \(no phantom.json\)"):
        make_phantom_dataset(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_masks", fail)
    with pytest.raises(KeyboardInterrupt):
        make_phantom_dataset(tmp_path / "phantom", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_the_patients(tmp_path):
    one = {"num_train": 1, "num_validation": 0, "num_test": 0, "size": 48, "num_frames": 2}
    first, other = (make_phantom_dataset(tmp_path / str(seed), **one, seed=seed) for seed in (0, 1))
    assert (first.parent / "p000/masks.nii.gz").read_bytes() != (other.parent / "p000/masks.nii.gz").read_bytes()
    again = make_phantom_dataset(tmp_path / "again", **one, seed=0)
    for name in ("cine.dcm", "masks.nii.gz", "kinematics.json"):
        assert (first.parent / "p000" / name).read_bytes() == (again.parent / "p000" / name).read_bytes(), name


@pytest.fixture(scope="module")
def with_hard_test(tmp_path_factory):
    return make_phantom_dataset(tmp_path_factory.mktemp("hard") / "phantom", **SMALL, num_hard_test=2)


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_hard_test_patients_leave_all_others_as_they_are(listing_path, with_hard_test):
    plain, more = json.loads(listing_path.read_text()), json.loads(with_hard_test.read_text())
    assert plain["hard_test"] == []
    assert [entry["patient"] for entry in more["hard_test"]] == ["h000", "h001"]
    assert plain | {"hard_test": more["hard_test"]} == more
    for patient in (entry["patient"] for section in ("training", "validation", "test") for entry in plain[section]):
        assert files_of(listing_path.parent / patient) == files_of(with_hard_test.parent / patient), patient


def test_hard_test_patients_are_of_the_hard_domain_with_seeds_of_their_own(with_hard_test, tmp_path):
    seeds = [seed for _, seed, _, _ in module.PhantomPlan(**SMALL, num_hard_test=2).patients()]
    assert len(set(seeds)) == len(seeds) == 10
    for index, patient in enumerate(("h000", "h001")):
        study = generate_study(seeds[8 + index], SMALL["size"], SMALL["num_frames"], domain="hard")
        written = json.loads((with_hard_test.parent / patient / "description.json").read_text())
        assert written == json.loads(json.dumps(study.description))
    alone = dict.fromkeys(("num_train", "num_validation", "num_test"), 0)
    listing = make_phantom_dataset(tmp_path / "alone", **(SMALL | alone), num_hard_test=1)
    assert files_of(listing.parent / "h000") == files_of(with_hard_test.parent / "h000")


def test_hard_patients_may_be_trained_on_and_are_others_than_the_held_out_ones(with_hard_test, tmp_path):
    listing = make_phantom_dataset(tmp_path / "both", **SMALL, num_hard_test=2, num_hard_train=1)
    sections = json.loads(listing.read_text())
    assert [entry["patient"] for entry in sections["training"]][-2:] == ["p005", "h002"]
    assert [entry["patient"] for entry in sections["hard_test"]] == ["h000", "h001"]
    assert files_of(listing.parent / "h001") == files_of(with_hard_test.parent / "h001")
    description = json.loads((listing.parent / "h002" / "description.json").read_text())
    assert description["domain"] == "hard"
    assert files_of(listing.parent / "h002") != files_of(listing.parent / "h001")


def test_the_hard_test_section_loads_like_any_other(with_hard_test):
    frames = load_datalist(with_hard_test, "hard_test", STRUCTURES)
    assert [(frame["patient"], frame["frame"]) for frame in frames] == [
        ("h000", 0),
        ("h000", 1),
        ("h001", 0),
        ("h001", 1),
    ]
    summary = check_datalist(with_hard_test, STRUCTURES, ("training", "hard_test"))
    assert (summary["training"].num_patients, summary["hard_test"].num_patients) == (6, 2)


def test_a_data_set_from_before_there_was_a_hard_test_is_used_again(listing_path, tmp_path, monkeypatch):
    old = tmp_path / "phantom"
    shutil.copytree(listing_path.parent, old)
    for name, key in (("phantom.json", "num_hard_test"), ("datalist.json", "hard_test")):
        content = json.loads((old / name).read_text())
        del content[key]
        (old / name).write_text(json.dumps(content))
    before = files_of(old)
    monkeypatch.setattr(module, "generate_study", None)  # would fail if called
    assert len(load_datalist(make_phantom_dataset(old, **SMALL), "training", STRUCTURES)) == 12
    with pytest.raises(FileExistsError, match=r"made otherwise \(num_hard_test 0 there, 2 asked\)"):
        make_phantom_dataset(old, **SMALL, num_hard_test=2)
    assert files_of(old) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_hard_test": -1}, "num_hard_test -1"),
        ({"num_train": 99_999, "num_hard_test": 1}, "no more than 100000 patients .* got num_train 99999"),
        ({"num_train": 0, "num_validation": 0, "num_test": 0}, "at least one patient, got num_train 0"),
        ({"num_test": -1}, "num_test -1"),
        ({"formats": ("mp3",)}, "formats must be among .* got \\['mp3'\\]"),
    ],
)
def test_bad_parameters_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom_dataset(tmp_path / "phantom", **(SMALL | arguments))


def test_a_misspelt_field_is_refused_by_a_look_at_the_signature_and_when_it_is_made(tmp_path):
    fields = inspect.signature(make_phantom_dataset).parameters
    assert list(fields)[:4] == ["root", "num_train", "num_validation", "num_test"]
    assert "num_tran" not in fields
    with pytest.raises(TypeError, match="num_tran"):
        make_phantom_dataset(tmp_path / "phantom", num_tran=3)
