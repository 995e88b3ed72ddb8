"""The steps: which notebook each runs, which steps come first, and whether it is fresh.

A step is made from the code of its notebook, all settings but the folder of the results, the code of the package, and
the content of the files that it read; comments, docstrings and prose do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fico_utils import registry
from fico_utils.batch.notebook import declared_parameters, read_notebook
from fico_utils.errors import InputError
from fico_utils.escaping import one_line
from fico_utils.files import file_difference, key_of
from fico_utils.locks import lock_owner
from fico_utils.machine import usable_cores
from fico_utils.manifests import CODE, read_manifest
from fico_utils.package_code import package_digests
from fico_utils.profiles import profile_settings, read_overrides, results_folder, suggest_name
from fico_utils.provenance import PROJECT

#: What a step is made from besides its parameters, as a reader is told of a change.
NOTEBOOK = "notebook code"


@dataclass(frozen=True)
class Step:
    """One notebook, by its stem, and the ids of all steps that come before it, directly or through others."""

    id: str
    notebook: str
    needs: tuple[str, ...] = ()
    aside: bool = False  # no part of the reproduction: it runs only when it is named
    exclusive: bool = False  # it takes times, so that nothing may run beside it


STEPS = (
    Step("00", "00_start_here"),
    Step("01", "01_feature_extraction"),
    Step("02", "02_fine_grained_training", ("01",)),
    Step("03", "03_hashing_training", ("01",)),
    Step("04", "04_evaluation", ("01", "02", "03")),
    Step("05", "05_complexity_analysis", ("01", "02", "03"), exclusive=True),
    Step("06", "06_figures", ("01", "02", "03", "04", "05")),
    Step("07", "07_your_own_data", aside=True),
    Step("08", "08_deploy", aside=True, exclusive=True),
    Step("09", "09_explore", aside=True),
)


def find_step(steps: Sequence[Step], name: str) -> Step:
    """The step of an id or a notebook's stem; InputError naming the known ones.

    >>> find_step(STEPS, "4").notebook
    '04_evaluation'
    """
    stem = name.removesuffix(".ipynb")
    for step in steps:
        if stem in (step.id, step.notebook) or stem.zfill(2) == step.id:
            return step
    known = ", ".join(step.notebook for step in steps)
    raise InputError(f"unknown notebook or step {name!r}; expected an id such as {steps[0].id} or one of {known}")


def select_steps(steps: Sequence[Step], only: Sequence[str] = (), first: str | None = None) -> list[Step]:
    """The steps to run, in order: those named in `only` (ids or stems), from `first` on; without `only` none aside.

    InputError where no step has a name, or where nothing is left.

    >>> [step.id for step in select_steps(STEPS, only=["06", "04_evaluation"])]
    ['04', '06']
    """
    named = [find_step(steps, name) for name in only]
    start = steps.index(find_step(steps, first)) if first else 0
    chosen = [step for step in steps[start:] if step in named or (not only and not step.aside)]
    if not chosen:
        raise InputError(f"no step is left of --only {','.join(only)} --from {first}; leave one of them out")
    return chosen


@dataclass
class Batch:
    """A profile, the folder its results go to, and the notebooks that make them."""

    profile: str
    root: Path  # <out_dir>/<profile>
    settings: dict[str, Any]  # every parameter of the profile, as overridden
    notebooks: dict[str, dict[str, Any]]  # step id -> the notebook's JSON
    folder: Path  # of the notebooks
    steps: Sequence[Step] = STEPS

    def runs(self, step: Step, *parts: str) -> Path:
        """Path below the step's folder in ``runs/``."""
        return self.root.joinpath("runs", step.notebook, *parts)

    @property
    def threads(self) -> int:
        """Native threads of each step."""
        return max(1, min(self.settings["threads"], usable_cores()))

    @cached_property
    def package(self) -> dict[str, str]:
        """Each file of the package's code, and its key."""
        return package_digests()

    def parameters(self, step: Step) -> dict[str, Any]:
        """What the parameters cell of a step's notebook declares, with the values of this batch."""
        declared = declared_parameters(self.notebooks[step.id])
        return {name: self.settings.get(name, value) for name, value in declared.items()}

    def parts(self, step: Step) -> dict[str, Any]:
        """What a step is made from now, besides the files that it reads, by names for a reader: code, parameters."""
        code = [c["source"].rstrip() for c in self.notebooks[step.id]["cells"] if c["cell_type"] == "code"]
        parts: dict[str, Any] = {NOTEBOOK: key_of([c for c in code if c])}
        for name, value in (self.parameters(step) | self.settings).items():
            parts |= {f"{name} of {k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        parts.pop("out_dir", None)  # results may be moved
        return parts | {CODE: self.package}


def prepare_batch(
    profile: str = "mini",
    out: str | None = None,
    changes: Sequence[str] = (),
    folder: Path | None = None,
    steps: Sequence[Step] = STEPS,
) -> Batch:
    """The `Batch` of a command line; InputError where that names anything unknown, or where a notebook is missing."""
    settings, root = profile_settings(profile), results_folder(profile, out)
    folder = folder or PROJECT / "notebooks"
    if steps and not folder.is_dir():
        raise InputError(f"{folder} does not exist; make a folder to work in with: fico init FOLDER, and run in there")
    notebooks = {step.id: read_notebook(folder / f"{step.notebook}.ipynb") for step in steps}
    known = {name: value for content in notebooks.values() for name, value in declared_parameters(content).items()}
    settings |= read_overrides(changes, known | settings) | {"profile": profile, "out_dir": str(root.parent)}
    registry.use_rows(settings, PROJECT / settings["data_dir"])
    for setting, ids in (("corpora", registry.known_corpora()), ("systems", registry.systems())):
        for name in settings[setting]:
            if name not in ids:
                raise InputError(f"{setting} names {name!r}, which is unknown; {suggest_name(name, ids)}")
    return Batch(profile, root, settings, notebooks, folder, steps)


class State(NamedTuple):
    """Whether a step has to run, and why: fresh, stale, missing, failed, interrupted or running."""

    name: str
    why: str = ""


def step_states(batch: Batch, chosen: Sequence[Step] | None = None) -> dict[Step, State]:
    """The `State` of each chosen step, or of all; one whose inputs will be made anew is stale as well.

    Without a choice, a step that stands aside counts once it was run.
    """
    states: dict[Step, State] = {}
    if chosen is None:
        chosen = [step for step in batch.steps if not step.aside or batch.runs(step).is_dir()]
    for step in chosen:
        state = step_state(batch, step)
        waiting = [other.id for other in states if other.id in step.needs and states[other].name != "fresh"]
        states[step] = State("stale", f"follows {waiting[0]}") if state.name == "fresh" and waiting else state
    return states


def step_state(batch: Batch, step: Step) -> State:
    """Whether one step is fresh, and why not."""
    path = batch.runs(step, "manifest.json")
    if not path.is_file():
        owner, since = lock_owner(batch.root / "runs", step.notebook) or ("", "")
        if since:
            return State("running", f"since {since}, {owner}")
        begun = batch.runs(step, "log.txt").is_file()
        return State("interrupted", "the last run did not end") if begun else State("missing", "never run")
    try:
        record = read_manifest(path)
    except InputError:
        return State("stale", "its manifest was cut or changed after it was written")
    if failed := record["failure"]:
        return State("failed", one_line(f"cell {failed['cell']}: {failed['error']}"))
    why = part_differences(record["made_from"], batch.parts(step)) or next(file_changes(record, batch.root), "")
    return State("stale", one_line(why)) if why else State("fresh")


def file_changes(record: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Each file that is no more as a record of its ``outputs``, and of ``inputs`` where it has any, says; in words."""
    for kind in ("output", "input"):
        for row in record.get(f"{kind}s", []):
            if changed := file_difference(row, root):
                yield f"{kind} {changed}: {row['path']}"


def part_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Why two `Batch.parts` differ, in words; empty where they do not.

    >>> part_differences({"epochs of scan": 4}, {"epochs of scan": 2})
    'epochs of scan 4 -> 2'
    """
    names = [name for name in old | new if old.get(name) != new.get(name)]
    files = sorted({file for file, _ in old.get(CODE, {}).items() ^ new.get(CODE, {}).items()})
    code = {NOTEBOOK: f"{NOTEBOOK} changed", CODE: f"{CODE} changed: {', '.join(files[:3])}{', ...' * bool(files[3:])}"}
    return "; ".join(code.get(n, f"{n} {old.get(n, 'unset')} -> {new.get(n, 'unset')}") for n in names)
