"""The repository as a whole: environments agree, imports point one way, importing costs nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from fico_utils.provenance import PROJECT

PACKAGE = PROJECT / "fico_utils"
BASE = {
    *("errors", "escaping", "registry", "files", "locks", "machine", "manifests", "package_code", "producers"),
    *("progress", "provenance", "profiles", "artifacts", "stopping", "workspace"),
}
#: Folder or module -> what of this package it may import, besides itself and BASE.
MAY_IMPORT = {
    "errors": set(),
    "escaping": set(),
    "registry": {"errors", "escaping"},
    "files": {"errors"},
    "locks": set(),
    "machine": set(),
    "manifests": {"errors", "files"},
    "package_code": set(),
    "producers": set(),
    "progress": set(),
    "stopping": set(),
    "provenance": set(),
    "profiles": {"errors", "provenance", "evaluation"},
    "artifacts": {"errors", "files", "producers", "provenance"},
    "workspace": {"errors", "registry"},
    "data": set(),
    "models": {"data", "evaluation"},  # its measures
    "evaluation": {"data"},
    "costs": {"data", "models", "evaluation", "experiment", "results"},
    "results": {"data", "models", "evaluation"},
    "display": {"evaluation", "results"},  # redrawing needs no model
    "experiment": {"data", "models", "evaluation"},
    "batch": set(),
    "extras": {"data", "models", "evaluation", "costs", "results", "display", "experiment"},
    "__init__": set(),
}
#: Read only where somebody has installed them.
OPTIONAL = {"eccv_caption", "h5py", "lancedb", "pyarrow", "resvg_py"}
HEAVY = {"torch", "faiss", "gensim", "pandas", "matplotlib", "seaborn", "transformers", "papermill"}
#: What may stand at the top of a module, where it is not imported late; the backbone is a torch module too.
AT_TOP = {
    "models": {"torch", "transformers"},
    "data/features.py": {"torch"},
    "extras/versions": {"torch"},
    "extras/pretrained": {"torch", "transformers"},
    "extras/towers": {"torch", "transformers"},
    "display": {"pandas", "matplotlib", "seaborn"},
    "extras/figures": {"pandas", "matplotlib"},
    "extras/deploy/learned.py": {"torch"},
    "extras/pages": {"pandas"},
    **{f"extras/{name}.py": {"pandas"} for name in ("comparison", "readme")},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """``models`` of ``fico_utils/models/scan.py``, ``errors`` of ``fico_utils/errors.py``."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(nodes: list[ast.AST], path: Path) -> set[str]:
    """Dotted names that import statements name, relative ones made absolute."""
    names = set()
    folder = path.parent.relative_to(PROJECT).parts
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*folder[: len(folder) - node.level + 1]] if node.level else []
            base += [node.module] if node.module else []
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


def at_import(tree: ast.Module) -> list[ast.AST]:
    """Nodes that run when the module is imported: not in functions, not for type checkers only."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own, file = part(path), path.relative_to(PACKAGE)
    if own not in ("__main__", "cli", "verbs") and "extras/verbs" not in path.as_posix():
        for name in imported(list(ast.walk(tree)), path):
            if name.startswith("fico_utils."):
                other = name.split(".")[1]
                assert other in MAY_IMPORT[own] | BASE | {own}, f"{own} must not import {name}"
    heavy = {name.split(".")[0] for name in imported(at_import(tree), path)} & HEAVY
    allowed = set().union(*(AT_TOP.get(p.as_posix(), set()) for p in (file, *file.parents)))
    assert heavy <= allowed, f"{heavy} belong inside functions"
    if own == "display":
        everything = {name.split(".")[0] for name in imported(list(ast.walk(tree)), path)}
        assert "torch" not in everything


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Neither when they are imported nor inside a function."""
    dotted = {p: ".".join(p.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__") for p in MODULES}
    needs: dict[str, set[str]] = {}
    for path, module in dotted.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
        left_out = {id(part) for node in typing for part in ast.walk(node)}
        names = imported([n for n in ast.walk(tree) if id(n) not in left_out], path)
        # `from package import module` names the module; `from module import function` is of the module before it
        named = {name if name in dotted.values() else name.rpartition(".")[0] for name in names}
        needs[module] = named.intersection(dotted.values()) - {module}
    assert list(TopologicalSorter(needs).static_order())  # CycleError names the modules


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_private_names_stay_in_their_folder(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in imported(list(ast.walk(tree)), path):
        parts = name.split(".")
        if parts[0] == "fico_utils" and len(parts) > 2 and parts[1] != part(path):
            assert not parts[-1].startswith("_"), f"{name} is private to {parts[1]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_modules_are_documented_and_safe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    assert len(text.splitlines()) <= 300, "a module of this length has two subjects"
    names = imported(list(ast.walk(tree)), path)
    assert not {n for n in names if n.split(".")[0] in ("pickle", "joblib", "shelve", "marshal")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec"), f"{called} in line {node.lineno}"
            if called == "torch.load":
                assert "weights_only=True" in ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    """60 lines below the docstring and 10 parameters; `evaluate` and `deploy`, which users call, may take more."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or body[-1].end_lineno - body[0].lineno < 60, node.name
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            taken += filter(None, [node.args.vararg, node.args.kwarg])
            counted = [a for a in taken if a.arg not in ("self", "cls")]
            assert len(counted) <= 10 or node.name in ("evaluate", "deploy"), node.name


def test_few_public_functions_have_a_name_of_one_word() -> None:
    """A verb's `run` is one of them, as is a golden case, which is named after its producer."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in MODULES]
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    public = [name for name in names if not name.startswith("_")]
    assert sum("_" not in name for name in public) <= 0.15 * len(public)


def test_import_is_fast_and_light() -> None:
    """In seconds of a processor, which a busy machine does not change."""
    code = (
        "import time; t = time.process_time(); import fico_utils; s = time.process_time() - t; import sys; "
        f"print(s, *sorted({HEAVY!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 0.3


def requirement(text: str) -> tuple[str, str]:
    """Name and bounds; conda calls torch pytorch."""
    name, bounds = re.match(r"([\w.-]+?)\s*([<>=~!].*)?$", text.strip()).groups()
    return {"pytorch": "torch"}.get(name.lower(), name.lower()), bounds or ""


def test_environment_equals_pyproject() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = dict(map(requirement, [*project["dependencies"], *(line for extra in extras.values() for line in extra)]))
    wanted["python"] = project["requires-python"]
    lines = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    plain = [line for line in lines if isinstance(line, str) and line != "pip"]
    piped = [line for entry in lines if isinstance(entry, dict) for line in entry["pip"]]
    assert dict(map(requirement, plain + piped)) == wanted


def test_environment_gives_a_reason_for_each_package() -> None:
    lines = (PROJECT / "environment.yml").read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if re.match(r"\s+- [\w-]+>=", line)]
    assert len(packages) > 20
    assert [line for line in packages if "# " not in line] == []


def test_constraints_satisfy_pyproject() -> None:
    text = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): number for name, number in pinned.items()}
    assert pinned["torch"] == "2.13.0"
    assert "/" not in text.partition("\n")[2]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for name, bounds in map(requirement, needed):
        low = re.search(r">=([\d.]+)", bounds).group(1)
        numbers = [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (pinned[name], low)]
        assert numbers[0] >= numbers[1], name


def packages_of(names: Iterable[str]) -> set[str]:
    """The distributions that come with some, extras left out."""
    found, waiting = set(), [*names]
    while waiting:
        if (name := plain_name(waiting.pop())) not in found and find_distribution(name):
            found.add(name)
            needed = [line for line in metadata.requires(name) or [] if "extra ==" not in line]
            waiting += [re.match(r"[\w.-]+", line)[0] for line in needed]
    return found


def plain_name(distribution: str) -> str:
    """A name as all spellings of it are compared."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def find_distribution(name: str) -> metadata.Distribution | None:
    """What is installed under a name, None where nothing is: a requirement of another system."""
    return next(iter(metadata.distributions(name=name)), None)


def test_all_that_the_package_imports_comes_with_what_it_declares() -> None:
    """A package that only the tests bring would be missing on a fresh machine."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = packages_of(requirement(line)[0] for line in project["dependencies"])
    provided = {
        module
        for module, names in metadata.packages_distributions().items()
        if declared.intersection(map(plain_name, names))
    }
    imported: dict[str, Path] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0]: path for name in names}
    known = provided | sys.stdlib_module_names | {PACKAGE.name} | OPTIONAL
    assert {"numpy", "torch", "threadpoolctl"} <= imported.keys()
    assert {name: path for name, path in imported.items() if name not in known} == {}


def test_make_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for target in ("reproduce", "test", "figures", "site", "lab", "clean"):
        assert re.search(rf"^  {target} +\S", done.stdout, re.MULTILINE), target
    command = ["make", "-n", "reproduce", "PROFILE=standard"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "fico_utils run --profile standard" in done.stdout
    assert "figures" not in done.stdout.replace("--set", "")  # what is committed is changed by `make figures` alone
    done = subprocess.run(["make", "-n", "figures"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert 'cp "$file" figures/mini/' in done.stdout
    assert "fico_utils.extras.readme" in done.stdout


def test_every_module_loads_without_what_windows_lacks() -> None:
    """Locks, memory and signals of POSIX: nothing may ask for them while it is imported."""
    names = [path.relative_to(PROJECT).with_suffix("").as_posix().replace("/", ".") for path in MODULES]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    code = f"""
import signal, sys
import psutil  # its own part for this system may use them
import transformers.models.bert.modeling_bert, transformers.models.blip_2.modeling_blip_2  # other people's parts
for name in ("resource", "fcntl"):
    sys.modules[name] = None
for name in ("SIGKILL", "SIGALRM", "SIGHUP"):
    delattr(signal, name)
from importlib import import_module
for name in {names}:
    import_module(name)
from fico_utils import locks, machine
assert machine.usable_cores() >= 1 and machine.peak_memory() > 2**20 and machine.resident_memory() > 2**20
import tempfile, pathlib
with tempfile.TemporaryDirectory() as folder, locks.hold_locks(pathlib.Path(folder), ["a"]):
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_package_data_is_there() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["fico_utils"]
    kept = {f for pattern in patterns for f in PACKAGE.glob(pattern)}
    files = {f for f in PACKAGE.rglob("*") if f.is_file() and f.parent.name != "__pycache__"}
    data = {f for f in files if f.suffix != ".py" and f.name[0] != "."}
    assert data <= kept, f"not installed: {sorted(map(str, data - kept))}"


def test_nothing_large_or_local_is_committed() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = [PROJECT / name for name in done.stdout.split("\0") if name]
    large = [f.name for f in files if f.is_file() and f.stat().st_size > 10 * 2**20]
    assert large == []
    assert [f for f in files if f.suffix in (".pkl", ".pt", ".pth")] == []


def test_no_folder_of_tests_or_doctests_is_passed_over() -> None:
    options = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    folders = {path.parent for top in options["testpaths"] for path in (PROJECT / top).rglob("*.py")}
    passed_over = [f for f in folders if any(fnmatch(f.name, pattern) for pattern in options["norecursedirs"])]
    assert passed_over == []
