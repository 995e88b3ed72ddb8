"""The verb `check`: is everything installed and recent enough, does it load, is there room for results."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from fico_utils import cli
from fico_utils.errors import InputError
from fico_utils.files import atomic_path
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT, SHIPPED

#: Distributions whose module is called otherwise.
MODULES = {"faiss-cpu": "faiss", "pillow": "PIL", "pyyaml": "yaml"}
#: Free space that a run of the mini profile may take, bytes.
DISK = 2 * 2**30

HELP = "test the installation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    cli.add_common_options(parser)
    parser.add_argument(
        "--verify", action="store_true", help="read all results and all that ships, and name what is damaged"
    )
    parser.add_argument(
        "--versions", action="store_true", help="compare what every producer computes with what its version promises"
    )
    parser.add_argument(
        "--keep", action="append", default=[], metavar="PRODUCER",
        help="with --versions: record that the meaning is the same, or the output of a raised version; all for all",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Exit code: 0, or 1 where something that was read is damaged or a producer differs from its version."""
    if options.keep and not options.versions:
        raise InputError("--keep was given without --versions; say check --versions --keep PRODUCER")
    if options.versions:
        from fico_utils.versions import check_versions

        return check_versions(options.keep)
    if options.verify:
        return verify_content(options)
    lines = check_installation(options.profile, options.out)
    if not options.quiet:
        print("\n".join(f"ok  {line}" for line in lines))
    return 0


def verify_content(options: argparse.Namespace) -> int:
    """Exit code: 0 where every artefact of the results and every shipped file fits its digest, else 1."""
    from fico_utils.artifacts import damaged_artefacts

    root = results_folder(options.profile, options.out)
    count, damaged = damaged_artefacts(*filter(Path.is_dir, (root, SHIPPED)))
    for path, damage in damaged.items():
        print(f"{path} {damage}; delete it, or restore it with git, and run again", file=sys.stderr)
    if not options.quiet:
        print(f"{count - len(damaged)} of {count} artefacts in {root} and {SHIPPED} fit the digest of their content")
    return 1 if damaged else 0


def requirements() -> list[str]:
    """The dependencies that a notebook needs, as pyproject.toml lists them, or the installed package."""
    listed = PROJECT / "pyproject.toml"
    if listed.is_file():
        return tomllib.loads(listed.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [text for text in requires("fico-utils") or [] if "extra ==" not in text]


def package_problems(needed: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Packages that are missing, and packages that are older than required; each as it is called for pip."""
    missing, old = [], []
    for requirement in requirements() if needed is None else needed:
        name, bound = re.match(r"([\w-]+)(?:>=([\d.]+))?", requirement).groups()
        try:
            installed = version(name)
            if find_spec(MODULES.get(name, name)) is None:
                raise PackageNotFoundError(name)
        except (PackageNotFoundError, ValueError):
            missing.append(name)
            continue
        if bound and _numbers(installed) < _numbers(bound):
            old.append(f"{name} {installed} (at least {bound} needed)")
    return missing, old


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def require_packages() -> None:
    """InputError that says what to install, where a package is missing or too old."""
    missing, old = package_problems()
    parts = [f"{', '.join(missing)} missing"] if missing else []
    parts += [f"{', '.join(old)} too old"] if old else []
    if parts:
        names = " ".join([*missing, *(text.split()[0] for text in old)])
        raise InputError(
            f"{' and '.join(parts)}; install with: {sys.executable} -m pip install -c constraints.txt {names}"
        )


def check_installation(profile: str, out: str | None) -> list[str]:
    """One line per thing that was found good: Python, packages, native libraries, font, disk, results folder.

    Raises
    ------
    InputError
        The first thing that is not, and what to do about it.
    """
    lines = [f"Python {sys.version.split()[0]}"]
    require_packages()
    lines.append(f"{len(requirements())} packages, each recent enough")
    for name in ("torch", "faiss"):
        try:
            module = __import__(name)
        except (ImportError, OSError) as error:
            wheel = "faiss-cpu" if name == "faiss" else name
            raise InputError(
                f"{name} is installed but does not load ({str(error).splitlines()[0]}); reinstall with: "
                f"{sys.executable} -m pip install --force-reinstall -c constraints.txt {wheel}"
            ) from error
        lines.append(f"{name} {module.__version__} loads")
    font = Path(find_spec("matplotlib").origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    if not font.is_file():
        raise InputError(f"the font {font} is missing, PictoScenes is drawn from it; reinstall matplotlib")
    lines.append("the font that PictoScenes is drawn from")
    profile_settings(profile)
    root = results_folder(profile, out)
    existed = next(folder for folder in (root, *root.parents) if folder.exists())
    with atomic_path(root / ".writable"):
        pass
    (root / ".writable").unlink()
    lines.append(f"results folder {root} can be written")
    free = shutil.disk_usage(root).free
    for folder in (root, *root.parents):  # what was made for the trial goes again
        if folder == existed:
            break
        folder.rmdir()
    if free < DISK:
        raise InputError(
            f"{free / 2**30:.1f} GiB free at {root}; {DISK / 2**30:.0f} GiB needed, free some or use --out"
        )
    lines.append(f"{free / 2**30:.0f} GiB of disk free")
    return lines
