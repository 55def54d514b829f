"""One unreadable frame in a thousand costs no training; it is named, and the exit status says so."""

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, MapTransform, RandGaussianNoised
from torch import nn

from bundle.data.clip import UnreadableStudyError
from bundle.engines.safe_run import UnreadableFrames
from bundle.engines.sampler import EpochIndex, EpochSampler, SeededDataset

FRAMES = [{"image": index} for index in range(10)]


class Read(MapTransform):
    """Stands for a reader: some frames are damaged, and one makes it fail otherwise."""

    def __init__(self, damaged=(), wrong=()):
        super().__init__("image")
        self.damaged, self.wrong = damaged, wrong

    def __call__(self, data):
        if data["image"] in self.damaged:
            raise UnreadableStudyError(f"{data['image']}.dcm", "cut off")
        if data["image"] in self.wrong:
            raise KeyError("a mistake in the code")
        return {"image": torch.full((1, 2, 2), float(data["image"]))}


def dataset(**failing) -> SeededDataset:
    transform = Compose([Read(**failing), RandGaussianNoised("image", prob=1.0)])
    return SeededDataset(Dataset(FRAMES, transform), transform)


def test_the_next_frame_takes_the_place_with_its_own_draws():
    data = dataset(damaged=(3, 4))
    item = data[EpochIndex(3, epoch=1)]
    assert item["unreadable"] == "3.dcm: not a readable study: cut off"
    assert torch.equal(item["image"], data[EpochIndex(5, epoch=1)]["image"])
    assert data[EpochIndex(5, epoch=1)]["unreadable"] == ""


def test_a_mistake_in_the_code_is_no_unreadable_frame():
    with pytest.raises(RuntimeError, match="applying transform"):
        dataset(wrong=(2,))[EpochIndex(2, epoch=1)]


def test_nothing_readable_is_an_error():
    with pytest.raises(ValueError, match=r"no frame can be read: 4\.dcm: not a readable study: cut off"):
        dataset(damaged=range(10))[EpochIndex(4, epoch=1)]


def train(data: SeededDataset, handler: UnreadableFrames, num_workers: int = 0) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    SupervisedTrainer(
        torch.device("cpu"),
        2,
        DataLoader(data, sampler=EpochSampler(FRAMES), batch_size=2, num_workers=num_workers),
        network,
        torch.optim.SGD(network.parameters(), lr=0.1),
        lambda pred, _: pred.mean(),
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        train_handlers=[handler],
        decollate=False,
    ).run()


def test_a_run_goes_on_and_its_exit_status_tells(capsys):
    handler = UnreadableFrames(len(FRAMES))
    train(dataset(damaged=(7,)), handler, num_workers=1)
    assert capsys.readouterr().out.count("7.dcm") == 1
    resumed = UnreadableFrames(len(FRAMES))
    resumed.load_state_dict(handler.state_dict())
    for ended in (handler, resumed):
        with pytest.raises(SystemExit) as caught:
            ended.exit_if_any()
        assert caught.value.code == 1


def test_all_readable_frames_end_without_a_word(capsys):
    handler = UnreadableFrames(len(FRAMES))
    train(dataset(), handler)
    handler.exit_if_any()
    assert capsys.readouterr().out == ""


def test_too_many_stop_the_run():
    with pytest.raises(ValueError, match="more than 20% of the 10 training frames cannot be read: repair the files"):
        train(dataset(damaged=(1, 2, 3)), UnreadableFrames(len(FRAMES), most=0.2))
