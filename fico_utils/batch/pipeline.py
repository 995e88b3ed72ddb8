"""The steps as data: which notebook, and which steps come first. What each reads and writes is recorded as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fico_utils.errors import InputError


@dataclass(frozen=True)
class Step:
    """One notebook and its place in the order.

    Attributes
    ----------
    id : str, two digits.
    notebook : str, stem of the file in ``notebooks/``; also the name of the folder below ``runs/``.
    needs : tuple of str, ids of the steps whose artefacts it reads.
    aside : bool, no part of the reproduction: runs only when it is named.
    exclusive : bool, takes times: nothing may run beside it.
    """

    id: str
    notebook: str
    needs: tuple[str, ...] = ()
    aside: bool = False
    exclusive: bool = False


STEPS = (
    Step("00", "00_start_here"),
    Step("01", "01_feature_extraction"),
    Step("02", "02_fine_grained_training", ("01",)),
    Step("03", "03_hashing_training", ("01",)),
    Step("04", "04_evaluation", ("02", "03")),
    Step("05", "05_complexity_analysis", ("02", "03"), exclusive=True),
    Step("06", "06_figures", ("04", "05")),
    Step("07", "07_your_own_data", aside=True),
)


def select_steps(steps: Sequence[Step], only: Sequence[str] = (), first: str | None = None) -> list[Step]:
    """The steps to run, in order: those named in `only` (ids or stems), from `first` on; without `only` none aside.

    Raises
    ------
    InputError
        A name that no step has, or a choice that leaves nothing.

    >>> [step.id for step in select_steps(STEPS, only=["06", "04_evaluation"])]
    ['04', '06']
    """
    chosen = [step for step in steps if not step.aside]
    if only:
        wanted = {find_step(steps, name).id for name in only}
        chosen = [step for step in steps if step.id in wanted]
    if first is not None:
        start = steps.index(find_step(steps, first))
        chosen = [step for step in chosen if steps.index(step) >= start]
    if not chosen:
        raise InputError(f"no step is left of --only {','.join(only)} --from {first}; leave one of them out")
    return chosen


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


def all_needs(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Step id -> ids of all steps that it needs, directly or through others.

    >>> sorted(all_needs(STEPS)["04"])
    ['01', '02', '03']
    """
    needs: dict[str, set[str]] = {}
    for step in steps:  # in order, so that one pass reaches the indirect ones
        needs[step.id] = set(step.needs).union(*(needs.get(need, ()) for need in step.needs))
    return needs
