"""The verb `check`: is everything installed and recent enough, does it load, is there room for results."""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fico_utils import cli, registry
from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.files import refuse_unwritable
from fico_utils.machine import available_memory, package_version, usable_cores
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT, SHIPPED, project_path

#: Free disk and memory that a run of the mini profile may take, bytes.
DISK = MEMORY = 2 * 2**30

HELP = "test the installation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser)
    verify = "read all results and all that ships, and name what is damaged"
    versions = "compare what every producer computes with what its version promises"
    keep = "with --versions: record that the meaning is the same, or the output of a raised version; all for all"
    machine = "print one line of JSON about this machine instead, also where something is wrong: for a room of machines"
    parser.add_argument("--json", action="store_true", help=machine)
    parser.add_argument("--verify", action="store_true", help=verify)
    parser.add_argument("--versions", action="store_true", help=versions)
    parser.add_argument("--keep", metavar="PRODUCER", help=keep, **cli.REPEATED)


def run(options: argparse.Namespace) -> int:
    """Exit code: 0; 1 where what was read is damaged or a producer differs; 2 where --json names a problem."""
    if options.keep and not options.versions:
        raise InputError("--keep was given without --versions; say check --versions --keep PRODUCER")
    if options.versions:
        return registry.load_entry(registry.VERSIONS_CHECK)(options.keep)
    if options.verify:
        return verify_content(options)
    if options.json:
        row = describe_readiness(options.profile, options.out)
        print(json.dumps(row, ensure_ascii=False))
        return 2 if row["problem"] else 0
    lines = check_installation() + check_folder(options.profile, options.out)
    if not options.quiet:
        print("\n".join(f"ok  {line}" for line in lines))
    return 0


def describe_readiness(profile: str, out: str | None) -> dict[str, Any]:
    """A machine of a room: `host`, `problem` (empty where it is ready), what is free, and packages that differ."""
    problem = ""
    try:
        check_installation()
        check_folder(profile, out)
    except InputError as error:
        problem = one_line(str(error))
    room = {"memory_gib": available_memory(), "disk_gib": shutil.disk_usage(PROJECT).free}
    room = {name: round(size / 2**30, 1) for name, size in room.items()} | {"cores": usable_cores()}
    about = {"python": platform.python_version(), "system": platform.platform(), **room}
    return {"host": platform.node(), "problem": problem, **about, "differs": version_differences()}


def version_differences() -> dict[str, str]:
    """Dependency -> its version here and that of constraints.txt, which the tests run with, where they differ."""
    text = project_path("constraints.txt").read_text(encoding="utf-8").lower()
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))
    here = {
        name: package_version(name) or "missing" for name in re.findall(r"^[\w-]+", "\n".join(requirements()), re.M)
    }
    return {n: f"{v} (tested: {tested[n]})" for n, v in here.items() if v.partition("+")[0] != tested[n]}


def verify_content(options: argparse.Namespace) -> int:
    """Exit code: 0 where artefacts, what ships, and all files that a manifest or the report names are whole, else 1."""
    from fico_utils.artifacts import damaged_artefacts
    from fico_utils.batch.pipeline import file_changes
    from fico_utils.manifests import WRITTEN, read_manifest

    root = results_folder(options.profile, options.out)
    count, damaged = damaged_artefacts(root, SHIPPED)
    problems = [f"{path} {damage}" for path, damage in damaged.items()]
    for path in (*sorted(root.glob("runs/*/manifest.json")), *sorted(root.glob("report/*.json"))):
        try:
            outputs = read_manifest(path, WRITTEN)["outputs"]  # an input may change: its step is stale then
            changes = file_changes({"outputs": outputs}, root)
            problems += [f"{path} says otherwise: {change}" for change in changes]
        except InputError:
            problems.append(f"{path} was cut or changed after it was written")
    for problem in problems:
        print(f"{problem}; delete it, or restore it with git, and run again", file=sys.stderr)
    if not options.quiet:
        print(f"{count - len(damaged)} of {count} artefacts in {root} and {SHIPPED} fit the digest of their content")
    return 1 if problems else 0


def requirements() -> list[str]:
    """The dependencies that a notebook needs, as pyproject.toml lists them, or the installed package."""
    listed = PROJECT / "pyproject.toml"
    if listed.is_file():
        return tomllib.loads(listed.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [text for text in requires("fico-utils") or [] if "extra ==" not in text]


def require_packages() -> None:
    """InputError that says what to install, where a package is missing or too old."""
    problems = {}
    for name, bound in re.findall(r"^([\w-]+)(?:>=([\d.]+))?", "\n".join(requirements()), re.MULTILINE):
        try:
            installed = version(name)
        except PackageNotFoundError:
            problems[name] = f"{name} is missing"
            continue
        is_number, should_be = ([int(part) for part in re.findall(r"\d+", v)[:3]] for v in (installed, bound))
        if is_number < should_be:
            problems[name] = f"{name} {installed} is too old (at least {bound} needed)"
    if problems:
        command = f"{sys.executable} -m pip install -c constraints.txt {' '.join(problems)}"
        raise InputError(f"{', '.join(problems.values())}; install with: {command}")


def check_installation() -> list[str]:
    """One line for each thing that is as it should be: Python, packages, native libraries, font; else InputError."""
    require_packages()
    lines = [f"Python {sys.version.split()[0]}", f"{len(requirements())} packages, each recent enough"]
    if differs := version_differences():
        lines.append("other versions than those tested: " + ", ".join(map(" ".join, differs.items())))
    for name, wheel in (("torch", "torch"), ("faiss", "faiss-cpu")):
        try:
            lines.append(f"{name} {import_module(name).__version__} loads")
        except (ImportError, OSError) as error:
            command = f"{sys.executable} -m pip install --force-reinstall -c constraints.txt {wheel}"
            problem = str(error).splitlines()[0]
            raise InputError(f"{name} is installed but does not load ({problem}); reinstall with: {command}") from error
    font = Path(find_spec("matplotlib").origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    if not font.is_file():
        raise InputError(f"the font {font} is missing, PictoScenes is drawn from it; reinstall matplotlib")
    return [*lines, "the font that PictoScenes is drawn from"]


def check_folder(profile: str, out: str | None) -> list[str]:
    """A line that the results folder can be written, and one on its disk; InputError where one is not so."""
    profile_settings(profile)
    root = results_folder(profile, out)
    place = next(folder for folder in (root, *root.parents) if folder.exists() or folder.is_symlink())
    with refuse_unwritable(root), tempfile.TemporaryFile(dir=place):
        free = shutil.disk_usage(place).free
    if free < DISK:
        needed = f"{DISK / 2**30:.0f} GiB needed"
        raise InputError(f"{free / 2**30:.1f} GiB free at {root}; {needed}, free some or use --out")
    if available_memory() < MEMORY:
        needed = f"{MEMORY / 2**30:.0f} GiB needed, close other programs"
        raise InputError(f"{available_memory() / 2**30:.1f} GiB of memory free; {needed}")
    memory = f"{available_memory() / 2**30:.0f} GiB of memory free"
    return [f"results folder {root} can be written", f"{free / 2**30:.0f} GiB of disk free", memory]
