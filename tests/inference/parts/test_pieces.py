"""The parts of one mask: what touches is one, holes are filled, specks are left out."""

import numpy as np

from bundle.inference.parts.pieces import find_pieces


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def painted(mask: np.ndarray, least_area: int = 1, part: int | None = None) -> list[str]:
    picture, pieces = np.zeros_like(mask), find_pieces(mask, least_area)
    if pieces is not None:
        pieces.paint(picture, part)
    return ["".join(".#"[pixel] for pixel in row) for row in picture.astype(int)]


def test_a_hole_is_filled_and_a_bay_is_not():
    mask = mask_of("......", ".###..", ".#.#.#", ".###.#", "...###")
    assert painted(mask) == ["......", ".###..", ".###.#", ".###.#", "...###"]


def test_a_hole_that_is_open_across_a_corner_alone_is_closed_all_the_same():
    """Pixels that touch by a corner are one part, so that nothing gets out between them."""
    assert painted(mask_of(".#.", "#.#", ".#.")) == [".#.", "###", ".#."]


def test_specks_are_left_out_and_the_parts_come_largest_first():
    mask = mask_of("#...##", "....##", "......", "###...", "###..#")
    pieces = find_pieces(mask, least_area=2)
    assert pieces.areas.tolist() == [6, 4]
    np.testing.assert_allclose(pieces.middles, [[3.5, 1.0], [0.5, 4.5]])
    assert painted(mask, 2) == ["....##", "....##", "......", "###...", "###..."]
    assert painted(mask, 2, part=1) == ["....##", "....##", "......", "......", "......"]


def test_a_filled_hole_counts_for_the_size():
    assert find_pieces(mask_of("###", "#.#", "###"), least_area=9).areas.tolist() == [9]


def test_nothing_and_specks_alone_are_no_parts():
    assert find_pieces(np.zeros((3, 4), bool), 1) is None
    assert find_pieces(mask_of("#..", "...", "..#"), 2) is None


def test_more_parts_than_a_byte_counts_stay_apart():
    mask = np.zeros((40, 40), bool)
    mask[::2, ::2] = True
    pieces = find_pieces(mask, 1)
    assert len(pieces.areas) == 400
    for part in (0, 300, 399):
        picture = np.zeros_like(mask)
        pieces.paint(picture, part)
        assert np.argwhere(picture).tolist() == [pieces.middles[part].tolist()]
