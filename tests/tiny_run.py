"""A run of the profile mini on one corpus, at a size of seconds: what others disturb, and are compared with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fico_utils.provenance import PROJECT

#: Two epochs, so that a training may be killed between them.
TINY = (
    "threads=1",
    "corpora=[picto_people]",
    "systems=[beit3, ucch]",
    "epochs={query2label: 1, beit3: 2, ucch: 2}",
    "n_train={picto_diverse: 80, picto_people: 80}",
    "n_val={picto_diverse: 20, picto_people: 20}",
    "n_test={picto_diverse: 50, picto_people: 50}",
    "backbones={regions: {scenes: 60, epochs: 1}, patches: {scenes: 60, epochs: 1}}",
    "doc2vec_epochs=1",
    "rerank_depth=4",
)
STEPS = "01,02,03,04"


def start_run(out: Path, steps: str = STEPS, errors: int | object = subprocess.PIPE) -> subprocess.Popen:
    """Some steps of the tiny run, in a process group of its own."""
    call = [sys.executable, "-m", "fico_utils", "run", "--only", steps, "--jobs", "2", "--out", str(out)]
    call += [f"--set={change}" for change in TINY]
    return subprocess.Popen(
        call, cwd=PROJECT, text=True, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )


def undisturbed_metrics(out: Path) -> bytes:
    """Content of metrics.csv after a run that nobody disturbs."""
    with start_run(out) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    return (out / "mini/metrics.csv").read_bytes()
