"""Training frames that cannot be read: the rest is trained on, their files are named, and the exit status says so."""

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from bundle.engines.sampler import UNREADABLE


class UnreadableFrames:
    """Name, once, every file of which :class:`bundle.engines.sampler.SeededDataset` had to replace a frame.

    Args:
        num_frames: Frames of the training data.
        most: Largest share of them that may be replaced in an epoch; one frame always may.
    """

    def __init__(self, num_frames: int, most: float = 0.01) -> None:
        self.num_frames, self.most = num_frames, most
        self.reasons: list[str] = []
        self._replaced = 0

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)

    def exit_if_any(self) -> None:
        """Step of the workflow after training, when the weights are saved.

        Raises:
            SystemExit: With status 1 if frames were left out.
        """
        if self.reasons:
            tqdm.write(
                f"done without the frames of {len(self.reasons)} training files that cannot be read, named above"
            )
            raise SystemExit(1)

    def state_dict(self) -> dict[str, list[str]]:
        """What was found."""
        return {"reasons": self.reasons}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.reasons = list(state["reasons"])

    def _begin(self, _engine: Engine) -> None:
        self._replaced = 0

    def _look(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        for reason in filter(None, batch.get(UNREADABLE, ())):
            self._replaced += 1
            if reason not in self.reasons:
                self.reasons.append(reason)
                tqdm.write(f"training frames are replaced by their neighbours: {reason}")
        if self._replaced > max(1, self.most * self.num_frames):
            raise ValueError(
                f"more than {self.most:.0%} of the {self.num_frames} training frames cannot be read: repair the files, "
                f"or take them out of the data list; the last is {self.reasons[-1]}"
            )
