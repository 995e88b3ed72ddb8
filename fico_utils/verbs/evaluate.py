"""The verb `evaluate`: score your own embeddings, codes or similarity matrix."""

from __future__ import annotations

import argparse

HELP = "score your own embeddings, codes or similarity matrix"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    from fico_utils.evaluation import command

    command.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.evaluation import command

    return command.run(options) or 0
