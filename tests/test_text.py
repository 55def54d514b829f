"""Text that a person wrote is read, whatever encoding their editor chose."""

import codecs
import json

import pytest

from bundle.text import read_json, read_text

WORDS = '{"structures": ["Zungenbein", "hyoïde", "舌骨"]}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read_with_and_without_a_mark(tmp_path, encoding):
    (tmp_path / "list.json").write_bytes(WORDS.encode(encoding))
    assert read_text(tmp_path / "list.json") == WORDS
    assert read_json(tmp_path / "list.json") == json.loads(WORDS)


def test_a_big_endian_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "list.json").write_bytes(codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"))
    assert read_text(tmp_path / "list.json") == WORDS


@pytest.mark.parametrize("content", ["Jürgen".encode("cp1252"), b"\xff\xfe\x00"])
def test_another_encoding_is_one_line_with_the_remedy(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.txt: not text in UTF-8 or UTF-16 .*: save it as UTF-8"):
        read_text(tmp_path / "list.txt")


def test_an_empty_file_is_empty_text_and_no_json(tmp_path):
    (tmp_path / "list.json").touch()
    assert read_text(tmp_path / "list.json") == ""
    with pytest.raises(ValueError, match=r"list\.json: not JSON: Expecting value: line 1 column 1"):
        read_json(tmp_path / "list.json")


def test_a_repeated_key_is_an_error_since_one_of_the_two_would_be_lost(tmp_path):
    (tmp_path / "list.json").write_text('{"training": [], "test": [], "training": [1]}')
    with pytest.raises(ValueError, match=r"list\.json: the key 'training' is there twice in one object"):
        read_json(tmp_path / "list.json")
