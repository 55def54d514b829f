"""Pseudonyms: the same for the same original and key, others for others, and a key file that only its owner reads."""

import uuid

import pytest
from pydicom.uid import UID

from bundle.deidentify.pseudonyms import Pseudonyms, read_or_make_key


def test_the_same_key_gives_the_same_names_and_uids_and_another_key_others():
    key = bytes(range(32))
    one, same, other = Pseudonyms(key), Pseudonyms(key), Pseudonyms()
    assert one.uid("1.2.3") == same.uid("1.2.3") != other.uid("1.2.3")
    assert one.name("patient", "1") == same.name("patient", "1") != other.name("patient", "1")
    assert one.name("patient", "1") != one.name("study", "1")
    assert one.uid("1.2.3") != one.uid("1.2.4")


def test_a_uid_is_a_uuid_as_the_standard_wants_it():
    uid = UID(Pseudonyms().uid("1.2.3"))
    assert uid.is_valid
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).version == 4


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "private" / "key"
    key = read_or_make_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o077 == 0
    assert read_or_make_key(path) == key


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_key_file_that_an_editor_has_saved_anew_is_read(tmp_path, encoding):
    key = read_or_make_key(tmp_path / "key")
    digits = (tmp_path / "key").read_text()
    (tmp_path / "key").write_bytes(digits.replace("\n", "\r\n").encode(encoding))
    assert read_or_make_key(tmp_path / "key") == key


@pytest.mark.parametrize("content", ["", "0123", "no hexadecimal digits", "ä" * 64])
def test_another_file_is_no_key(tmp_path, content):
    (tmp_path / "key").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="is no key file: expected 64 hexadecimal digits"):
        read_or_make_key(tmp_path / "key")
