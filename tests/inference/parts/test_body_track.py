"""The body among a structure's parts is where it was and will be, even while another part is larger."""

from itertools import product

import numpy as np
import pytest

from bundle.inference.parts.body_track import JUMP, BodyTrack

Frame = list[tuple[float, float, float]]  # area, row and column of each part


def chosen(frames: list[Frame]) -> list[int | None]:
    track = BodyTrack()
    for frame in frames:
        parts = np.array(frame, float).reshape(-1, 3)
        track.add(parts[:, 0], parts[:, 1:])
    return [track.take() for _ in frames]


def test_a_larger_part_elsewhere_for_a_few_frames_is_not_the_body():
    steady, broken = [(900, 50, 50), (20, 90, 90)], [(400, 90, 90), (200, 52, 50)]
    assert chosen([steady] * 5 + [broken] * 3 + [steady] * 5) == [0] * 5 + [1] * 3 + [0] * 5


def test_a_film_that_begins_with_the_wrong_part_larger_is_decided_by_what_comes():
    assert chosen([[(60, 90, 90), (50, 50, 50)]] * 2 + [[(900, 50, 50)]] * 6) == [1, 1] + [0] * 6


def test_a_part_that_is_larger_for_long_is_the_body():
    assert chosen([[(900, 50, 50)]] * 4 + [[(900, 90, 90), (100, 50, 50)]] * 12) == [0] * 16


def test_a_body_that_moves_is_followed():
    frames = [[(100, 10, 10 + 4 * t), (110, 60, 60)] for t in range(12)]
    assert chosen([[(100, 10, 6)]] * 8 + frames + [[(100, 10, 56)]] * 8)[8:20] == [0] * 12


def test_an_absent_body_stays_absent_and_is_looked_for_where_it_was():
    frames = [[(100, 50, 50)], [], [], [(110, 90, 90), (100, 52, 50)], [(100, 50, 50)], []]
    assert chosen(frames) == [0, None, None, 1, 0, None]


def cost_of(way: tuple[int, ...], frames: list[Frame]) -> float:
    total = 0.0
    for number, (part, frame) in enumerate(zip(way, frames, strict=True)):
        area, row, column = frame[part]
        total += np.log(max(size for size, _, _ in frame) / area)
        if number:
            before, old_row, old_column = frames[number - 1][way[number - 1]]
            sides = np.hypot(row - old_row, column - old_column) / np.sqrt(max(area, before))
            total += min(sides**2, JUMP)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_no_other_way_along_a_film_costs_less(seed):
    draw = np.random.default_rng(seed)
    frames = [[(draw.uniform(10, 300), *draw.uniform(0, 40, 2)) for _ in range(draw.integers(1, 4))] for _ in range(7)]
    ways = list(product(*(range(len(frame)) for frame in frames)))
    best = min(ways, key=lambda way: cost_of(way, frames))
    assert chosen(frames) == list(best)
