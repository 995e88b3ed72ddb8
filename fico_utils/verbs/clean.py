"""The verb `clean`: remove the results of a profile, and nothing else."""

from __future__ import annotations

import argparse
import shutil

from fico_utils import cli
from fico_utils.batch import runner
from fico_utils.errors import InputError
from fico_utils.workspace import PROJECT, profile_settings

HELP = "remove the results of a profile"
#: What a results folder may hold; `clean` removes nothing else.
ARTEFACTS = (
    *("data", "features", "models", "embeddings", "perquery", "metrics", "costs", "tables", "figures"),
    *("own", "runs", "report", "shipped", "metrics.csv", "costs.csv", "claims.csv"),
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
    root = runner.results_root(profile, out)
    if not root.exists():
        return f"Nothing to remove: {root} does not exist."
    runs = root / "runs"
    ours = runs.is_dir() and ((runs / ".lock").is_file() or any(runs.glob("*/manifest.json")))
    if not ours or root.is_symlink() or root in (PROJECT, *PROJECT.parents):
        raise InputError(f"{root} holds no runs/ of ours, so nothing was removed; name a results folder with --out")
    with runner.lock(root):
        for name in ARTEFACTS:
            path = root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        runner.sweep(root)
    left = sorted(path.name for path in root.iterdir())
    if not left:
        root.rmdir()
        return f"Removed {root}."
    return f"Removed the results in {root}; left what this package does not write: {', '.join(left)}."
