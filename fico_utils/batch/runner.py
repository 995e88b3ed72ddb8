"""Run a step once: skip it when its content key is known, else execute its notebook and write the manifest.

The manifest is written last and atomically: no manifest, no success. Killing a run loses the step that was
running and nothing else, and inside that step only the artefact being made, as each has its own key.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fico_utils import registry
from fico_utils.batch import keys, manifest, process
from fico_utils.batch.parameters import declared, overrides, read_notebook, suggestion
from fico_utils.batch.pipeline import STEPS, Step
from fico_utils.errors import InputError
from fico_utils.workspace import PROJECT, atomic_path, profile_settings, read_json, write_json

#: What `atomic_path` calls a file that is being written.
TEMPORARY = re.compile(r"^\..+-[a-z0-9_]{8}(\.[^.]*)?$")


@dataclass
class Batch:
    """A profile, the folder its results go to, and the notebooks that make them.

    Attributes
    ----------
    profile : str
    root : Path, ``<out_dir>/<profile>``.
    settings : dict, every parameter of the profile, as overridden.
    changed : dict, the overrides alone.
    notebooks : dict, step id -> the notebook's JSON.
    folder : Path of the notebooks.
    steps : tuple of Step
    """

    profile: str
    root: Path
    settings: dict[str, Any]
    changed: dict[str, Any]
    notebooks: dict[str, dict[str, Any]]
    folder: Path
    steps: Sequence[Step] = STEPS
    hashes: keys.Hashes = field(default_factory=keys.Hashes)

    def runs(self, step: Step, *parts: str) -> Path:
        """Path below the step's folder in ``runs/``."""
        return self.root.joinpath("runs", step.notebook, *parts)


@dataclass(frozen=True)
class State:
    """Whether a step has to run (``fresh``, ``stale``, ``missing``, ``failed``, ``interrupted``), and why."""

    name: str
    why: str = ""


def results_root(profile: str, out: str | None) -> Path:
    """Folder of a profile's results: `out` where it ends with the profile's name, else ``<out>/<profile>``.

    >>> results_root("mini", "/data/results").as_posix()
    '/data/results/mini'
    >>> results_root("mini", "/data/results/mini").as_posix()
    '/data/results/mini'
    """
    folder = PROJECT / "results" if out is None else Path(out).expanduser().absolute()
    return folder if folder.name == profile else folder / profile


def prepare(
    profile: str = "mini",
    out: str | None = None,
    changes: Sequence[str] = (),
    folder: Path | None = None,
    steps: Sequence[Step] = STEPS,
) -> Batch:
    """The `Batch` of a command line, checked before anything starts; writes nothing.

    Raises
    ------
    InputError
        Unknown profile, a missing notebook, an unknown parameter or a value of another type.
    """
    settings = profile_settings(profile)
    folder = folder or PROJECT / "notebooks"
    notebooks = {step.id: read_notebook(folder / f"{step.notebook}.ipynb") for step in steps}
    known = {name: value for notebook in notebooks.values() for name, value in declared(notebook).items()}
    changed = overrides(changes, {**known, **settings})
    settings |= changed
    check_ids(settings)
    return Batch(profile, results_root(profile, out), settings, changed, notebooks, folder, steps)


def check_ids(settings: dict[str, Any]) -> None:
    """InputError that suggests another name, where a setting names a corpus or a system that nobody knows."""
    registry.add_folders(PROJECT / settings["data_dir"])
    systems = {**registry.SYSTEMS, **registry.configured(settings["pretrained"])}
    for setting, known in (("corpora", registry.CORPORA), ("systems", systems)):
        for name in settings[setting]:
            if name not in known:
                raise InputError(f"{setting} names {name!r}, which is unknown; {suggestion(name, known)}")


def state(batch: Batch, step: Step) -> tuple[State, dict[str, Any]]:
    """Whether `step` is fresh and why not, and the parts of its present key."""
    inputs = batch.hashes.matching(batch.root, step.inputs)
    parts = keys.key_parts(batch.notebooks[step.id], batch.settings, inputs, batch.hashes)
    path = batch.runs(step, "manifest.json")
    if not path.is_file():
        begun = batch.runs(step, "log.txt").is_file()
        return State("interrupted", "the last run did not end") if begun else State("missing", "never run"), parts
    try:
        record = read_json(path)
        if record["status"] != "ok":
            failed = record["failure"]
            return State("failed", f"cell {failed['cell'] or '?'}: {failed['error']}"), parts
        why = keys.difference(record["key_parts"], parts)
        outputs = {row["path"]: row["sha256"] for row in record["outputs"]}
    except (InputError, KeyError, TypeError):
        return State("stale", "its manifest is not readable"), parts
    for name, digest in outputs.items():
        output = batch.root / name
        if not output.is_file():
            return State("stale", f"output missing: {name}"), parts
        if not why and batch.hashes.of(output) != digest:
            return State("stale", f"output changed: {name}"), parts
    return State("stale", why) if why else State("fresh"), parts


def states(batch: Batch, chosen: Sequence[Step] | None = None) -> dict[str, State]:
    """Step id -> `State` of the chosen steps, or of all; one whose inputs will be made anew is stale as well.

    Without a choice, a step that stands aside counts once it was run.
    """
    found: dict[str, State] = {}
    if chosen is None:
        chosen = [step for step in batch.steps if not step.aside or batch.runs(step).is_dir()]
    for step in chosen:
        own, _ = state(batch, step)
        waiting = [need for need in step.needs if need in found and found[need].name != "fresh"]
        found[step.id] = State("stale", f"follows {waiting[0]}") if own.name == "fresh" and waiting else own
    return found


@contextmanager
def lock(root: Path, step: Step | None = None) -> Iterator[None]:
    """Hold the results folder: alone for a whole run, together with other steps' holders for one `step`.

    Raises
    ------
    InputError
        Someone else holds it, or the folder cannot be written.
    """
    import fcntl

    folder = root / "runs"
    with atomic_path(folder / ".writable"):
        pass
    with suppress(FileNotFoundError):
        (folder / ".writable").unlink()
    wanted = [(".lock", fcntl.LOCK_EX)]
    if step is not None:
        wanted = [(".lock", fcntl.LOCK_SH), (f".{step.notebook}.lock", fcntl.LOCK_EX)]
    handles = []
    try:
        for name, mode in wanted:
            handles.append(open(folder / name, "a"))  # noqa: SIM115 (held until the block ends)
            try:
                fcntl.flock(handles[-1], mode | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"another run is writing to {root}; wait for it or choose another folder with --out"
                ) from error
        yield
    finally:
        for handle in handles:
            handle.close()


def sweep(root: Path) -> None:
    """Remove the half-written files that a killed run left."""
    for path in root.rglob(".*"):
        if path.is_file() and TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)


def run_step(batch: Batch, step: Step, on_cell: Callable[[str], None] = lambda heading: None) -> dict[str, Any]:
    """The manifest of one execution of a step's notebook, just written.

    `on_cell` is called with the heading of each cell that starts. On KeyboardInterrupt the notebook is ended,
    what it was writing is removed, and no manifest is left.
    """
    _, before = state(batch, step)
    folder = batch.runs(step)
    folder.mkdir(parents=True, exist_ok=True)
    batch.runs(step, "manifest.json").unlink(missing_ok=True)
    own = declared(batch.notebooks[step.id])
    parameters = {name: batch.settings.get(name, value) for name, value in own.items()}
    if "out_dir" in own:
        parameters["out_dir"] = str(batch.root.parent)
    threads = min(int(batch.settings.get("threads", os.cpu_count() or 1)), os.cpu_count() or 1)
    partial = folder / f".{step.notebook}-unfinish.ipynb"
    began, clock = datetime.now(UTC), time.monotonic()
    request = {
        "notebook": str(batch.folder / f"{step.notebook}.ipynb"),
        "output": str(partial),
        "cwd": str(batch.folder),
        "parameters": parameters,
    }
    try:
        events = process.execute(
            request, batch.runs(step, "log.txt"), process.environment(batch.changed, threads), on_cell
        )
        executed = read_notebook(partial) if partial.stat().st_size else {"cells": []}
        os.replace(partial, folder / f"{step.notebook}.ipynb")
    except FileNotFoundError:
        executed = {"cells": []}
    finally:
        partial.unlink(missing_ok=True)
        process.quieten(batch.runs(step, "log.txt"))
    wall = time.monotonic() - clock
    failed = manifest.failure(executed["cells"], events)
    if failed is None and not executed["cells"]:
        failed = {
            "cell": "",
            "heading": "",
            "error": "the worker process ended without a notebook; see log.txt",
        }
    rows, untracked = manifest.phases(executed["cells"], wall)
    # A notebook makes the inputs that it misses, so they are read again; the code is what it was before.
    inputs = batch.hashes.matching(batch.root, step.inputs)
    parts = {**before, "inputs": inputs}
    record = {
        "step": step.id,
        "notebook": step.notebook,
        "status": "failed" if failed else "ok",
        "failure": failed,
        "key": keys.key(parts),
        "profile": batch.profile,
        "parameters": parameters,
        "seed": batch.settings.get("seed"),
        "threads": {"native": threads, "PYTHONHASHSEED": "0"},
        "start": began.isoformat(timespec="seconds"),
        "end": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(wall, 3),
        "phases": rows,
        "untracked_seconds": untracked,
        "peak_memory_bytes": events.get("peak"),
        "git": manifest.git(),
        "environment": manifest.environment(),
        "inputs": manifest.files(batch.root, inputs),
        "outputs": manifest.files(batch.root, batch.hashes.matching(batch.root, step.outputs)),
        "key_parts": parts,
    }
    write_json(folder / "manifest.json", record)
    return record
