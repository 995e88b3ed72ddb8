"""Where this code comes from: the folder of the project, and the commit of the checkout."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def said_by(*command: str) -> str | None:
    """What a program prints when it runs in this checkout; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def commit() -> str:
    """The commit of this checkout, and whether its code was changed since; ``unknown`` where there is no git."""
    head = said_by("git", "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = said_by("git", "status", "--porcelain", "--", "fico_utils/*.py", "configs")
    return f"{head} with uncommitted changes" if changed else head
