"""The verb `init`: write the notebooks and the profiles into a folder to work in."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.files import atomic_path
from fico_utils.provenance import project_folder

HELP = "write notebooks and profiles into a folder to work in"
_NOTEBOOKS = ("notebooks", "notebooks/exercises", "notebooks/solutions")
FOLDERS = {**dict.fromkeys(_NOTEBOOKS, "*.ipynb"), "configs": "*.yaml"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="where notebooks/ and configs/ are written")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    folder = Path(options.folder).expanduser()
    pairs = [
        (path, folder / name / path.name)
        for name, pattern in FOLDERS.items()
        for path in sorted(project_folder(name).glob(pattern))
    ]
    for source, target in pairs:
        if target.exists() and target.read_bytes() != source.read_bytes():
            raise InputError(f"{target} is there already and differs; nothing was written, choose another folder")
    for source, target in pairs:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    print(f"Notebooks and profiles are in {folder}; next: cd {folder} && fico run, or jupyter lab notebooks")
    return 0
