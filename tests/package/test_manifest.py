"""A manifest is read strictly: what could lead outside the bundle, or hide in it, is refused."""

import json
from typing import Any

import pytest

from bundle.export.manifest import BundleError, check_paths, check_version, parse_manifest
from tests.package.conftest import FILES, manifest_of


def text(**changes: Any) -> bytes:
    return json.dumps({**json.loads(manifest_of(FILES).to_json()), **changes}).encode()


def test_what_is_written_is_read_again():
    assert parse_manifest(manifest_of(FILES).to_json().encode()) == manifest_of(FILES)


def test_the_text_does_not_depend_on_the_order_of_the_files():
    assert manifest_of(FILES).to_json() == manifest_of(dict(reversed(FILES.items()))).to_json()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../other",
        "a/../../other",
        "a/./b",
        "a//b",
        "",
        "a/",
        "C:/windows",
        "a\\b",
        "a\0b",
        "a\nb",
        ".hidden",
        "configs/.hidden",
        "a b",
        "ａ",
        7,
    ],
)
def test_a_path_that_could_lead_elsewhere_or_hide_is_refused(path):
    with pytest.raises(BundleError, match="unsafe path"):
        check_paths([path])


def test_paths_that_overwrite_one_another_are_refused():
    with pytest.raises(BundleError, match="twice"):
        check_paths(["configs/a.json", "Configs/A.json"])
    with pytest.raises(BundleError, match="'a' is both a file and a folder"):
        check_paths(["a", "a/b"])
    check_paths(["a/b", "a/c", "ab"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"[]", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
        (text(files=None), "damaged"),
        (text(files={"a": {"bytes": -1, "sha256": "0" * 64}}), "no size and SHA-256 for 'a'"),
        (text(files={"a": {"bytes": 1.5, "sha256": "0" * 64}}), "no size and SHA-256"),
        (text(files={"a": {"bytes": 1, "sha256": "0" * 63}}), "no size and SHA-256"),
        (text(files={"../a": {"bytes": 1, "sha256": "0" * 64}}), "unsafe path"),
        (text(files={"manifest.json": {"bytes": 1, "sha256": "0" * 64}}), "twice"),
        (text(format=2), "newer verifier"),
        (text(name="../tiny"), "unsafe path"),
        (text(version="1.2"), "three numbers"),
        (b'{"format": 1, "format": 1}', "same key twice"),
    ],
)
def test_anything_but_a_manifest_is_refused_in_one_line(content, words):
    with pytest.raises(BundleError, match=words) as caught:
        parse_manifest(content)
    assert "\n" not in str(caught.value)


def test_a_version_is_three_numbers():
    check_version("0.10.0")
    for wrong in ("1.2", "v1.2.3", "1.2.3-rc1", "1.2.x", "1.2.3\n", None):
        with pytest.raises(BundleError, match="three numbers"):
            check_version(wrong)
