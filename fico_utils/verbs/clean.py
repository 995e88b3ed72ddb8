"""The verb `clean`: remove the results of a profile, and nothing else."""

from __future__ import annotations

import argparse
import os
import re
from contextlib import nullcontext, suppress
from pathlib import Path

from fico_utils import cli
from fico_utils.artifacts import KEYED, is_artefact
from fico_utils.batch.pipeline import STEPS
from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.files import RECORDED, TEMPORARY, read_json, read_notes
from fico_utils.locks import hold_locks, is_held
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT

HELP = "remove the results of a profile"
_STEPS = "|".join(step.notebook for step in STEPS)
#: Files of a results folder that no step notes: of the runner, the report, the site, and what notebook 07 saves by
#: itself. With a slash behind them, the folders that go even where nothing lies in them.
KNOWN = re.compile(
    rf"runs/(package_code\.json|\.({_STEPS}|site)\.(lock|pid)|({_STEPS})/(log\.txt|manifest\.json|{RECORDED})?)"
    rf"|runs/({_STEPS})/\6\.(ipynb|html)|report/((index|comparison|explorer)\.html|(summary|comparison|explorer)\.json)?|(site|\.site-\w+)(/.*)?|seeds\.csv|runs/"
    r"|(own/)?\.locks/([0-9a-f]{16}\.lock)?|own/"
    r"|(own/)?(data|features|models|embeddings|perquery|metrics|costs|tables|figures)/|own/data/broken/images/"
    r"|own/data/(images|texts)\.npy|slides\.pdf"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_common_options(parser)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    profile_settings(options.profile)
    root = results_folder(options.profile, options.out)
    if not root.exists():
        print(f"Nothing to remove: {root} does not exist.")
        return 0
    runs = root / "runs"
    ours = runs.is_dir() and any((*runs.glob("*/manifest.json"), *runs.glob(".*.lock")))
    if not ours or root.is_symlink() or root in (PROJECT, *PROJECT.parents):
        raise InputError(f"{root} holds no runs/ of ours, so nothing was removed; name a results folder with --out")
    with hold_locks(runs, [*(step.notebook for step in STEPS), "site"]):
        if any(map(is_held, (root / ".locks").glob("*.lock"))):
            raise InputError(f"a training or a notebook is writing to {root}, so nothing was removed; wait for it")
        files, folders, foreign = sort_results(root)
        for path in files:
            with suppress(OSError) if path.suffix == ".lock" else nullcontext():  # Windows keeps what is held
                path.unlink(missing_ok=True)
    for folder in folders:
        with suppress(OSError):  # something else lies in it
            folder.rmdir()
    if foreign:
        names = ", ".join(sorted(one_line(path.relative_to(root).as_posix()) for path in foreign))
        print(f"Removed the results in {root}; left what no run of this package wrote: {names}.")
    else:
        print(f"Removed {root}.")
    return 0


def sort_results(root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The files and the folders, the inner ones first, of a results folder that are ours, and everything else.

    Ours is what a step noted, what has a header of the store, what is half-written, and what is `KNOWN`. A link is
    never ours, nor is what lies behind it, nor an empty folder that is not `KNOWN` and held no units.
    """
    files, ours, unreadable, foreign = [], [], [], []
    noted = noted_outputs(root)
    for place, folders, names in os.walk(root, topdown=False, onerror=unreadable.append):
        folder = Path(place)
        foreign += [folder / name for name in folders if (folder / name).is_symlink()]
        for path in (folder / name for name in names):
            known = (
                path in noted or TEMPORARY.fullmatch(path.name) or KNOWN.fullmatch(path.relative_to(root).as_posix())
            )
            regular = path.is_file() and not path.is_symlink()
            (files if regular and (known or is_artefact(path)) else foreign).append(path)
        known = KNOWN.fullmatch(f"{folder.relative_to(root).as_posix()}/") or KEYED.search(folder.name)
        (ours if folders or names or known else foreign).append(folder)
    return files, ours, foreign + [Path(error.filename) for error in unreadable]


def noted_outputs(root: Path) -> set[Path]:
    """What the steps of a results folder wrote, by their manifests and by what `note` wrote down."""
    paths: set[Path] = set()
    for folder in (root / "runs" / step.notebook for step in STEPS):
        with suppress(InputError, KeyError, TypeError):  # a manifest that is missing or broken says nothing
            paths |= {root / row["path"] for row in read_json(folder / "manifest.json")["outputs"]}
        paths |= {Path(str(entry["wrote"])) for entry in read_notes(folder / RECORDED) if "wrote" in entry}
    return paths
