"""Run the study on real films, and write its page: `make study-real JSRT=folder CHEST_XRAYS=folder`; resumable."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bundle.laboratory.studies.real_report import run_real_study, write_page_again
from bundle.one_line import in_words


def main() -> None:
    """Run what is missing, or for some minutes, and write the page of what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jsrt", type=Path, nargs="?", help="folder with images/*.png and masks/STRUCTURE/*.png")
    parser.add_argument("chest_xrays", type=Path, nargs="?", help="folder with images/*.png and masks/*.png")
    parser.add_argument("--folder", type=Path, default=Path("runs/study_real"), help="for lists, stages and the store")
    parser.add_argument("--output_dir", type=Path, help="for records and page (the folder unless given)")
    parser.add_argument("--jobs", type=int, default=1, help="stages at the same time (1 unless given)")
    parser.add_argument("--minutes", type=float, help="then stop, to go on with the same command")
    parser.add_argument("--page_only", action="store_true", help="write the page of --folder's records, run nothing")
    given = parser.parse_args()
    if not given.page_only and given.chest_xrays is None:
        parser.error("name the folders of JSRT and of the chest X-rays, or --page_only")
    try:
        if given.page_only:
            print(write_page_again(given.folder, given.output_dir))
        else:
            settings = given.folder, given.output_dir, given.jobs, given.minutes
            print(run_real_study(given.jsrt, given.chest_xrays, *settings))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {in_words(error)}")


if __name__ == "__main__":
    main()
