"""Train one small teacher on the phantom, or compare the trained ones; writes models/teachers/teachers.json."""

import argparse
import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.recipes import catalog, register


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", choices=[*catalog.SMALL_TEACHERS, "compare"])
    parser.add_argument(
        "--output", type=Path, help="weights to write; by default models/teachers/TEACHER_small.safetensors"
    )
    parser.add_argument("--frames", type=Path, help="keep the phantom's frames in this .npz and reuse them")
    parser.add_argument("--steps", type=int, help="fewer steps than the shipped weights took, for a trial")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = arguments.output or Path("models/teachers") / f"{arguments.teacher}_small.safetensors"
    frames = catalog.find_frames(arguments.frames)
    if arguments.teacher == "compare":
        return print(json.dumps(register.compare_teachers(output.parent, frames)["pairwise_cka"], indent=2))
    entry = catalog.train_small_teacher(arguments.teacher, output, frames, steps=arguments.steps)
    register.register(output.parent, arguments.teacher, entry)
    return print(json.dumps(entry, indent=2))


if __name__ == "__main__":
    main()
