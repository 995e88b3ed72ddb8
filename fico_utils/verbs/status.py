"""The verb `status`: which steps are fresh, stale, missing or running, and why."""

from __future__ import annotations

import argparse

from fico_utils import cli

HELP = "which steps are fresh, stale or missing, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser, changes=True)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch.pipeline import prepare_batch, step_states

    batch = prepare_batch(options.profile, options.out, options.changes)
    states = step_states(batch)
    width = max(len(step.notebook) for step in states)
    for step, state in states.items():
        print(f"{step.notebook:<{width}}  {state.name:<11}  {state.why}".rstrip())
    if not options.quiet:
        fresh = sum(state.name == "fresh" for state in states.values())
        print(f"{fresh} of {len(states)} steps are fresh in {batch.root}")
    return 0
