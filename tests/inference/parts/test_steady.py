"""Slow outlines: two of three frames decide, and nothing appears or vanishes by it."""

import numpy as np

from bundle.inference.parts.steady import SteadyMasks

STRUCTURES = ("c3", "hyoid")


def steadied(*rows: str) -> list[str]:
    """Masks of one row, of both structures alike, a row per frame; those of c3, after a look at the hyoid's."""
    frames = [np.array([[[mark == "#" for mark in row]]] * 2) for row in rows]
    film = SteadyMasks(STRUCTURES)
    came = [ready for frame in frames for ready in film.add(frame)] + film.finish()
    np.testing.assert_array_equal([masks[1] for masks in came], [frame[1] for frame in frames])  # it is fast
    return ["".join(".#"[pixel] for pixel in masks[0, 0].astype(int)) for masks in came]


def test_two_of_three_frames_decide_about_a_pixel():
    assert steadied(".##..", ".###.", ".##..", ".##..") == [".##..", ".##..", ".##..", ".##.."]
    assert steadied(".##..", ".#...", ".##..") == [".##..", ".##..", ".##.."]


def test_an_edge_that_goes_one_way_stays_where_it_is():
    frames = ("#....", "##...", "###..", "####.")
    assert steadied(*frames) == list(frames)


def test_nothing_appears_and_nothing_vanishes():
    assert steadied("##...", ".....", "##...") == ["##...", ".....", "##..."]
    assert steadied(".....", "##...", ".....") == [".....", "##...", "....."]


def test_a_film_of_one_frame_and_none():
    assert steadied("##...") == ["##..."]
    assert steadied() == []
