"""The documentation: its links lead somewhere, its commands name what exists, its examples give what they show."""

import doctest
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HTML_SOURCE = re.compile(r"<(?:img|source|video|a)\s[^>]*?(?:src|href|srcset)=\"([^\"]+)\"")
FENCE = re.compile(r"^(`{3,}|~{3,})(\w*)[^\n]*\n(.*?)^\1\s*$", flags=re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """A page without its code, in which brackets are no links."""
    return INLINE_CODE.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, in the common Markdown renderers' way, and those it sets itself."""
    headings = re.findall(r"^#{1,6} +(.+?) *#*$", FENCE.sub("", text), flags=re.MULTILINE)
    own = re.findall(r"<a id=\"([^\"]+)\">", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(own)


def broken_links(text: str, page: Path) -> list[str]:
    """Relative links and pictures of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(prose(text)) + HTML_SOURCE.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        other = text if target == page else target.read_text() if target.suffix == ".md" and target.is_file() else ""
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(other)):
            broken.append(link)
    return broken


def commands(text: str) -> list[str]:
    """Shell commands that a page tells the reader to run: lines of shell blocks, and short ones inside the prose."""
    lines: list[str] = []
    for _, language, body in FENCE.findall(text):
        if language in ("", "bash", "sh", "shell", "console"):
            lines += re.sub(r"\s*\\\n\s*", " ", body).splitlines()
    lines += INLINE_CODE.findall(FENCE.sub("", text))
    lines = [re.sub(r"^\$ ", "", line.strip()) for line in lines]
    return [line for line in lines if re.match(r"(\w+=\S+ )*(make|(\S*/)?python3?) ", line)]


def missing_parts(command: str) -> list[str]:
    """What a command names and the repository lacks: make targets, scripts, configs, modules of the bundle."""
    words = [word for word in shlex.split(command, comments=True) if word not in ("...", "…")]
    while re.match(r"\w+=", words[0]):
        words.pop(0)
    if words[0] == "make":
        targets = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
        return [f"make target {target}" for target in targets if target not in TARGETS]
    files = re.findall(
        r"(?<![\w./-])(?:scripts|configs|docs|tests|bundle)/[\w./-]+\.(?:py|json|yaml|conf|sh)\b", command
    )
    missing = [file for file in files if not (ROOT / file).is_file()]
    if "-m" in words and words[words.index("-m") + 1].split(".")[0] == "bundle":
        module = words[words.index("-m") + 1].replace(".", "/")
        if not (ROOT / f"{module}.py").is_file() and not (ROOT / module / "__main__.py").is_file():
            missing.append(module)
    return missing


def examples(text: str, page: str) -> list[doctest.DocTest]:
    """The ``>>>`` examples of a page's Python blocks, in order and sharing their names."""
    blocks = [body for _, language, body in FENCE.findall(text) if language == "python" and ">>>" in body]
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0)
    return [test] if test.examples else []


# The pages, as they are


def test_pages_and_commands_were_found():
    assert ROOT / "CONTRIBUTING.md" in PAGES
    assert [command for page in PAGES for command in commands(page.read_text())]
    assert {"demo", "test"} <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_and_picture_resolves(page: Path):
    assert broken_links(page.read_text(), page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_picture_has_alternative_text(page: Path):
    assert re.findall(r"!\[\s*\]\([^)]*\)", prose(page.read_text())) == []
    assert [tag for tag in re.findall(r"<img\s[^>]*>", page.read_text()) if 'alt="' not in tag] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_every_command_names_targets_scripts_and_configs_that_exist(page: Path):
    missing = {command: parts for command in commands(page.read_text()) if (parts := missing_parts(command))}
    assert missing == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_example_gives_what_it_shows(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)  # where the reader is
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for example in examples(page.read_text(), name_of(page)):
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=options).run(example, out=report.append)
        assert result.failed == 0, "".join(report)


# The checks themselves: each fails when it should


def test_a_broken_link_is_noticed_and_code_is_no_link(tmp_path: Path):
    page = tmp_path / "page.md"
    (tmp_path / "other page.md").write_text("# A heading, with `code`\n")
    good = "[a](other%20page.md#a-heading-with-code) `x[0](y)` [b](https://example.org) [c](#here)\n# Here\n"
    page.write_text(good)
    assert broken_links(good, page) == []
    bad = '[a](gone.md) ![b](gone.png "title") <img src="gone.svg"> [c](other%20page.md#gone)'
    assert broken_links(bad, page) == ["gone.md", "gone.png", "other%20page.md#gone", "gone.svg"]


def test_a_command_that_cannot_run_is_noticed():
    block = "$ make nonsense  # why\npython -m monai.bundle run \\\n  --config_file configs/no.json\n"
    text = f"Run `make demo`:\n```bash\n{block}```\n"
    assert commands(text) == [
        "make nonsense  # why",
        "python -m monai.bundle run --config_file configs/no.json",
        "make demo",
    ]
    assert [missing_parts(command) for command in commands(text)] == [["make target nonsense"], ["configs/no.json"], []]
    assert missing_parts("make PYTHON=/usr/bin/python3 demo") == []
    assert missing_parts("PYTHONPATH=. .venv/bin/python scripts/gone.py") == ["scripts/gone.py"]
    assert missing_parts("python -m bundle.gone") == ["bundle/gone"]
    assert missing_parts("""python -m monai.bundle run --config_file "['configs/a.json','configs/b.json']" """) == [
        "configs/a.json",
        "configs/b.json",
    ]


def test_a_wrong_example_is_noticed():
    for shown, failures in [("2", 0), ("3", 1)]:
        (example,) = examples(f"```python\n>>> 1 + 1\n{shown}\n```\n", "page")
        assert doctest.DocTestRunner().run(example, out=lambda _: None).failed == failures
