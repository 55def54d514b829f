"""The repository's shape: its map, thin scripts, pinned versions, no machine paths; linters check the rest."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

MODULES = sorted((ROOT / "bundle").rglob("*.py"))
SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*.py") if path.parent.name != "maintenance")

MACHINE_FOLDERS = ["work", "root", "home", "Users", "mnt", "tmp", "opt", "scratch"]
MACHINE_PATH = re.compile(r"(?<![\w.<>~}\])])/(?:" + "|".join(MACHINE_FOLDERS) + r")/[\w.-]")
REGISTRY = re.compile("py" + r"pi\.|python" + r"hosted|repo\.ana" + "conda")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def project_texts() -> Iterator[Path]:
    """Every text file of the project, without what tools and runs leave behind."""
    suffixes = {".py", ".md", ".json", ".toml", ".txt", ".sh", ".yaml", ".yml", ".conf", ".cfg", ".svg", ""}
    folders = ["bundle", "configs", "scripts", "models", "docs", "tests", ".ci", ".github"]
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in sorted((ROOT / folder).rglob("*")))]
    return (path for path in paths if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts)


# The repository, as it is


def test_the_map_in_the_package_lists_the_stages_in_the_order_of_the_contract():
    """The contract in pyproject.toml is what import-linter checks; the map is what a reader sees."""
    lines = re.findall(r"^    (\w+(?:, \w+)*)  ", (ROOT / "bundle" / "__init__.py").read_text(), flags=re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert lines == [", ".join(layer.split(" : ")) for layer in reversed(layers)]


def test_scripts_are_thin():
    lengths = {name_of(path): sum(1 for line in path.read_text().splitlines() if line.strip()) for path in SCRIPTS}
    too_long = {name: length for name, length in lengths.items() if length > 30}
    assert too_long == {}, "scripts only parse arguments and call bundle/, in at most 30 lines that are not blank"


def test_scripts_is_no_package_so_that_two_bundles_in_one_process_keep_apart():
    assert not (ROOT / "scripts" / "__init__.py").exists()


def test_no_file_names_a_machine_or_a_registry():
    findings = []
    for path in project_texts():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line) or REGISTRY.search(line):
                findings.append(f"{name_of(path)}:{number}: {line.strip()[:120]}")
    assert findings == []


def test_every_script_that_a_make_target_calls_is_there():
    called = re.findall(r"scripts/[\w./]+", (ROOT / "Makefile").read_text())
    assert called
    assert [script for script in called if not (ROOT / script).is_file()] == []


def test_every_dependency_direct_or_not_is_pinned():
    """Walks what is installed; CUDA's libraries are left out, torch asks for the ones it was built with."""
    pins = {canonicalize_name(line.split("==")[0]) for line in constraint_lines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    to_do = installed_requirements(project)
    seen: set[tuple[str, frozenset[str]]] = set()
    while to_do:
        requirement = to_do.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(("nvidia-", "cuda-", "triton")) or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        assert name in pins, f"{requirement} is not in constraints.txt"
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in ["", *requirement.extras]]
            if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments):
                to_do.append(needed)
    assert len(seen) > len(project["dependencies"])


def test_every_pin_is_an_exact_version_that_pyproject_allows():
    pins = {}
    for line in constraint_lines():
        assert re.fullmatch(r"[\w.-]+==[\w.+!]+", line), line
        name, version = line.split("==")
        pins[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in installed_requirements(project):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_what_annotation_needs_beside_is_pinned_too():
    lines = (ROOT / "annotation_constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in [*constraint_lines(), *lines] if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["optional-dependencies"]["annotate"]):
        assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_every_package_that_the_bundle_imports_is_asked_for():
    """Of a package that is not installed here, such as MONAI Label, the name of the distribution is not known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    asked_for = {canonicalize_name(Requirement(text).name) for text in texts}
    distributions = metadata.packages_distributions()
    imported = {module for path in MODULES for module in imported_modules(ast.parse(path.read_text()))}
    brought = {module: {canonicalize_name(name) for name in distributions.get(module, [])} for module in imported}
    assert {"torch", "numpy"} <= imported
    assert {module for module, names in brought.items() if names and not names & asked_for} == set()


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """First part of every module of others that a module imports."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from (name.partition(".")[0] for name in names if not name.startswith("bundle"))


def installed_requirements(project: dict) -> list[Requirement]:
    """What scripts/setup_environment.sh installs: the extras that it names."""
    (extras,) = re.findall(r"'\.\[([\w,-]+)\]'", (ROOT / "scripts" / "setup_environment.sh").read_text())
    texts = [text for extra in extras.split(",") for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in [*project["dependencies"], *texts]]


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


# The check itself fails when it should


def test_a_machine_path_is_noticed_and_a_relative_one_is_not():
    for folder in MACHINE_FOLDERS:
        assert MACHINE_PATH.search(f'open("/{folder}/someone/data")')
    for harmless in ["docs/" + "home/index.md", "<path>/" + "work/data", "https://a.org/" + "home/x", "/path/to/data"]:
        assert not MACHINE_PATH.search(harmless), harmless
