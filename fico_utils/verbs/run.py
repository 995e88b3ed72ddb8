"""The verb `run`: execute the notebooks whose steps are not fresh, then write the report."""

from __future__ import annotations

import argparse

from fico_utils import cli
from fico_utils.errors import InputError

HELP = "run the notebooks, then write the report"
#: The profile that recomputes the paper's tables from released files, without a notebook: a verb of its own.
RELEASE_PROFILE = "precomputed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser, changes=True, force=True)
    only = "only these steps, such as 04 or 02,03; may be repeated"
    parser.add_argument("--only", "-o", metavar="ID", help=only, **cli.REPEATED)
    parser.add_argument("--from", dest="first", metavar="ID", help="this step and those after it")
    jobs = "steps that may run at a time (default: cores by threads of the profile)"
    parser.add_argument("--jobs", type=cli.natural_number, metavar="N", help=jobs)
    parser.add_argument("--dry-run", action="store_true", help="say what would run and why; writes nothing")


def run(options: argparse.Namespace) -> int:
    """Exit code: 1 where a step failed."""
    from fico_utils.batch import pipeline, runner
    from fico_utils.machine import usable_cores
    from fico_utils.verbs.check import require_packages

    if options.profile == RELEASE_PROFILE:
        if options.only or options.first or options.force or options.dry_run:
            raise InputError("profile precomputed runs no notebooks; leave out --only, --from, --force and --dry-run")
        return cli.find_verbs("precomputed")["precomputed"].run(options)
    only = [name for text in options.only for name in text.split(",") if name]
    chosen = pipeline.select_steps(pipeline.STEPS, only, options.first)
    batch = pipeline.prepare_batch(options.profile, options.out, options.changes)
    if options.dry_run:
        for step, state in pipeline.step_states(batch, chosen).items():
            skip = state.name == "fresh" and not options.force
            why = f" ({state.name}: {state.why})" if state.why else "" if skip else " (forced)"
            print(f"{step.notebook}: {'skip, fresh' if skip else 'run'}{why}")
        return 0
    require_packages()
    jobs = options.jobs or max(1, usable_cores() // batch.threads)
    outcome = runner.run_steps(batch, chosen, force=options.force, quiet=options.quiet, jobs=jobs)
    print(cli.update_report(batch), flush=True)
    return 1 if {"failed", "blocked"} & set(outcome.values()) else 0
