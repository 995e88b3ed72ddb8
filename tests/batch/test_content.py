"""Whatever a step kept or read and somebody changed is noticed and named, under the old size and time stamp, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from fico_utils.__main__ import main
from fico_utils.batch import runner
from fico_utils.extras.pages.report import write_report
from fico_utils.files import sha256_file
from tests.faults.content import change_in_place, flip_bit

from .conftest import ROOT, notebook, states_of

#: A file of every kind, written as the package writes it.
KEEPS = """
import numpy as np
import pandas as pd

from fico_utils.artifacts import Recipe, Store
from fico_utils.display.picture import write_renditions
from fico_utils.files import write_json
from fico_utils.results.store import _write_csv

store = Store(root)
store.arrays("embeddings", "x", Recipe("encoding"), lambda: {"img": np.arange(32, dtype=np.float32)}, log=[0.5])
store.records("perquery", "x", Recipe("intervals"), lambda: [{"value": 0.1}, {"value": 0.25}])
store.units("costs", "walk", Recipe("gallery")).write(0, {"a": np.ones(3)}, {"blocks": 1})
for name in ("metrics/scan__x", "costs/05", "metrics", "costs", "stored", "claims"):
    _write_csv(root / f"{name}.csv", pd.DataFrame({"system": ["scan"], "value": [0.1234567]}))
write_renditions(root / "figures", "figures", "fig1", {"svg": b"<svg/>", "pdf": b"%PDF 1", "csv": b"x,y"})
write_json(root / "data/corpora.json", {"x": "key"})
print("kept")
"""
READS = """
from fico_utils.artifacts import Recipe, Store
from fico_utils.results.store import read_csv

read_csv(root / "metrics.csv", "metrics", "", "")
Store(root).arrays("embeddings", "x", Recipe("encoding"), None)
print("read")
"""


def kept_files(root: Path) -> list[Path]:
    """All but locks and the runner's notes of what it wrote, which only `clean` reads."""
    return sorted(p for p in root.rglob("*") if p.is_file() and ".lock" not in p.as_posix() and p.name != "files.jsonl")


def test_one_changed_byte_of_any_kept_file_is_noticed_named_and_mended(bench, capsys: pytest.CaptureFixture) -> None:
    batch = bench(s01=notebook("# 1 First", ROOT, KEEPS), s02=notebook("# 2 Second", ROOT, READS))
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "ok", "02": "ok"}
    arguments = ["check", "--verify", "--out", str(batch.root), "--quiet"]
    assert main(arguments) == 0
    kept = {path: path.read_bytes() for path in kept_files(batch.root)}
    assert len(kept) == 19
    first, second = (batch.runs(step, "manifest.json") for step in batch.steps)
    for path, content in kept.items():
        name, found = path.relative_to(batch.root).as_posix(), set()
        for place in (0, len(content) // 2, len(content) - 2):
            flip_bit(path, place)
            found |= {state.why for state in states_of(batch).values()}
            assert main(arguments) == 1, f"{name}, byte {place}"
            assert str(path) in (said := capsys.readouterr().err) or name in said
            change_in_place(path, content)
        if path in (first, second):
            assert found - {""} <= {"its manifest was cut or changed after it was written", "follows 01"}
        else:
            assert f"output changed: {name}" in found
    assert {state.name for state in states_of(batch).values()} == {"fresh"}

    for path, content in kept.items():
        flip_bit(path, len(content) // 2)
    found = states_of(batch)
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "ok", "02": "ok"}, found
    again = {path: sha256_file(path) for path in kept if not path.is_relative_to(batch.root / "runs")}
    assert len(again) == 13
    for path, digest in again.items():
        change_in_place(path, kept[path])
        assert sha256_file(path) == digest, f"{path} was not made as before"


def test_a_changed_report_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page = write_report(tmp_path / "mini", "mini", [])
    arguments = ["check", "--verify", "--out", str(tmp_path), "--quiet"]
    assert main(arguments) == 0
    for path, sentence in ((page, "output changed: report/index.html"), (page.with_name("summary.json"), "was cut or")):
        whole = path.read_bytes()
        flip_bit(path, len(whole) // 2)
        assert main(arguments) == 1
        assert sentence in capsys.readouterr().err
        change_in_place(path, whole)


def test_a_step_whose_output_changed_does_not_read_it_again(bench) -> None:
    batch = bench(s01=notebook("# 1 First", ROOT, KEEPS), s02=notebook("# 2 Second", ROOT, READS))
    runner.run_steps(batch, batch.steps, quiet=True)
    (path,) = (batch.root / "embeddings").glob("*.safetensors")
    whole = path.read_bytes()
    change_in_place(path, whole[:-1] + b"\x7f")
    found = states_of(batch)
    assert found["01"].why == f"output changed: embeddings/{path.name}"
    assert found["02"].why == f"input changed: embeddings/{path.name}"
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "ok", "02": "fresh"}
    assert path.read_bytes() == whole
    assert "is made again" in batch.runs(batch.steps[0], "log.txt").read_text()


LOOKS = """
import fico_utils
from fico_utils.artifacts import Recipe
from fico_utils.experiment.weights import find_weights

run = fico_utils.setup(profile, seed, out_dir)
print(find_weights(run, "toy", Recipe("ucch")))
"""
TRAINS = LOOKS + 'run.store.write(run.store.path("models", "toy", Recipe("ucch")), Recipe("ucch"), {})\n'


def test_a_step_that_found_no_weights_is_stale_once_there_are_some(bench) -> None:
    """As one that was run alone and took what ships, before the step that trains."""
    batch = bench(s01=notebook("# 1 First", TRAINS), s02=notebook("# 2 Second", LOOKS))
    first, second = batch.steps
    assert runner.run_steps(batch, [second], quiet=True) == {"02": "ok"}
    assert states_of(batch)["02"].why == "follows 01"
    assert runner.run_steps(batch, [first], quiet=True) == {"01": "ok"}
    found = states_of(batch)
    assert found["01"].name == "fresh", "what a step makes itself it did not miss"
    assert found["02"].why.startswith("input appeared: models/toy__s0__")
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "fresh", "02": "ok"}
