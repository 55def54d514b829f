"""A few small phantom frames, made once for all recipe tests."""

import pytest

from bundle.laboratory.recipes.frames import PhantomFrames, make_frames


@pytest.fixture(scope="session")
def frames() -> PhantomFrames:
    return make_frames(num_patients=4, frames_per_patient=3, size=64)
