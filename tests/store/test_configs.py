"""The two overlays together: the stage fills the store, phase 1 trains from it, and no teacher runs."""

import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from bundle.engines.prepare_batch import PrepareDistillationBatch
from bundle.store.views import as_float
from bundle.teachers.base import Teacher

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:statistics of:UserWarning")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a stack of configs in this process."""
    folder = tmp_path_factory.mktemp("store_flow")
    sys.path.insert(0, str(CONFIGS.parent))

    def run(*names: str, run_id: str = "training", **overrides) -> ConfigWorkflow:
        workflow = ConfigWorkflow(
            config_file=[str(CONFIGS / f"{name}.json") for name in names],
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            run_id=run_id,
            workflow_type="train",
            bundle_root=str(CONFIGS.parent),
            dataset_dir=str(folder / "phantom"),
            store_dir=str(folder / "store"),
            output_dir=str(folder / run_id),
            num_views=2,
            num_workers=1,
            **overrides,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        return workflow

    yield run
    sys.path.remove(str(CONFIGS.parent))


@pytest.fixture(scope="module")
def trained(run):
    run("distill", "smoke", "stored_features", "cache_features", run_id="run")
    seen = []
    patch = pytest.MonkeyPatch()
    patch.setattr(Teacher, "forward", lambda self, frames: seen.append(self.name))
    workflow = run("distill", "smoke", "stored_features", student_transforms=[])  # the teachers' own view
    patch.undo()
    assert seen == []
    return workflow


def test_phase_1_trains_and_validates_from_the_store(trained):
    metrics = trained.parser.get_parsed_content("validate::evaluator").state.metrics
    assert metrics["val_loss"] > 0
    assert Path(trained.parser.get_parsed_content("output_dir"), "student.pt").is_file()


def test_the_shipped_teachers_give_the_same_loss_live_and_stored(trained):
    loader, loss = (trained.parser.get_parsed_content(name) for name in ("train::dataloader", "loss"))
    teachers, prepare = (trained.parser.get_parsed_content(name) for name in ("teachers", "prepare_batch"))
    batch = next(iter(loader))
    cpu = torch.device("cpu")
    frames, stored = prepare(batch, cpu)
    live = PrepareDistillationBatch({name: teacher.cpu() for name, teacher in teachers.items()})(
        {**batch, "image": as_float(batch["image"])}, cpu
    )[1]
    network = trained.parser.get_parsed_content("network").cpu().eval()
    loss = loss.cpu().eval()
    with torch.no_grad():
        pred = network(frames)
        torch.testing.assert_close(loss(pred, stored), loss(pred, live), rtol=1e-4, atol=0)
