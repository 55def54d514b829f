"""Kill training, or the filling of a store, with signal 9 at random moments, repeat it, and compare."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.trials.kill_trials import run_kill_trials, run_store_trials


def main() -> None:
    """Run the trials; exit status 1 if a repeated run differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", type=Path, help="a new folder")
    parser.add_argument("--store", action="store_true", help="kill the filling of a store instead of both phases")
    parser.add_argument("--trials", type=int, default=20, help="runs that are killed, of either kind in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    report = (run_store_trials if given.store else run_kill_trials)(given.output_dir, given.trials, given.seed)
    print(f"{report['num_equal']} of {report['num_trials']} runs, {report['num_killed']} of them killed, end equal")
    sys.exit(report["num_equal"] < report["num_trials"])


if __name__ == "__main__":
    main()
