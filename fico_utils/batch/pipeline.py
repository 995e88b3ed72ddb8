"""The steps as data: which notebook, which artefacts it reads and writes, which steps come first.

Artefacts are patterns below ``results/<profile>/``. A file belongs to one step only, hence the system ids in
the patterns of ``models/`` and ``embeddings/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fico_utils.errors import InputError
from fico_utils.registry import SYSTEMS


@dataclass(frozen=True)
class Step:
    """One notebook and its place in the order.

    Attributes
    ----------
    id : str, two digits.
    notebook : str, stem of the file in ``notebooks/``; also the name of the folder below ``runs/``.
    needs : tuple of str, ids of the steps whose artefacts it reads.
    inputs, outputs : tuple of str, glob patterns; a folder that matches stands for all files in it.
    aside : bool, no part of the reproduction: runs only when it is named.
    """

    id: str
    notebook: str
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    aside: bool = False


def _of(folder: str, *families: str) -> tuple[str, ...]:
    """Patterns of the files in `folder` that belong to the systems of some families."""
    return tuple(f"{folder}/{s.id}__*" for s in SYSTEMS.values() if s.family in families)


_PREPARED = ("features/*", "models/backbone*", "models/patch_backbone*", "models/doc2vec*", "models/query2label*")
#: What notebook 06 draws, the paper's figures and ours.
_DRAWN = ("fig3", "fig4", "chance_corrected", "tie_gap", "ranking_*", "gallery", "pareto*")
_FINE = _of("models", "vlp", "fg") + _of("embeddings", "vlp", "fg")
_HASHED = _of("models", "cg") + _of("embeddings", "cg")

STEPS = (
    Step("00", "00_start_here", outputs=("figures/fig1.*", "figures/fig2.*")),
    Step("01", "01_feature_extraction", outputs=_PREPARED),
    Step("02", "02_fine_grained_training", ("01",), _PREPARED, _FINE),
    Step("03", "03_hashing_training", ("01",), _PREPARED, _HASHED),
    Step(
        "04",
        "04_evaluation",
        ("02", "03"),
        ("features/*", "embeddings/*"),
        ("perquery/*", "metrics/*", "metrics.csv", "data/corpora.json"),
    ),
    Step(
        "05",
        "05_complexity_analysis",
        ("02", "03"),
        ("features/*", "models/*.safetensors", "embeddings/*"),
        ("costs/*", "costs.csv"),
    ),
    Step(
        "06",
        "06_figures",
        ("04", "05"),
        ("metrics.csv", "costs.csv", "embeddings/*"),
        ("tables/*", *(f"figures/{name}.*" for name in _DRAWN), "claims.csv"),
    ),
    Step("07", "07_your_own_data", outputs=("own/*",), aside=True),
)


def select(steps: Sequence[Step], only: Sequence[str] = (), first: str | None = None) -> list[Step]:
    """The steps to run, in order: those named in `only` (ids or stems), from `first` on; without `only` none aside.

    Raises
    ------
    InputError
        A name that no step has, or a choice that leaves nothing.

    >>> [step.id for step in select(STEPS, only=["06", "04_evaluation"])]
    ['04', '06']
    """
    chosen = [step for step in steps if not step.aside]
    if only:
        wanted = {find(steps, name).id for name in only}
        chosen = [step for step in steps if step.id in wanted]
    if first is not None:
        start = steps.index(find(steps, first))
        chosen = [step for step in chosen if steps.index(step) >= start]
    if not chosen:
        raise InputError(f"no step is left of --only {','.join(only)} --from {first}; leave one of them out")
    return chosen


def find(steps: Sequence[Step], name: str) -> Step:
    """The step of an id or a notebook's stem; InputError naming the known ones.

    >>> find(STEPS, "4").notebook
    '04_evaluation'
    """
    stem = name.removesuffix(".ipynb")
    for step in steps:
        if stem in (step.id, step.notebook) or stem.zfill(2) == step.id:
            return step
    known = ", ".join(step.notebook for step in steps)
    raise InputError(f"unknown notebook or step {name!r}; expected an id such as {steps[0].id} or one of {known}")


def dependants(steps: Sequence[Step], step_id: str) -> set[str]:
    """Ids of all steps that need `step_id`, directly or through others.

    >>> sorted(dependants(STEPS, "03"))
    ['04', '05', '06']
    """
    found: set[str] = set()
    for step in steps:  # in order, so that one pass reaches the indirect ones
        if step_id in step.needs or found & set(step.needs):
            found.add(step.id)
    return found
