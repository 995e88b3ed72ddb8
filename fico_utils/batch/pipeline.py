"""The steps as data: which notebook, and which steps come first. What each reads and writes is recorded as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fico_utils.errors import InputError


@dataclass(frozen=True)
class Step:
    """One notebook, by its stem, and the ids of the steps whose artefacts it reads.

    A step that stands `aside` is no part of the reproduction and runs only when it is named. An `exclusive` one takes
    times, so that nothing may run beside it.
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
