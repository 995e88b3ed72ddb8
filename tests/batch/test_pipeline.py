"""The steps as data: names, order, choice."""

from __future__ import annotations

import pytest

from fico_utils.batch.pipeline import STEPS, find_step, select_steps
from fico_utils.errors import InputError


def test_steps_come_after_what_they_need() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert step.notebook.startswith(f"{step.id}_")
        assert set(step.needs) <= seen
        assert all(set(other.needs) <= set(step.needs) for other in STEPS if other.id in step.needs)
        seen.add(step.id)


def test_select() -> None:
    assert [s.id for s in select_steps(STEPS)] == ["00", "01", "02", "03", "04", "05", "06"]  # 07 and 08 stand aside
    assert [s.id for s in select_steps(STEPS, ["07"])] == ["07"]
    assert [s.id for s in select_steps(STEPS, first="04")] == ["04", "05", "06"]
    assert [s.id for s in select_steps(STEPS, ["2", "06_figures", "2"])] == ["02", "06"]
    assert find_step(STEPS, "03_hashing_training.ipynb").id == "03"
    with pytest.raises(InputError, match="unknown notebook or step '99'"):
        select_steps(STEPS, ["99"])
    with pytest.raises(InputError, match="no step is left"):
        select_steps(STEPS, ["01"], "04")


def test_what_takes_times_runs_alone() -> None:
    assert [step.id for step in STEPS if step.exclusive] == ["05", "08"]
