"""A run that crashes at any moment and is given again ends as if it had never crashed."""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.transforms import Compose, RandGaussianNoised
from torch import nn

from bundle.engines.checkpoint_folder import CheckpointError, CheckpointFolder, read_checkpoint
from bundle.engines.checkpoints import Checkpoints, RandomState, check_settings, parse_interval
from bundle.engines.optimizer import StepSchedule
from bundle.engines.sampler import EpochSampler, SeededDataset
from bundle.engines.save_weights import SaveWeights
from bundle.engines.stop_request import EXIT_STATUS, SIGNALS, StopRequest, outlive_stop_signals

EPOCHS, STEPS = 3, 5
FRAMES = [{"image": torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(i))} for i in range(2 * STEPS)]


class Training:
    """A small training with everything that a resume has to restore: augmentation, dropout, momentum, schedule."""

    def __init__(self, folder: Path, num_workers: int = 0, accumulation_steps: int = 1, **options) -> None:
        torch.manual_seed(0)
        self.losses: dict[int, float] = {}
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        )
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        transform = Compose([RandGaussianNoised("image", prob=0.9, std=0.5)])
        dataset = CacheDataset(FRAMES, transform, progress=False)
        sampler = EpochSampler(dataset, batch_size=2)
        loader = DataLoader(
            SeededDataset(dataset, transform),
            sampler=sampler,
            batch_size=2,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),
            worker_init_fn=outlive_stop_signals,
        )
        validator = SupervisedEvaluator(
            torch.device("cpu"),
            DataLoader(FRAMES, batch_size=5),
            self.network,
            prepare_batch=lambda batch, *_, **__: (batch["image"], batch["image"].mean(dim=(1, 2, 3))),
            decollate=False,
        )
        validator.state.best_metric = 0.0
        validator.add_event_handler(Events.EPOCH_COMPLETED, judge)
        settings = {"student": "small", **options.pop("settings", {})}
        self.checkpoints = Checkpoints(
            folder / "checkpoints",
            {
                "network": self.network,
                "loss": nn.Module(),
                "optimizer": optimizer,
                "schedule": schedule,
                "random_state": RandomState(),
            },
            sampler,
            settings=settings,
            stop=StopRequest(folder / "stop"),
            validator=validator,
            **{"every": "1 steps", **options},
        )
        self.trainer = SupervisedTrainer(
            torch.device("cpu"),
            EPOCHS,
            loader,
            self.network,
            optimizer,
            lambda pred, target: (pred[:, 0] - target).square().mean(),
            prepare_batch=lambda batch, *_, **__: (batch["image"], batch["image"].mean(dim=(1, 2, 3))),
            train_handlers=[
                ValidationHandler(1, validator),
                StepSchedule(schedule),
                SaveWeights(self.network, folder / "weights.pt"),
                self.checkpoints,
            ],
            accumulation_steps=accumulation_steps,
            decollate=False,
        )
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def run(self, crash_at: int | None = None) -> "Training":
        """Run, or crash just after a step, whose checkpoint is not yet written."""
        if crash_at is not None:
            self.trainer.add_event_handler(Events.ITERATION_STARTED(once=crash_at + 1), crash)
        try:
            self.trainer.run()
        except ZeroDivisionError:
            assert crash_at is not None
        return self

    def _log(self, engine) -> None:
        self.losses[engine.state.iteration] = engine.state.output["loss"].item()


def crash(_engine) -> None:
    raise ZeroDivisionError


def judge(engine) -> None:
    """The second validation is the best."""
    if engine.state.epoch == 2:
        engine.state.best_metric, engine.state.best_metric_epoch = 1.0, 2


@pytest.fixture(autouse=True)
def _usual_signals():
    """A training that crashes takes its signal handlers along, but here the process goes on."""
    yield
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[int, float]:
    losses = Training(tmp_path_factory.mktemp("uninterrupted")).run().losses
    assert len(set(losses.values())) == EPOCHS * STEPS
    return losses


@pytest.mark.parametrize(("crash_at", "num_workers"), [(1, 0), (4, 2), (5, 0), (7, 0), (7, 2), (14, 0)])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(tmp_path, uninterrupted, crash_at, num_workers):
    before = Training(tmp_path, num_workers).run(crash_at).losses
    torch.rand(3)  # whatever happens to the global generators in between
    after = Training(tmp_path, num_workers).run().losses
    assert min(after) == crash_at + 1  # nothing is done twice
    assert {**before, **after} == pytest.approx(uninterrupted, rel=0, abs=1e-6)


def test_a_run_whose_last_checkpoint_is_older_repeats_the_steps_since(tmp_path, uninterrupted):
    before = Training(tmp_path, every="3 steps").run(crash_at=8).losses
    after = Training(tmp_path, every="3 steps").run().losses
    assert min(after) == 7
    assert {**before, **after} == pytest.approx(uninterrupted, rel=0, abs=1e-6)


def test_no_checkpoint_is_taken_between_two_optimizer_steps(tmp_path):
    Training(tmp_path, accumulation_steps=2).run(crash_at=4)  # steps at 2, 4, 5 (the epoch's end), 7, 9, 10
    assert progress(tmp_path) == 4
    Training(tmp_path, accumulation_steps=2).run(crash_at=8)
    assert progress(tmp_path) == 7


def progress(folder: Path) -> int:
    return read_checkpoint(folder / "checkpoints" / "last.pt")["trainer"]["iteration"]


def test_last_previous_and_best_are_kept(tmp_path):
    Training(tmp_path).run()
    names = ("last", "previous", "best")
    steps = {name: read_checkpoint(tmp_path / "checkpoints" / f"{name}.pt")["trainer"]["iteration"] for name in names}
    assert steps == {"last": 15, "previous": 14, "best": 10}


def test_a_best_checkpoint_is_kept_though_the_crash_came_before_its_copy(tmp_path):
    best = tmp_path / "checkpoints" / "best.pt"
    Training(tmp_path).run(crash_at=10)
    best.unlink()
    Training(tmp_path).run(crash_at=11)
    assert read_checkpoint(best)["trainer"]["iteration"] == 10


def test_a_finished_run_says_so_and_starts_over_only_when_told_to(tmp_path, capsys, uninterrupted):
    Training(tmp_path).run()
    assert Training(tmp_path).run().losses == {}
    assert "finished before, nothing to train" in capsys.readouterr().out
    again = Training(tmp_path, resume=False).run().losses
    assert again == pytest.approx(uninterrupted, rel=0, abs=1e-6)


def test_a_finished_run_goes_on_when_it_is_given_more_epochs(tmp_path):
    Training(tmp_path).run()
    longer = Training(tmp_path)
    longer.trainer.state.max_epochs = EPOCHS + 1
    assert list(longer.run().losses) == [16, 17, 18, 19, 20]


def test_a_checkpoint_of_another_configuration_is_refused_with_what_differs(tmp_path):
    Training(tmp_path).run(crash_at=2)
    with pytest.raises(ValueError, match=r"another configuration \(student 'small', now 'large'\): use another output"):
        Training(tmp_path, settings={"student": "large"}).run()
    with pytest.raises(ValueError, match=r"another configuration \(another datalist\): use"):
        Training(tmp_path, settings={"datalist": "a" * 64 + "b" * 64}).run()


def test_of_many_differences_a_few_are_named_and_the_others_counted(tmp_path):
    with pytest.raises(ValueError, match=r"\(a0 0, now 1, .*, a5 0, now 1 and 3 more\): use another output_dir"):
        check_settings({f"a{i}": 0 for i in range(9)}, {f"a{i}": 1 for i in range(9)}, tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_last_checkpoint_is_left_for_the_one_before(tmp_path, uninterrupted, caplog, damage):
    before = Training(tmp_path).run(crash_at=7).losses
    last = tmp_path / "checkpoints" / "last.pt"
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    last.write_bytes({"truncated": content[:-100], "flipped": content, "empty": b"", "foreign": b"x" * 99}[damage])
    after = Training(tmp_path).run().losses
    assert f"{last} is damaged" in caplog.text
    assert min(after) == 7
    assert {**before, **after} == pytest.approx(uninterrupted, rel=0, abs=1e-6)


def test_only_damaged_checkpoints_stop_the_run_instead_of_starting_it_over(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.last.write_bytes(b"")
    with pytest.raises(CheckpointError, match="can be read: restore one from a backup, or start over with --resume"):
        folder.load()


def test_a_checkpoint_runs_no_code(tmp_path):
    folder = CheckpointFolder(tmp_path)
    torch.save(Harmful(tmp_path / "harm"), folder.last)
    with pytest.raises(CheckpointError):
        folder.load()
    assert not (tmp_path / "harm").exists()


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """A limit on a file's size stands for the disk: the write fails half way, as it does there."""
    folder = CheckpointFolder(tmp_path)
    folder.save({"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"last.pt could not be written \(.+ large\); what was there"):
            folder.save({"step": 2, "weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folder.load() == ({"step": 1}, folder.last)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_weights_that_are_not_finite_get_into_no_checkpoint(tmp_path):
    training = Training(tmp_path)
    training.trainer.add_event_handler(Events.ITERATION_STARTED(once=4), lambda _: spoil(training.network))
    with pytest.raises(
        ValueError, match=r"network 1.weight is no longer finite after step 4; the last good checkpoint"
    ):
        training.run()
    assert progress(tmp_path) == 3


@torch.no_grad()
def spoil(network: nn.Module) -> None:
    network[1].weight[0, 0] = float("inf")


@pytest.mark.parametrize("how", ["signal", "file"])
def test_a_request_to_stop_ends_the_run_after_its_step_and_a_resume_goes_on(tmp_path, uninterrupted, how, capsys):
    first = Training(tmp_path, every="1 hours")

    def ask(_engine) -> None:
        if how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            (tmp_path / "stop").touch()

    first.trainer.add_event_handler(Events.ITERATION_STARTED(once=7), ask)
    first.run()
    assert "stopped after step 7" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        first.checkpoints.exit_if_stopped()
    assert caught.value.code == EXIT_STATUS == 75
    assert not (tmp_path / "weights.pt").exists()  # they are of complete runs
    assert not (tmp_path / "stop").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    second = Training(tmp_path).run()
    second.checkpoints.exit_if_stopped()
    assert {**first.losses, **second.losses} == pytest.approx(uninterrupted, rel=0, abs=1e-6)
    assert (tmp_path / "weights.pt").is_file()


def test_a_stop_in_the_last_step_of_an_epoch_comes_after_its_validation(tmp_path, uninterrupted):
    first = Training(tmp_path, every="1 hours")
    first.trainer.add_event_handler(Events.ITERATION_STARTED(once=10), lambda _: (tmp_path / "stop").touch())
    first.run()
    assert progress(tmp_path) == 10
    assert read_checkpoint(tmp_path / "checkpoints" / "last.pt")["best"] == {"metric": 1.0, "epoch": 2}
    assert {**first.losses, **Training(tmp_path).run().losses} == pytest.approx(uninterrupted, rel=0, abs=1e-6)


def test_a_second_signal_ends_the_process_at_once():
    process = multiprocessing.get_context("fork").Process(target=listen_and_get_two_signals)
    process.start()
    process.join(timeout=20)
    assert process.exitcode == -signal.SIGTERM


def listen_and_get_two_signals() -> None:
    request = StopRequest("nowhere")
    request.listen()
    signal.raise_signal(signal.SIGUSR1)
    assert request.reason() == "SIGUSR1"
    signal.raise_signal(signal.SIGTERM)


def test_loader_workers_outlive_signals_of_others_but_not_of_their_trainer():
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    other = multiprocessing.get_context("fork").Process(target=send_when_ready, args=(worker.pid,))
    other.start()
    other.join(timeout=20)
    worker.join(timeout=0.3)
    assert worker.is_alive()
    worker.terminate()
    worker.join(timeout=20)
    assert worker.exitcode == 0


def work() -> None:
    outlive_stop_signals(0)
    while True:
        time.sleep(1)


def send_when_ready(pid: int) -> None:
    while not psutil.Process(pid).num_threads() > 1:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("text", "interval"),
    [("500 steps", (500, 0.0)), ("1 step", (1, 0.0)), ("10 minutes", (None, 600.0)), ("2 hours", (None, 7200.0))],
)
def test_intervals(text, interval):
    assert parse_interval(text) == interval


@pytest.mark.parametrize("text", ["10", "ten minutes", "0 steps", "-1 steps", "3 epochs", ""])
def test_an_interval_that_is_not_understood_is_refused(text):
    with pytest.raises(ValueError, match="checkpoint_every must be a number of steps, seconds, minutes, hours, as"):
        parse_interval(text)
