"""One step: what it was made from, whether it is fresh, and if not, the execution of its notebook.

A step is made from the code of its notebook, all settings but the folder of the results, the code of the package, and
the content of the files that it read; comments, docstrings and prose do not count. Its manifest is written last and
atomically: no manifest, no success. Killing a run loses the steps that were running and nothing else, and inside them
only the artefact being made, as each has its own recipe.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from fico_utils import registry
from fico_utils.artifacts import digest_of, header_of
from fico_utils.batch.notebook import Execution, declared_parameters, kernel_environment, read_notebook
from fico_utils.batch.pipeline import STEPS, Step
from fico_utils.errors import InputError
from fico_utils.files import key_of, read_json, write_json
from fico_utils.locks import lock_owner
from fico_utils.machine import describe_machine, usable_cores
from fico_utils.package_code import package_digest
from fico_utils.profiles import profile_settings, read_overrides, results_folder, suggest_name
from fico_utils.provenance import PACKAGE, PROJECT, said_by

#: How the names of files begin that lie in the package, such as weights that ship.
IN_PACKAGE = "fico_utils:"


@dataclass
class Batch:
    """A profile, the folder its results go to, and the notebooks that make them.

    Attributes
    ----------
    root : Path, ``<out_dir>/<profile>``.
    settings, changed : dict, every parameter of the profile, as overridden; the overrides alone.
    notebooks : dict, step id -> the notebook's JSON; its file lies in `folder`.
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
        return max(1, min(self.settings["threads"], usable_cores()))

    @cached_property
    def package(self) -> str:
        """Digest of the package's code."""
        return package_digest(self.root / "runs" / "package_code.json")

    def parts(self, step: Step) -> dict[str, Any]:
        """What a step is made from now, besides the files that it reads: ``notebook``, ``package``, ``parameters``."""
        notebook = self.notebooks[step.id]
        code = [c["source"].rstrip() for c in notebook["cells"] if c["cell_type"] == "code"]
        parameters = {**declared_parameters(notebook), **self.settings}
        parameters.pop("out_dir", None)  # results may be moved
        return {"notebook": key_of([c for c in code if c]), "package": self.package, "parameters": parameters}


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

    InputError where a profile, parameter, corpus or system is unknown, a value has another type, or a notebook is
    missing.
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


def part_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Why two `Batch.parts` differ, in words; empty where they do not.

    >>> part_differences({"parameters": {"epochs": {"scan": 4}}}, {"parameters": {"epochs": {"scan": 2}}})
    'epochs of scan 4 -> 2'
    """
    reasons = ["notebook code changed"] if old.get("notebook") != new.get("notebook") else []
    before, after = {}, {}
    for flat, parts in ((before, old), (after, new)):
        for name, value in parts["parameters"].items():
            flat |= {f"{name} of {k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            reasons.append(f"{name} {before.get(name, 'unset')} -> {after.get(name, 'unset')}")
    return "; ".join(reasons + ["code of the package changed"] * (old.get("package") != new.get("package")))


def recorded_files(record: Path, root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Files that a step read and did not write, and files that it wrote, as its process noted them in `record`.

    Each is a dict: ``path`` (below `root`), ``sha256`` of its content, ``bytes`` and ``changed_ns``.
    """
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    entries = [json.loads(line) for line in lines]
    wrote = {entry["wrote"]: None for entry in entries if "wrote" in entry}
    read = {entry["read"]: entry["digest"] for entry in entries if "read" in entry and entry["read"] not in wrote}
    kinds = []
    for digests in (read, wrote):
        rows = []
        for path, digest in ((Path(text), digest) for text, digest in digests.items()):
            if path.is_file():  # a checkpoint, say, is gone because its training ended
                name = path.relative_to(root) if path.is_relative_to(root) else path
                if path.is_relative_to(PACKAGE):
                    name = IN_PACKAGE + path.relative_to(PACKAGE).as_posix()
                size, changed = path.stat().st_size, path.stat().st_mtime_ns
                if digest is None and path.suffix == ".safetensors":
                    digest = header_of(path).get("digest")  # of what was just written
                digest = digest or digest_of(path)
                rows.append({"path": Path(name).as_posix(), "sha256": digest, "bytes": size, "changed_ns": changed})
        kinds.append(sorted(rows, key=lambda row: row["path"]))
    return kinds[0], kinds[1]


def file_difference(row: Mapping[str, Any], root: Path) -> str:
    """``missing`` or ``changed`` where a file is no more as `recorded_files` says, else empty.

    A file of the same size and time stamp is not read again.
    """
    inside = row["path"].startswith(IN_PACKAGE)
    path = (PACKAGE if inside else root) / row["path"].removeprefix(IN_PACKAGE)
    if not path.is_file():
        return "missing"
    same = (path.stat().st_size, path.stat().st_mtime_ns) == (row["bytes"], row["changed_ns"])
    return "" if same or digest_of(path) == row["sha256"] else "changed"


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
        why = part_differences(record["key_parts"], batch.parts(step))
        for kind in ("output", "input"):
            for row in [] if why else record[f"{kind}s"]:
                changed = file_difference(row, batch.root)
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

    KeyboardInterrupt where the execution was stopped; no manifest is left then.
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
        inputs, outputs = recorded_files(record, batch.root)
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
