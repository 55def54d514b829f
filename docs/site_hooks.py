"""What MkDocs does not do by itself: links to files outside docs/, the model card's place, and pages of the code.

A page links to a file of the repository as it does on the disk, such as `../configs/train.json`. For the site each such
file becomes a page below `repository/`. Pages of the code are made for the modules that configs name.
"""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
MODEL_CARD = "README.md"
REPOSITORY = "repository/"
PARTS = "reference/parts/"
PUBLIC_API = "reference/public.md"
SECTIONS = {
    "tutorial": "Learn",
    "how-to": "Use it",
    "concepts": "Understand",
    "reference": "Reference",
    "laboratory": "Evidence",
}
"""Where pages of a folder go that mkdocs.yml does not place, such as those that a study writes."""
LINK = re.compile(r"(?P<open>!?\[[^\]\n]*\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?P<close>\))")
FENCE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2 *$", flags=re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".sh": "bash", ".conf": "ini"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation: pages that it does not list, by their folders, and pages of the code."""
    pages = [path.relative_to(config.docs_dir).as_posix() for path in sorted(Path(config.docs_dir).rglob("*.md"))]
    listed = repr(config.nav)
    sections = {title: pages for part in config.nav or [] for title, pages in part.items() if isinstance(pages, list)}
    for page in pages:
        if f"'{page}'" not in listed and page.split("/")[0] in SECTIONS:
            sections[SECTIONS[page.split("/")[0]]].append(page)
    stages = [{stage: f"{PARTS}{stage}.md"} for stage in configured_modules()]
    sections["Reference"] += [{"Public API": PUBLIC_API}, {"Parts that configs name": stages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the model card, which is not the site's index; pages of the code; and files that pages link to."""
    files.append(model_card(config))
    files.append(File.generated(config, PUBLIC_API, content="# Public API\n\n::: bundle\n"))
    for stage, modules in configured_modules().items():
        files.append(File.generated(config, f"{PARTS}{stage}.md", content=part_page(stage, modules)))
    found = {name for file in files.documentation_pages() for name in linked_files(file.src_uri, file.content_string)}
    while found:
        name = found.pop()
        page = repository_page(name)
        if files.get_file_from_path(page) is None:
            text = (ROOT / name).read_text(encoding="utf-8")
            content = text if name.endswith(".md") else as_code(name, text)
            level = InclusionLevel.INCLUDED if in_navigation(page, config) else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, page, content=content, inclusion=level))
            found |= set(linked_files(page, content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links to files of the repository lead to their pages."""

    def resolved(link: re.Match[str]) -> str:
        target = repository_path(page.file.src_uri, link["path"])
        source = target.removeprefix("docs/") if target.startswith("docs/") else repository_page(target)
        path = posixpath.relpath(source, posixpath.dirname(page.file.src_uri) or ".")
        return link["open"] + path + (link["anchor"] or "") + link["close"]

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(resolved, markdown[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, LINK.sub(resolved, markdown[end:])])


def on_page_content(html: str, **_: object) -> str:
    """Drop what docstrings write for Sphinx: roles before names, and a second colon before a block."""
    return re.sub(r":(?:class|func|meth|attr|mod|data):(?=<code)|:(?=:</p>)", "", html)


def model_card(config: MkDocsConfig) -> File:
    """`docs/README.md`, which MkDocs would take for the index of the site, on a page of its own."""
    card = File(MODEL_CARD, config.docs_dir, config.site_dir, config.use_directory_urls, dest_uri="model-card.html")
    card.inclusion = InclusionLevel.INCLUDED
    return card


def configured_modules() -> dict[str, list[str]]:
    """By stage, the modules of the bundle that the product's configs name."""
    modules = defaultdict(set)
    for path in (ROOT / "configs").rglob("*.json"):
        if "laboratory" not in path.relative_to(ROOT).parts:
            for name in re.findall(r"\bbundle(?:\.\w+)+", path.read_text(encoding="utf-8")):
                modules[name.split(".")[1]].add(module_of(name))
    return {
        stage: sorted(name for name in names if name.rpartition(".")[0] not in names)
        for stage, names in sorted(modules.items())
    }


def module_of(name: str) -> str:
    """The module in which a dotted name is defined."""
    while (
        not (ROOT / (name.replace(".", os.sep) + ".py")).is_file() and not (ROOT / name.replace(".", os.sep)).is_dir()
    ):
        name = name.rpartition(".")[0]
    return name


def part_page(stage: str, modules: list[str]) -> str:
    """The docstrings of modules."""
    return "\n\n".join([f"# {stage}", *(f"::: {module}" for module in modules)]) + "\n"


def linked_files(page: str, text: str) -> Iterator[str]:
    """Files of the repository outside `docs/` that a page links to."""
    for link in LINK.finditer(FENCE.sub("", text)):
        target = repository_path(page, link["path"])
        if not target.startswith("docs/") and (ROOT / target).is_file():
            yield target


def repository_path(page: str, link: str) -> str:
    """Where a link of a page leads, seen from the repository's root."""
    own = page.removeprefix(REPOSITORY) if page.startswith(REPOSITORY) else f"docs/{page}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), link))


def repository_page(name: str) -> str:
    """The page of a file of the repository."""
    return REPOSITORY + name + ("" if name.endswith(".md") else ".md")


def as_code(name: str, text: str) -> str:
    """A file as a page that the search leaves out."""
    language = LANGUAGES.get(Path(name).suffix, Path(name).suffix.lstrip("."))
    return f"---\nsearch:\n  exclude: true\n---\n# {name}\n\n````{language}\n{text}\n````\n"


def in_navigation(page: str, config: MkDocsConfig) -> bool:
    """Whether the navigation lists a page."""
    return f"'{page}'" in repr(config.nav)
