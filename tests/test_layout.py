"""The repository's shape: who imports whom, thin scripts, complete docstrings, pinned versions, no machine paths."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

MAP = re.findall(r"^    (\w+(?:, \w+)*)  ", (ROOT / "bundle" / "__init__.py").read_text(), flags=re.MULTILINE)
STAGES = [stage for line in MAP for stage in line.split(", ")]
"""The data flow, as the map in bundle/__init__.py lists it; a module imports from its own and earlier stages only."""

MODULES = sorted((ROOT / "bundle").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))

MACHINE_FOLDERS = ["work", "root", "home", "Users", "mnt", "tmp", "opt", "scratch"]
MACHINE_PATH = re.compile(r"(?<![\w.<>~}\])])/(?:" + "|".join(MACHINE_FOLDERS) + r")/[\w.-]")
REGISTRY = re.compile("py" + r"pi\.|python" + r"hosted|repo\.ana" + "conda")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def stage_of(path: Path) -> str:
    return path.relative_to(ROOT / "bundle").with_suffix("").parts[0]


def imported_stages(tree: ast.Module, path: Path) -> Iterator[str]:
    """First part below ``bundle`` of everything that a module imports, also inside functions."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "bundle" and len(parts) > 1:
                yield parts[1]


def imports_against_the_flow(source: str, path: Path) -> list[str]:
    """Stages that a module imports although they come later."""
    assert stage_of(path) in STAGES, f"{stage_of(path)} has no place in the map of bundle/__init__.py"
    own = STAGES.index(stage_of(path))
    return [stage for stage in imported_stages(ast.parse(source), path) if STAGES.index(stage) > own]


def public_definitions(tree: ast.Module) -> Iterator[Definition]:
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def all_definitions(tree: ast.Module) -> Iterator[Definition]:
    return (node for node in ast.walk(tree) if isinstance(node, Definition))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    spec = function.args
    names = [argument.arg for argument in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]]
    names += [argument.arg for argument in (spec.vararg, spec.kwarg) if argument]
    return [name for name in names if name not in ("self", "cls")]


def signature(node: Definition) -> list[str]:
    """Parameters of a function; of a class those of its constructor, or its fields when it is a dataclass."""
    if not isinstance(node, ast.ClassDef):
        return parameters(node)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return parameters(item)
    return [
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]


def documented_arguments(docstring: str) -> list[str] | None:
    """Names in the ``Args:`` section of a cleaned Google docstring; None without such a section."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", docstring, flags=re.MULTILINE)
    if section is None:
        return None
    entries = re.findall(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", section.group(1), flags=re.MULTILINE)
    return [name.lstrip("*") for entry in entries for name in entry.split(", ")]


def argument_mismatches(source: str) -> list[str]:
    problems = []
    for node in all_definitions(ast.parse(source)):
        documented = documented_arguments(ast.get_docstring(node) or "")
        if documented is not None and sorted(documented) != sorted(signature(node)):
            problems.append(f"{node.name}: Args: lists {documented}, the signature has {signature(node)}")
    return problems


def undocumented(source: str) -> list[str]:
    tree = ast.parse(source)
    missing = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    return missing if ast.get_docstring(tree) or not source.strip() else ["the module itself", *missing]


def project_texts() -> Iterator[Path]:
    """Every text file of the project, without what tools and runs leave behind."""
    suffixes = {".py", ".md", ".json", ".toml", ".txt", ".sh", ".yaml", ".yml", ".conf", ".cfg", ".svg", ""}
    folders = ["bundle", "configs", "scripts", "models", "docs", "tests", ".ci"]
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in sorted((ROOT / folder).rglob("*")))]
    return (path for path in paths if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts)


# The repository, as it is


def test_modules_were_found():
    assert len(MODULES) > len(STAGES)


def test_the_map_in_the_package_lists_the_stages_that_are_on_disk():
    assert {stage_of(path) for path in MODULES} - {"__init__"} == set(STAGES)
    some = ["keys", "structures", "data", "teachers", "students", "losses", "segmentation", "inference"]
    assert [stage for stage in STAGES if stage in some] == some


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_its_own_stage_or_an_earlier_one(path: Path):
    if stage_of(path) == "__init__":
        assert set(imported_stages(ast.parse(path.read_text()), path)) <= {"spinning"}
    else:
        assert imports_against_the_flow(path.read_text(), path) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_and_its_public_functions_and_classes_have_docstrings(path: Path):
    assert undocumented(path.read_text()) == []


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=name_of)
def test_args_sections_match_the_signatures(path: Path):
    assert argument_mismatches(path.read_text()) == []


def test_nothing_in_the_bundle_imports_scripts_tests_or_docs():
    outside = {"scripts", "tests", "docs"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not outside & {name.split(".")[0] for name in names}, name_of(path)


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


# The checks themselves: each fails when it should


def test_an_import_from_a_later_stage_is_noticed_in_every_spelling():
    path = ROOT / "bundle" / "data" / "clip.py"
    for source in [
        "import bundle.losses.balance",
        "from bundle.losses import balance",
        "from bundle import losses",
        "from ..losses import balance",
        "def f():\n    from bundle.losses.balance import equal",
    ]:
        assert imports_against_the_flow(source, path) == ["losses"], source
    assert imports_against_the_flow("from bundle.keys import IMAGE\nfrom .readers import read_clip", path) == []


def test_an_args_section_that_left_the_signature_behind_is_noticed():
    arguments = "Args:\n        clip: Frames.\n\n            Two paragraphs: both indented.\n        rows: Height."
    docstring = f'"""Do.\n\n    {arguments}\n    """'
    assert argument_mismatches(f"def f(clip, rows):\n    {docstring}") == []
    assert argument_mismatches('def f(a, *b):\n    """Do.\n\n    Args:\n        a, *b: Both.\n    """') == []
    assert len(argument_mismatches(f"def f(clip, columns):\n    {docstring}")) == 1
    assert argument_mismatches(f"class A:\n    {docstring}\n    def __init__(self, clip, rows): ...") == []
    assert argument_mismatches(f"class A:\n    {docstring}\n    clip: int\n    rows: int = 3") == []


def test_a_missing_docstring_is_noticed():
    assert undocumented("def f(): ...\ndef _g(): ...\nclass A: ...") == ["the module itself", "f", "A"]
    assert undocumented("") == []


def test_a_machine_path_is_noticed_and_a_relative_one_is_not():
    for folder in MACHINE_FOLDERS:
        assert MACHINE_PATH.search(f'open("/{folder}/someone/data")')
    for harmless in ["docs/" + "home/index.md", "<path>/" + "work/data", "https://a.org/" + "home/x", "/path/to/data"]:
        assert not MACHINE_PATH.search(harmless), harmless
