"""The verb `clean`: remove the results of a profile, and nothing else."""

from __future__ import annotations

import argparse
import os
import re
from contextlib import suppress
from pathlib import Path

from fico_utils import cli
from fico_utils.artifacts import KEYED, is_artefact
from fico_utils.batch.pipeline import STEPS
from fico_utils.errors import InputError
from fico_utils.files import RECORDED, TEMPORARY, read_json, read_lines
from fico_utils.locks import hold_locks, is_held
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT

HELP = "remove the results of a profile"
_STEPS = "|".join(step.notebook for step in STEPS)
#: Locks of a run, which Windows lets nobody remove while they are held.
LOCKS = re.compile(rf"runs/\.({_STEPS})\.(lock|pid)")
#: Files of a results folder that no step records: of the runner, the report, and what notebook 07 saves by itself.
KNOWN = re.compile(
    rf"runs/(package_code\.json|({_STEPS})/(log\.txt|manifest\.json|{re.escape(RECORDED)}|\2\.ipynb))"
    r"|\.locks/[0-9a-f]{16}\.lock|report/(index\.html|summary\.json|comparison\.html)|seeds\.csv"
    r"|own/data/(images|texts)\.npy"
)
#: Folders that are removed where nothing lies in them; with `KEYED` ones, in which units lay.
FOLDERS = re.compile(
    rf"(own/)?(data|features|models|embeddings|perquery|metrics|costs|tables|figures)|own/data/broken/images|runs/({_STEPS})"
    r"|own|report|runs|\.locks"
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
    with hold_locks(runs, [step.notebook for step in STEPS]):
        if any(map(is_held, (root / ".locks").glob("*.lock"))):
            raise InputError(f"a training or a notebook is writing to {root}, so nothing was removed; wait for it")
        files, folders, foreign = sort_files(root)
        for path in files:
            path.unlink(missing_ok=True)
        for path in runs.glob(".*.lock"):  # whoever waits for a lock that is removed makes a new one
            if LOCKS.fullmatch(path.relative_to(root).as_posix()):
                with suppress(OSError):  # on Windows, where it is removed when it is not held any more
                    path.unlink()
    for folder in sorted(folders, reverse=True):  # the inner before the outer ones
        with suppress(OSError):  # something else lies in it
            folder.rmdir()
    if foreign:
        names = ", ".join(path.relative_to(root).as_posix() for path in foreign)
        print(f"Removed the results in {root}; left what no run of this package wrote: {names}.")
    else:
        print(f"Removed {root}.")
    return 0


def sort_files(root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """In a results folder: the files that this package wrote, locks apart, their folders, and everything else.

    Ours is what a step recorded, what has a header of the store, what is half-written, and `KNOWN`. A link is never
    ours, nor is what lies behind it, nor an empty folder that is not one of `FOLDERS`.
    """
    recorded = recorded_outputs(root)
    files, ours, foreign = [], [], []
    for place, folders, names in os.walk(root, onerror=lambda error: foreign.append(Path(error.filename))):
        folder, inside = Path(place), Path(place).relative_to(root).as_posix()
        foreign += [folder / name for name in folders if (folder / name).is_symlink()]
        if folders or names or FOLDERS.fullmatch(inside) or KEYED.search(folder.name):
            ours.append(folder)
        else:
            foreign.append(folder)
        for path in (folder / name for name in names):
            name = path.relative_to(root).as_posix()
            known = KNOWN.fullmatch(name) or TEMPORARY.fullmatch(path.name) or path in recorded
            if path.is_symlink() or not path.is_file() or not (known or LOCKS.fullmatch(name) or is_artefact(path)):
                foreign.append(path)
            elif not LOCKS.fullmatch(name):
                files.append(path)
    return files, ours, sorted(foreign)


def recorded_outputs(root: Path) -> set[Path]:
    """The files below a results folder that its steps wrote, by their manifests and by what `note` recorded."""
    paths: set[Path] = set()
    for step in STEPS:
        folder = root / "runs" / step.notebook
        with suppress(InputError, KeyError, TypeError):  # a manifest that is missing or broken says nothing
            paths |= {root / row["path"] for row in read_json(folder / "manifest.json")["outputs"]}
        paths |= {Path(str(entry["wrote"])) for entry in read_lines(folder / RECORDED) if "wrote" in entry}
    return paths
