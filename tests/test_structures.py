"""Names of structures: what they become later decides what they may be."""

import re

import pytest

from bundle.structures import STRUCTURES, check_names


def test_ordinary_names_of_any_language_are_good():
    check_names([*STRUCTURES, "left lung", "C5-C6", "v1.2", "Zungenbein", "舌骨", "os hyoïde", "x" * 64])


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("C5/C6", "C5_C6"),
        ("C5\\C6", "C5_C6"),
        ("..", "structure"),
        ("", "structure"),
        ("con", "structure_con"),
        ("NUL.txt", "structure_NUL.txt"),
        ("lpt1", "structure_lpt1"),
        (" hyoid", "hyoid"),
        ("hyoid.", "hyoid"),
        ("hyoid\n", "hyoid"),
        ("bolus: oral", "bolus_ oral"),
        ("left, lung", "left_ lung"),
        ("$hyoid", "hyoid"),
        ("@hyoid", "hyoid"),
        ("_hyoid_", "hyoid"),
        ("-", "structure"),
        ("hyoi\u0308de", "hyoïde"),
        ("x" * 65, "x" * 64),
    ],
)
def test_a_name_that_cannot_become_a_file_is_refused_with_one_that_can(name, instead):
    with pytest.raises(ValueError, match="cannot name folders, metrics and DICOM segments: expected") as caught:
        check_names(["bolus", name])
    assert str(caught.value).endswith(f"write {instead!r}")
    assert "\n" not in str(caught.value)
    check_names([instead])


def test_names_that_share_a_folder_on_some_disks_are_refused():
    with pytest.raises(ValueError, match=re.escape("structures 'Hyoid' and 'hyoid' differ in case alone")):
        check_names(["Hyoid", "c2", "hyoid"])
