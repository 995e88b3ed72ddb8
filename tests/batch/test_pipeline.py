"""The steps as data: names, order, choice."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from fico_utils.batch.pipeline import STEPS, dependants, find, select
from fico_utils.errors import InputError
from fico_utils.registry import SYSTEMS


def test_steps_come_after_what_they_need() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert step.notebook.startswith(f"{step.id}_")
        assert set(step.needs) <= seen
        seen.add(step.id)


def test_every_file_belongs_to_one_step() -> None:
    files = [f"{folder}/{s}__picto_diverse.safetensors" for folder in ("models", "embeddings") for s in SYSTEMS]
    files += ["models/backbone.safetensors", "features/picto_diverse__test__visual.safetensors", "metrics.csv"]
    files += ["costs.csv", "tables/table1.csv", *(f"figures/fig{n}.svg" for n in (1, 2, 3, 4))]
    for file in files:
        owners = [step.id for step in STEPS if any(fnmatch(file, pattern) for pattern in step.outputs)]
        assert len(owners) == 1, (file, owners)


def test_inputs_are_made_by_a_step_it_needs() -> None:
    for step in STEPS:
        upstream = {p for s in STEPS if step.id in dependants(STEPS, s.id) for p in s.outputs}
        for pattern in step.inputs:
            stem = pattern.replace("*", "beit3__x") if "models" in pattern or "embeddings" in pattern else pattern
            assert pattern in upstream or any(fnmatch(stem, p) for p in upstream), (step.id, pattern)


def test_select() -> None:
    assert [s.id for s in select(STEPS)] == ["00", "01", "02", "03", "04", "05", "06"]  # 07 stands aside
    assert [s.id for s in select(STEPS, ["07"])] == ["07"]
    assert [s.id for s in select(STEPS, first="04")] == ["04", "05", "06"]
    assert [s.id for s in select(STEPS, ["2", "06_figures", "2"])] == ["02", "06"]
    assert find(STEPS, "03_hashing_training.ipynb").id == "03"
    with pytest.raises(InputError, match="unknown notebook or step '9'"):
        select(STEPS, ["9"])
    with pytest.raises(InputError, match="no step is left"):
        select(STEPS, ["01"], "04")


def test_dependants() -> None:
    assert dependants(STEPS, "01") == {"02", "03", "04", "05", "06"}
    assert dependants(STEPS, "00") == dependants(STEPS, "07") == set()
