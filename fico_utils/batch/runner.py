"""One step: is it fresh, and if not, execute its notebook and write its manifest.

The manifest is written last and atomically: no manifest, no success. Killing a run loses the step that was running and
nothing else, and inside that step only the artefact being made, as each has its own recipe.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from fico_utils import registry
from fico_utils.batch import freshness
from fico_utils.batch.notebook import Execution, declared_parameters, kernel_environment, read_notebook
from fico_utils.batch.pipeline import STEPS, Step
from fico_utils.errors import InputError
from fico_utils.files import key_of, read_json, write_json
from fico_utils.locks import lock_owner
from fico_utils.machine import describe_machine, usable_cores
from fico_utils.overrides import read_overrides, suggest_name
from fico_utils.package_code import package_digest
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT, said_by


@dataclass
class Batch:
    """A profile, the folder its results go to, and the notebooks that make them.

    Attributes
    ----------
    root : Path, ``<out_dir>/<profile>``.
    settings : dict, every parameter of the profile, as overridden.
    changed : dict, the overrides alone.
    notebooks : dict, step id -> the notebook's JSON.
    folder : Path of the notebooks.
    """

    profile: str
    root: Path
    settings: dict[str, Any]
    changed: dict[str, Any]
    notebooks: dict[str, dict[str, Any]]
    folder: Path
    steps: Sequence[Step] = STEPS

    def runs(self, step: Step, *parts: str) -> Path:
        """Path below the step's folder in ``runs/``."""
        return self.root.joinpath("runs", step.notebook, *parts)

    @property
    def threads(self) -> int:
        """Native threads of each step."""
        return max(1, min(int(self.settings.get("threads", usable_cores())), usable_cores()))

    @cached_property
    def package(self) -> str:
        """Digest of the package's code."""
        return package_digest(self.root / "runs" / "package_code.json")

    def parts(self, step: Step) -> dict[str, Any]:
        """What a step is made from now, besides files."""
        return freshness.step_parts(self.notebooks[step.id], self.settings, self.package)


@dataclass(frozen=True)
class State:
    """Whether a step has to run, and why: fresh, stale, missing, failed, interrupted or running."""

    name: str
    why: str = ""


def prepare_batch(
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
        Unknown profile, a missing notebook, an unknown parameter, corpus or system, or a value of another type.
    """
    settings = profile_settings(profile)
    folder = folder or PROJECT / "notebooks"
    if steps and not folder.is_dir():
        raise InputError(f"{folder} does not exist; make a folder to work in with: fico init FOLDER, and run in there")
    notebooks = {step.id: read_notebook(folder / f"{step.notebook}.ipynb") for step in steps}
    known = {name: value for content in notebooks.values() for name, value in declared_parameters(content).items()}
    changed = read_overrides(changes, {**known, **settings})
    settings |= changed
    registry.use_rows(registry.rows_of_run(settings, PROJECT / settings["data_dir"]))
    for setting, ids in (("corpora", registry.known_corpora()), ("systems", registry.systems())):
        for name in settings[setting]:
            if name not in ids:
                raise InputError(f"{setting} names {name!r}, which is unknown; {suggest_name(name, ids)}")
    return Batch(profile, results_folder(profile, out), settings, changed, notebooks, folder, steps)


def step_state(batch: Batch, step: Step) -> State:
    """Whether one step is fresh, and why not."""
    path = batch.runs(step, "manifest.json")
    if not path.is_file():
        if not batch.runs(step, "log.txt").is_file():
            return State("missing", "never run")
        running = lock_owner(batch.root / "runs", step.notebook)
        return State("running") if running else State("interrupted", "the last run did not end")
    try:
        record = read_json(path)
        if record["status"] != "ok":
            failed = record["failure"]
            return State("failed", f"cell {failed['cell'] or '?'}: {failed['error']}")
        why = freshness.part_differences(record["key_parts"], batch.parts(step))
        for kind in ("output", "input"):
            for row in [] if why else record[f"{kind}s"]:
                changed = freshness.file_difference(row, batch.root)
                why = why or (f"{kind} {changed}: {row['path']}" if changed else "")
    except (InputError, KeyError, TypeError, AttributeError):
        why = "its manifest is not readable"
    return State("stale", why) if why else State("fresh")


def step_states(batch: Batch, chosen: Sequence[Step] | None = None) -> dict[str, State]:
    """Step id -> `State` of the chosen steps, or of all; one whose inputs will be made anew is stale as well.

    Without a choice, a step that stands aside counts once it was run.
    """
    states: dict[str, State] = {}
    if chosen is None:
        chosen = [step for step in batch.steps if not step.aside or batch.runs(step).is_dir()]
    for step in chosen:
        state = step_state(batch, step)
        waiting = [need for need in step.needs if need in states and states[need].name != "fresh"]
        states[step.id] = State("stale", f"follows {waiting[0]}") if state.name == "fresh" and waiting else state
    return states


def run_step(batch: Batch, step: Step, execution: Execution | None = None) -> dict[str, Any]:
    """The manifest of one execution of a step's notebook, just written.

    Raises
    ------
    KeyboardInterrupt
        The execution was stopped; no manifest is left.
    """
    execution = execution or Execution()
    parts, folder = batch.parts(step), batch.runs(step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    declared = declared_parameters(batch.notebooks[step.id])
    parameters = {name: batch.settings.get(name, value) for name, value in declared.items()}
    if "out_dir" in declared:
        parameters["out_dir"] = str(batch.root.parent)
    partial, record = folder / f".{step.notebook}-unfinish.ipynb", folder / ".files-recorded.jsonl"
    began, clock = datetime.now(UTC), time.monotonic()
    try:
        environment = kernel_environment(batch.changed, batch.threads, record)
        source = batch.folder / f"{step.notebook}.ipynb"
        execution.run(source, partial, folder / "log.txt", parameters, environment)
        if execution.stopped.is_set():
            raise KeyboardInterrupt
        if partial.is_file():
            os.replace(partial, folder / f"{step.notebook}.ipynb")
        inputs, outputs = freshness.recorded_files(record, batch.root)
    finally:
        partial.unlink(missing_ok=True)
        record.unlink(missing_ok=True)
    seconds = time.monotonic() - clock
    changes = said_by("git", "status", "--porcelain")
    manifest = {
        "step": step.id,
        "notebook": step.notebook,
        "status": "failed" if execution.failure else "ok",
        "failure": execution.failure,
        "key": key_of(parts, [[row["path"], row["sha256"]] for row in inputs]),
        "profile": batch.profile,
        "parameters": parameters,
        "seed": batch.settings.get("seed"),
        "threads": {"native": batch.threads, "PYTHONHASHSEED": "0"},
        "start": began.isoformat(timespec="seconds"),
        "end": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "phases": execution.phases,
        "untracked_seconds": round(max(0.0, seconds - sum(row["seconds"] for row in execution.phases)), 3),
        "peak_memory_bytes": execution.peak,
        "git": {"commit": said_by("git", "rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)},
        "environment": describe_machine(),
        "inputs": inputs,
        "outputs": outputs,
        "key_parts": parts,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest
