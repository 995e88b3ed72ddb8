"""The verb `step`: execute one notebook, unless its step is fresh. Other steps may run beside it."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "run exactly one step, for schedulers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser, changes=True, force=True)
    parser.add_argument("id", metavar="ID", help="of the step, such as 04")


def run(options: argparse.Namespace) -> int:
    """Exit code: 1 where the step failed."""
    from fico_utils.batch import pipeline, runner

    step = pipeline.find_step(pipeline.STEPS, options.id)
    batch = pipeline.prepare_batch(options.profile, options.out, options.changes)
    outcome = runner.run_steps(batch, [step], force=options.force, quiet=options.quiet, beside_others=True)
    return 1 if outcome[step.id] == "failed" else 0
