"""Where this code comes from: the folder of the project, and the commit of the checkout."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import fico_utils

PACKAGE = Path(__file__).resolve().parent
#: Whether this code lies in a checkout of the project, and not in an installed package.
IN_CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file()


def find_project() -> Path:
    """The folder with ``notebooks/`` and ``configs/``, below which results go.

    It is the checkout; for an installed package, the nearest such folder from the current one upwards, as ``fico init``
    makes it, and the current folder where there is none.
    """
    if IN_CHECKOUT:
        return PACKAGE.parent
    here = Path.cwd()
    made = (f for f in (here, *here.parents) if (f / "notebooks").is_dir() and (f / "configs").is_dir())
    return next(made, here)


PROJECT = find_project()
#: The weights, vocabularies and labels that ship, a folder a profile.
SHIPPED = PACKAGE / "weights"


def project_path(name: str) -> Path:
    """``notebooks``, ``configs`` or a file of the project; where it has none, the copy in the installed package."""
    path = PROJECT / name
    return path if path.exists() else PACKAGE / "_project" / name


def said_by(*command: str) -> str | None:
    """What a program prints when it runs in this checkout; None where it fails or is missing, as git is without one."""
    if shutil.which(command[0]) is None or (command[0] == "git" and not IN_CHECKOUT):
        return None
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def commit() -> str:
    """The commit of this checkout, and whether its code was changed since; the release where a package is installed.

    ``unknown`` where there is no git.
    """
    if not IN_CHECKOUT:
        return f"release {fico_utils.__version__}"
    head = said_by("git", "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = said_by("git", "status", "--porcelain", "--", "fico_utils/*.py", "configs")
    return f"{head} with uncommitted changes" if changed else head
