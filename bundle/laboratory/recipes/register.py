"""The register of the shipped small teachers and its model card: what each file is, and how the teachers compare."""

import json
from pathlib import Path

import torch

from bundle.laboratory.recipes.catalog import NUM_HELD_OUT_PATIENTS, find_small_teacher
from bundle.laboratory.recipes.frames import PhantomFrames, probe_patches
from bundle.teachers.base import Teacher
from bundle.teachers.similarity import LinearCKA

_CARD = """# Small teachers (synthetic)

Three frozen encoders for the default job, so that it runs offline. **They were trained and measured on the synthetic
phantom only** (`bundle/phantom`): no patient data went in, and nothing here says how they would do on a patient.
They have the architectures of the published teachers at small sizes and the published names of weights; they are not
the published weights and share nothing else with them. License: Apache-2.0, as the repository.

This page and `teachers.json` are written by `scripts/laboratory/train_teacher.py`. Numbers are of the half-precision
files, read back through the strict loader, on held-out phantom patients (other seeds than the training patients').

| file | specialty | size | measure | trained | untrained twin |
|---|---|---|---|---|---|
{rows}

How alike their features are (linear CKA of held-out frames; 1 is the same up to rotation and scale):

| pair | linear CKA |
|---|---|
{pairs}

The same linear probe on every teacher: which structures lie in each patch? (Average precision, mean of structures; the
7 x 7 grid of medclip is coarser than the 16 x 16 of the others, so its number is for coarser patches.)

| teacher | average precision |
|---|---|
{probes}

{details}
## Make them again

```
python scripts/laboratory/train_teacher.py medsam2 --frames runs/teachers/frames.npz
python scripts/laboratory/train_teacher.py rad_dino --frames runs/teachers/frames.npz
python scripts/laboratory/train_teacher.py medclip --frames runs/teachers/frames.npz
python scripts/laboratory/train_teacher.py compare --frames runs/teachers/frames.npz
```

Schedules and seeds of these files are the recipes' defaults. Where two teachers' frames differ in checksum, they were
made by different versions of the phantom, and their numbers are not of the same held-out frames. Trained again, a file
differs in checksum: other processors round otherwise, and the phantom changes.
How the recipes work and what they leave out: `docs/concepts/small-teachers.md`.
"""

_DETAILS = """## {name}

- sha256 `{sha256}`
- license {license}; source: `{source}`
- recipe `{recipe}`, {schedule[steps]} steps of {schedule[batch_size]} frames, learning rate
  {schedule[learning_rate]}, seed {schedule[seed]}
- frames' sha256 `{frames[sha256]}`
- {frames[frames]} training frames at {frames[size]}², patient seeds {frames[patient_seeds][0]} to
  {frames[patient_seeds][1]}; {frames[held_out_patients]} further patients held out
- measured on the held-out patients:
{numbers}
"""


def render(content: dict) -> str:
    """The model card, in Markdown, from the register."""
    rows = [_row(entry) for entry in content["teachers"].values()]
    pairs = [f"| {pair} | {value:.3f} |" for pair, value in content.get("pairwise_cka", {}).items()]
    probes = [f"| {name} | {value:.3f} |" for name, value in content.get("patch_probe", {}).items()]
    details = [_details(name, entry) for name, entry in content["teachers"].items()]
    return _CARD.format(
        rows="\n".join(rows), pairs="\n".join(pairs), probes="\n".join(probes), details="\n".join(details)
    )


def _row(entry: dict) -> str:
    measured, headline = entry["measured"], entry["headline"]
    trained, untrained = (measured[twin][headline] for twin in ("trained", "untrained"))
    size = f"{entry['bytes'] / 1e6:.1f} MB"
    return f"| `{entry['file']}` | {entry['specialty']} | {size} | {headline} | {trained:.3f} | {untrained:.3f} |"


def _details(name: str, entry: dict) -> str:
    numbers = "\n".join(f"  - {key}: {value:.3f}" for key, value in entry["measured"]["trained"].items())
    return _DETAILS.format(name=name, numbers=numbers, **entry)


REGISTER = "teachers.json"


def register(folder: Path, name: str, entry: dict) -> None:
    """Put one teacher's entry into ``teachers.json``, beside what is there, and rewrite the model card."""
    content = read_register(folder)
    content["teachers"][name] = entry
    _write(folder, content)


def read_register(folder: Path) -> dict:
    """What ``teachers.json`` says; an empty register if there is none."""
    path = folder / REGISTER
    if path.is_file():
        return json.loads(path.read_text())
    return {"synthetic": "trained and measured on generated phantom frames only", "teachers": {}}


def load_shipped(folder: Path, name: str) -> Teacher:
    """The shipped small teacher, its checksum checked against the register."""
    entry = read_register(folder)["teachers"][name]
    small = find_small_teacher(name)
    return small.load(folder / entry["file"], small.build(), sha256=entry["sha256"])


def compare_teachers(folder: Path, frames: PhantomFrames, num_held_out: int = NUM_HELD_OUT_PATIENTS) -> dict:
    """Add to the register, and return it: how alike the teachers' features are, and how well each knows places."""
    content = read_register(folder)
    training, held_out = frames.split(num_held_out)
    teachers = {name: load_shipped(folder, name) for name in content["teachers"]}
    content["pairwise_cka"] = pairwise_cka(teachers, held_out)
    content["patch_probe"] = {
        name: round(probe_patches(teacher.encoder, training, held_out)["patch_probe_average_precision"], 3)
        for name, teacher in teachers.items()
    }
    _write(folder, content)
    return content


def pairwise_cka(teachers: dict[str, Teacher], frames: PhantomFrames) -> dict[str, float]:
    """Linear CKA of every two teachers, on the coarsest teacher's grid."""
    cka = LinearCKA(min(teacher.grid_size for teacher in teachers.values()))
    for batch in frames.batches(16):
        cka.update({name: teacher(batch.image) for name, teacher in teachers.items()})
    names, matrix = cka.compute()
    pairs = torch.combinations(torch.arange(len(names))).tolist()
    return {f"{names[a]} - {names[b]}": round(matrix[a, b].item(), 3) for a, b in pairs}


def _write(folder: Path, content: dict) -> None:
    (folder / REGISTER).write_text(json.dumps(content, indent=2) + "\n")
    (folder / "README.md").write_text(render(content))
