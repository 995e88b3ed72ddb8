"""Every file that a run reads belongs to a step: what Python opens is compared with what is noted."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from fico_utils.artifacts import Recipe, Store
from fico_utils.batch import pipeline
from fico_utils.files import RECORD, recorded_files
from fico_utils.provenance import PROJECT
from tests.faults.content import recording_environment, tally_changes, undeclared_reads

#: What notebooks ask of the package, from weights and labels that ship to tables; and one read that nobody notes.
SCRIPT = """
import sys

import fico_utils
from fico_utils import experiment
from fico_utils.extras import seeds
from fico_utils.provenance import PROJECT
from fico_utils.results import observed, store

sizes = {"picto_people": 40, "picto_diverse": 40}
run = fico_utils.setup("mini", 0, sys.argv[1], corpora=["picto_people"], n_test=sizes)
experiment.serve(run, "vsrn", "picto_people")
seen = experiment.score(run, "ucch", "picto_people")
observed.write_scores(run, "ucch", "picto_people", seen)
store.merge(run, "metrics")
store.results_or_committed(run, "metrics")
store.read_stored(run)
seeds.read_seeds(PROJECT / "figures/standard" / seeds.FILE)
(run.root / "unseen.txt").write_text("x")
(run.root / "unseen.txt").read_text()
"""


def test_every_file_that_is_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "a_step").mkdir()
    record, root = tmp_path / "a_step/record.jsonl", tmp_path / "out/mini"
    environment = recording_environment(tmp_path / "hook") | {RECORD: str(record), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out")]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    inputs, outputs = recorded_files(record, root)
    step = {"step": "x", "notebook": "a_step", "inputs": inputs, "outputs": outputs}
    step["made_from"] = {"code of the package": pipeline.package_digests()}
    assert undeclared_reads(tmp_path / "hook/opened", [step], root) == {"x": ["unseen.txt"]}
    named = {row["path"] for row in inputs}
    assert named >= {
        "fico_utils:weights/labels__picto_people.safetensors",
        "fico_utils:weights/mini/ucch__picto_people.safetensors",
        "fico_utils:weights/standard/vsrn__picto_people.safetensors",
        "project:configs/standard.yaml",
        "project:figures/standard/seeds.csv",
        "project:figures/mini/stored.csv",
    }
    assert any(row["sha256"] is None and row["path"].startswith("models/ucch__picto_people") for row in inputs)


def test_changes_that_nobody_notices_are_counted(tmp_path: Path) -> None:
    Store(tmp_path).arrays("features", "a", Recipe("visual_features"), lambda: {"x": np.arange(3, dtype=np.float32)})
    (tmp_path / "mine.csv").write_text("0.25\n")
    found = tally_changes(tmp_path, tmp_path, random.Random(0), 4)
    assert found == {"features/*.safetensors": (4, 4), "./*.csv": (4, 0)}
    assert (tmp_path / "mine.csv").read_text() == "0.25\n"
