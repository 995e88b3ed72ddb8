"""The command line: ``python -m fico_utils run | step | status | report | check | fetch | clean | evaluate | ...``.

Exit codes: 0 good, 1 a step failed, 2 bad usage or bad input (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fico_utils import __version__
from fico_utils.errors import InputError

#: The profile that recomputes the paper's tables from released files, without a notebook.
RELEASE_PROFILE = "precomputed"


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The argument parser; the options of `evaluate` are added only when `verb` asks for them."""
    top = argparse.ArgumentParser("python -m fico_utils", description=__doc__.splitlines()[0], allow_abbrev=False)
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = partial(verbs.add_parser, allow_abbrev=False)  # a slip must not pass for another option

    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--profile", default="mini", help="a file of configs/, without .yaml (default: mini)")
    common.add_argument(
        "--out",
        metavar="DIR",
        help="results folder (default: results/PROFILE); PROFILE is added where DIR lacks it",
    )
    common.add_argument("--quiet", action="store_true", help="say nothing but problems and the last line")

    changes = argparse.ArgumentParser(add_help=False)
    changes.add_argument(
        *("--set", "-s"),
        **{"action": "append", "default": [], "metavar": "NAME=VALUE", "dest": "changes"},
        help="change a parameter; a YAML literal, a list may be 1,5,10; may be repeated",
    )
    force = argparse.ArgumentParser(add_help=False)
    force.add_argument("--force", action="store_true", help="execute the notebook even where its step is fresh")

    run = add("run", parents=[common, changes, force], help="run the notebooks, then write the report")
    run.add_argument(
        *("--only", "-o"),
        **{"action": "append", "default": [], "metavar": "ID"},
        help="only these steps, such as 04 or 02,03; may be repeated",
    )
    run.add_argument("--from", dest="first", metavar="ID", help="this step and those after it")
    run.add_argument("--dry-run", action="store_true", help="say what would run and why; writes nothing")
    precomputed = add(
        "precomputed", parents=[common, changes], help="recompute the paper's tables from the authors' release"
    )
    precomputed.add_argument("folder", nargs="?", metavar="FOLDER", help="of the release; default: data_dir/released")
    step = add("step", parents=[common, changes, force], help="run exactly one step, for schedulers")
    step.add_argument("id", metavar="ID")
    add("status", parents=[common, changes], help="which steps are fresh, stale or missing, and why")
    report = add("report", parents=[common], help="write the report of what is there, or compare runs")
    report.add_argument("runs", nargs="*", metavar="RUN", help="two or more results folders to show side by side")
    report.add_argument("--across", action="store_true", help="compare although profiles or test splits differ")
    seeds = add("seeds", help="how far the seed moves each number: put runs of one profile together")
    seeds.add_argument("runs", nargs="+", metavar="RUN", help="two or more results folders, each of another seed")
    seeds.add_argument("--to", metavar="FILE", help="CSV to write (default: seeds.csv in the first folder)")
    add("check", parents=[common], help="test the installation")
    fetch = add("fetch", parents=[common, changes], help="say what corpora need, get what may be downloaded, check all")
    fetch.add_argument(
        "corpora", nargs="*", metavar="CORPUS",
        help="an id, a folder of your own by name or path, or released; default: those of the profile",
    )  # fmt: skip
    add("clean", parents=[common], help="remove the results of a profile")
    evaluate = add("evaluate", help="score your own embeddings, codes or similarity matrix")
    if verb == "evaluate":
        from fico_utils.evaluation.command import add_arguments

        add_arguments(evaluate)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of a command line; argparse ends the process itself, with 2, where the usage is wrong."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if sys.version_info < (3, 11):  # noqa: UP036 (a checkout can be run without being installed)
        print(f"Python {sys.version.split()[0]} runs this; set up .venv with 3.11 or newer", file=sys.stderr)
        return 2
    verb = next((a for a in arguments if not a.startswith("-")), None)
    options = parser(verb).parse_args(arguments)
    try:
        return COMMANDS[options.verb](options)
    except InputError as error:
        print(f"fico_utils {options.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0


def _run(options: argparse.Namespace) -> int:
    from fico_utils.batch import housekeeping, pipeline, runner, session

    if options.profile == RELEASE_PROFILE:
        if options.only or options.first or options.force or options.dry_run:
            raise InputError("profile precomputed runs no notebooks; leave out --only, --from, --force and --dry-run")
        return _precomputed(options)
    only = [name for text in options.only for name in text.split(",") if name]
    chosen = pipeline.select(pipeline.STEPS, only, options.first)
    batch = runner.prepare(options.profile, options.out, options.changes)
    if options.dry_run:
        found = runner.states(batch, chosen)
        for step in chosen:
            now = found[step.id]
            skip = now.name == "fresh" and not options.force
            why = f" ({now.name}: {now.why})" if now.why else "" if skip else " (forced)"
            print(f"{step.notebook}: {'skip, fresh' if skip else 'run'}{why}")
        return 0
    housekeeping.require_packages()
    outcome = session.run(batch, chosen, options.force, options.quiet)
    print(_write_report(batch), flush=True)
    return 1 if {"failed", "blocked"} & set(outcome.values()) else 0


def _settings(options: argparse.Namespace, profile: str) -> dict[str, Any]:
    """Parameters of a profile, as the command line changes them."""
    from fico_utils.batch.parameters import overrides
    from fico_utils.workspace import profile_settings

    settings = profile_settings(profile)
    return settings | overrides(options.changes, settings)


def _say(options: argparse.Namespace) -> Callable[[str], None]:
    """What prints a line of progress, or drops it under ``--quiet``."""
    return (lambda line: None) if options.quiet else partial(print, flush=True)


def _precomputed(options: argparse.Namespace) -> int:
    from fico_utils.batch import runner
    from fico_utils.data.fetching import RELEASE
    from fico_utils.display.recomputed import recompute, write_recomputed
    from fico_utils.display.report import write_report
    from fico_utils.workspace import PROJECT, Run

    settings, say = _settings(options, RELEASE_PROFILE), _say(options)
    folder = getattr(options, "folder", None) or PROJECT / settings["data_dir"] / RELEASE
    run = Run(RELEASE_PROFILE, settings["seed"], runner.results_root(RELEASE_PROFILE, options.out), settings)
    with runner.lock(run.root):
        _, sentence = write_recomputed(run, recompute(run, folder, say))
        say(sentence)
        print(write_report(run.root, RELEASE_PROFILE, []))
    return 0


def _step(options: argparse.Namespace) -> int:
    from fico_utils.batch import pipeline, runner, session

    step = pipeline.find(pipeline.STEPS, options.id)
    batch = runner.prepare(options.profile, options.out, options.changes)
    outcome = session.run_one(batch, step, options.force, options.quiet)
    return 1 if outcome == "failed" else 0


def _status(options: argparse.Namespace) -> int:
    from fico_utils.batch import pipeline, runner

    batch = runner.prepare(options.profile, options.out, options.changes)
    found = runner.states(batch)
    steps = [pipeline.find(batch.steps, name) for name in found]
    width = max(len(step.notebook) for step in steps)
    for step in steps:
        now = found[step.id]
        print(f"{step.notebook:<{width}}  {now.name:<11}  {now.why}".rstrip())
    if not options.quiet:
        fresh = sum(now.name == "fresh" for now in found.values())
        print(f"{fresh} of {len(found)} steps are fresh in {batch.root}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from fico_utils.batch import runner

    if options.runs:
        from fico_utils.display.comparison import write_comparison

        print(write_comparison(options.runs, across=options.across))
        return 0
    batch = runner.prepare(options.profile, options.out)
    if not (batch.root / "runs").is_dir():
        raise InputError(f"{batch.root} holds no runs to report; start with: python -m fico_utils run")
    print(_write_report(batch))
    return 0


def _seeds(options: argparse.Namespace) -> int:
    from fico_utils.results.seeds import write_seeds

    print(write_seeds(options.runs, options.to or options.runs[0]))
    return 0


def _write_report(batch: object) -> str:
    from fico_utils.batch import pipeline, runner
    from fico_utils.display.report import write_report

    rows = [
        {"id": name, "notebook": pipeline.find(batch.steps, name).notebook, "state": state.name, "why": state.why}
        for name, state in runner.states(batch).items()
    ]
    return str(write_report(batch.root, batch.profile, rows))


def _check(options: argparse.Namespace) -> int:
    from fico_utils.batch import housekeeping

    lines = housekeeping.check(options.profile, options.out)
    if not options.quiet:
        print("\n".join(f"ok  {line}" for line in lines))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from fico_utils.data.fetching import fetch
    from fico_utils.workspace import PROJECT

    settings = _settings(options, options.profile)
    folder = PROJECT / settings["data_dir"]
    fetch(options.corpora or settings["corpora"], folder, _say(options), progress=not options.quiet)
    return 0


def _clean(options: argparse.Namespace) -> int:
    from fico_utils.batch import housekeeping

    print(housekeeping.clean(options.profile, options.out))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from fico_utils.evaluation import command

    return command.run(options) or 0


COMMANDS = {
    "run": _run,
    "precomputed": _precomputed,
    "step": _step,
    "status": _status,
    "report": _report,
    "seeds": _seeds,
    "check": _check,
    "fetch": _fetch,
    "clean": _clean,
    "evaluate": _evaluate,
}

if __name__ == "__main__":
    sys.exit(main())
