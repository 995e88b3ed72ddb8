"""The verb `clean`: remove the results of a profile, and nothing else."""

from __future__ import annotations

import argparse
import shutil

from fico_utils import cli
from fico_utils.batch.pipeline import STEPS
from fico_utils.errors import InputError
from fico_utils.files import remove_unfinished
from fico_utils.locks import hold_locks
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT

HELP = "remove the results of a profile"
#: What a results folder may hold; `clean` removes nothing else.
ARTEFACTS = (
    *("data", "features", "models", "embeddings", "perquery", "metrics", "costs", "tables", "figures"),
    *("own", "report", ".locks", "shipped", "metrics.csv", "costs.csv", "claims.csv", "stored.csv", "audit.csv"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    profile_settings(options.profile)
    root = results_folder(options.profile, options.out)
    if not root.exists():
        print(f"Nothing to remove: {root} does not exist.")
        return 0
    runs = root / "runs"
    ours = runs.is_dir() and any((*runs.glob("*/manifest.json"), *runs.glob(".*.lock")))
    if not ours or root.is_symlink() or root in (PROJECT, *PROJECT.parents):
        raise InputError(f"{root} holds no runs/ of ours, so nothing was removed; name a results folder with --out")
    with hold_locks(runs, [step.notebook for step in STEPS]):
        for name in ARTEFACTS:
            path = root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        remove_unfinished(root)
    shutil.rmtree(runs)  # when it is not held any more: Windows keeps open files
    left = sorted(path.name for path in root.iterdir())
    if left:
        print(f"Removed the results in {root}; left what this package does not write: {', '.join(left)}.")
    else:
        root.rmdir()
        print(f"Removed {root}.")
    return 0
