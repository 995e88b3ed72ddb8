"""The verb `status`: which steps are fresh, stale, missing or running, and why."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "which steps are fresh, stale or missing, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`."""
    cli.add_common_options(parser, changes=True)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch import pipeline, runner

    batch = runner.prepare_batch(options.profile, options.out, options.changes)
    states = runner.step_states(batch)
    steps = [pipeline.find_step(batch.steps, name) for name in states]
    width = max(len(step.notebook) for step in steps)
    for step in steps:
        state = states[step.id]
        print(f"{step.notebook:<{width}}  {state.name:<11}  {state.why}".rstrip())
    if not options.quiet:
        fresh = sum(state.name == "fresh" for state in states.values())
        print(f"{fresh} of {len(states)} steps are fresh in {batch.root}")
    return 0
