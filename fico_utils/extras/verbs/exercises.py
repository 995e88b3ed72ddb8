"""The verb `exercises`: derive the exercises from their solutions."""

from __future__ import annotations

import argparse

HELP = "derive the exercises from notebooks/solutions/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.extras.exercises import write_exercises
    from fico_utils.provenance import PROJECT

    for path in write_exercises(PROJECT / "notebooks"):
        print(path.relative_to(PROJECT))
    return 0
