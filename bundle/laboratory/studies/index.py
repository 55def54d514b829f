"""The evidence's first page: what became of the claims, with real teachers first, collected from the other pages."""

from pathlib import Path

from bundle.atomic import write_text

REAL, MACHINERY = "real_teachers.md", "machinery.md"
START, END = "<!-- claims -->", "<!-- /claims -->"
"""Lines of a page between which its claims stand."""

OTHERS = {
    "inside.md": "Looking inside: features before and after distillation, and the worst frames",
    "slices.md": "Slices of a 3-D volume (real CT)",
    "sim_to_real.md": "The shipped model on a real film",
    "input_check.md": "The input check: what is refused as no swallow",
}
"""Made by scripts of their own."""

INDEX = """# Evidence

What became of the claims of the paper, and of others that a reader would make.

## With real teachers, on real X-ray images

{real}

## A check of the machinery, with small teachers and synthetic patients

Short trainings with teachers that were themselves trained on synthetic images. They show that every part works and how
sure such a comparison can be. Of real teachers, real images or patients they say nothing.

{machinery}

{others}## How to read the tables

- **Dice** is the mean over patients of the mean over their structures; then ± the standard deviation between runs.
- **Differences** are to the table's reference, on the same patients and trainings, with a 95% t-interval for which
  patients *and* trainings are random: a difference between two trainings is no difference between two methods. *Of
  these trainings* is what resampling the patients alone gives: narrower, and silent about other trainings.
- **Verdicts**: *higher* and *lower* need p < 0.05 of the same test (Dorfman, Berbaum & Metz 1992), corrected for all
  comparisons of the table and of its claims together (Holm). *equivalent*: the whole interval lies within ±0.02, the
  gain that the paper reports. All else is *could not be told*.
- **Power**: in how many of 100 studies like this one a true difference of +0.02 gives an interval above 0, by the
  spread that was seen. Where it is small, *could not be told* says nothing about the method.
- **Claims** are judged by the verdicts of their tables: *held here*, *the opposite was seen here*, *not so here* (an
  equivalence instead of a difference, or a difference instead of an equivalence), or *could not be told here*.

How studies are defined and run: [studies](../how-to/studies.md). The statistics:
`bundle/laboratory/studies/statistics.py`.
"""


def write_index(folder: str | Path) -> Path:
    """Write ``README.md`` from the pages that are in a folder; its path."""
    folder = Path(folder)
    pages = [f"- [{title}]({name})" for name, title in OTHERS.items() if (folder / name).is_file()]
    others = "\n".join(["## Other pages", "", *pages, "", ""]) if pages else ""
    parts = {"real": _claims(folder / REAL), "machinery": _claims(folder / MACHINERY), "others": others}
    return write_text(folder / "README.md", INDEX.format(**parts))


def _claims(page: Path) -> str:
    if not page.is_file():
        return "Not measured yet."
    content = page.read_text(encoding="utf-8")
    if START not in content or END not in content:
        raise ValueError(f"{page}: expected its claims between the lines {START} and {END}, got no such lines")
    claims = content.partition(START)[2].partition(END)[0].strip()
    return f"{claims}\n\nTables, scale and machine: [{page.stem.replace('_', ' ')}]({page.name})."
