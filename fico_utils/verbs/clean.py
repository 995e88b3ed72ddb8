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
    """Add the arguments of `clean`."""
    cli.add_common_options(parser)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    print(remove_results(options.profile, options.out))
    return 0


def remove_results(profile: str, out: str | None) -> str:
    """A sentence on what was removed: the results of one profile, and nothing that is not ours.

    Raises
    ------
    InputError
        The folder does not look like results, or a run is writing to it.
    """
    profile_settings(profile)
    root = results_folder(profile, out)
    if not root.exists():
        return f"Nothing to remove: {root} does not exist."
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
    if not left:
        root.rmdir()
        return f"Removed {root}."
    return f"Removed the results in {root}; left what this package does not write: {', '.join(left)}."
