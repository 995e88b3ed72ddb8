"""The verb `train`: train one system on one corpus, unless this run has its weights. Schedulers call it."""

from __future__ import annotations

import argparse
from typing import Any

from fico_utils import cli, registry
from fico_utils.errors import InputError

HELP = "train one system on one corpus, for schedulers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser, changes=True)
    parser.add_argument("system", metavar="SYSTEM", help="id of a system that the profile trains, such as ucch")
    parser.add_argument("corpus", metavar="CORPUS", help="id of a corpus of the profile, such as picto_people")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    from fico_utils.batch.pipeline import prepare_batch
    from fico_utils.profiles import suggest_name
    from fico_utils.workspace import setup

    batch = prepare_batch(options.profile, options.out, options.changes, steps=())
    settings = batch.settings
    trained = trained_systems(settings)
    for kind, name, known in (("system", options.system, trained), ("corpus", options.corpus, settings["corpora"])):
        if name not in known:
            raise InputError(f"profile {options.profile} trains no {kind} {name!r}; {suggest_name(name, known)}")
    made = setup(**settings)
    from fico_utils import experiment

    experiment.train(made, options.system, options.corpus)
    print(f"weights of {options.system} on {options.corpus} in {made.path('models')}")
    return 0


def trained_systems(settings: dict[str, Any]) -> dict[str, str]:
    """Id of each system that the settings train, those with epochs -> id of the step whose notebook shows it."""
    rows = [registry.system(name) for name in settings["systems"] if name not in settings["pretrained"]]
    return {row.trained: "03" if row.family == "cg" else "02" for row in rows if row.trained in settings["epochs"]}
