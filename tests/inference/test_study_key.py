"""Names that do not name anybody."""

import hashlib
import re

import pytest

from bundle.inference.folder import study_key


def test_the_key_is_the_start_of_the_contents_sha256(tmp_path):
    file = tmp_path / "JANE_DOE_1970.avi"
    file.write_bytes(b"content")
    assert study_key(file) == hashlib.sha256(b"content").hexdigest()[:12]


def test_the_same_content_has_the_same_key_under_any_name(tmp_path):
    for folder, names in (("a", ["1.png", "2.png"]), ("b", ["x9.png", "x10.png"])):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"first", b"second"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    assert study_key(tmp_path / "a") == study_key(tmp_path / "b")
    assert re.fullmatch("[0-9a-f]{12}", study_key(tmp_path / "a"))


def test_other_content_or_order_has_another_key(tmp_path):
    keys = set()
    for folder, contents in (("a", "12"), ("b", "21"), ("c", "123")):
        (tmp_path / folder).mkdir()
        for index, content in enumerate(contents):
            (tmp_path / folder / f"{index}.png").write_text(content)
        keys.add(study_key(tmp_path / folder))
    assert len(keys) == 3


def test_what_a_file_manager_leaves_behind_does_not_count(tmp_path):
    (tmp_path / "1.png").write_text("1")
    key = study_key(tmp_path)
    (tmp_path / "Thumbs.db").write_text("x")
    (tmp_path / ".DS_Store").write_text("x")
    assert study_key(tmp_path) == key


def test_files_named_by_uid_count_and_a_series_among_others_has_a_key_of_its_own(tmp_path):
    for name, content in (("1.2.840.1", b"1"), ("1.2.840.2", b"2"), ("1.2.840.3", b"3")):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + content)
    first, second, third = sorted(tmp_path.iterdir())
    assert len({study_key(tmp_path), study_key((first, second)), study_key((first, third))}) == 3
    assert study_key((first, second)) == study_key((second, first))


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        study_key(tmp_path / "none.avi")
