"""The verb `init`: write the notebooks and the profiles into a folder to work in."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.files import atomic_path
from fico_utils.provenance import project_path

HELP = "write notebooks and profiles into a folder to work in"
#: Folder -> the files of it that are written.
FOLDERS = {
    "notebooks": "[!.]*.*",
    "notebooks/exercises": "*.ipynb",
    "notebooks/solutions": "*.ipynb",
    "configs": "*.yaml",
}
#: What is not for students: paths below the project.
LECTURERS = ("notebooks/solutions", "notebooks/TEACHING.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="where notebooks/ and configs/ are written")
    students = "leave out what is for the lecturer: notebooks/solutions/ and notebooks/TEACHING.md"
    parser.add_argument("--students", action="store_true", help=students)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    folder = Path(options.folder).expanduser()
    files = {"constraints.txt": project_path("constraints.txt")}
    files |= {f"{n}/{path.name}": path for n, names in FOLDERS.items() for path in sorted(project_path(n).glob(names))}
    left_out = LECTURERS if options.students else ()
    pairs = [(path, folder / name) for name, path in files.items() if not name.startswith(left_out)]
    for source, target in pairs:
        if target.exists() and target.read_bytes() != source.read_bytes():
            raise InputError(f"{target} is there already and differs; nothing was written, choose another folder")
    for source, target in pairs:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    print(f"Notebooks and profiles are in {folder}; next: cd {folder} && fico run, or jupyter lab notebooks")
    return 0
