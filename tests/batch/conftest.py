"""Tiny notebooks, each showing one behaviour, and a pipeline of them in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fico_utils.batch import pipeline
from fico_utils.provenance import PROJECT

PARAMETERS = 'profile: str = "mini"  # profile\nseed: int = 0  # seed\nout_dir: str = "results"  # folder\n'
ROOT = "from pathlib import Path\n\nroot = Path(out_dir) / profile"


def notebook(*cells: str, parameters: str | None = PARAMETERS) -> dict:
    """JSON of a notebook whose cells are code, or Markdown where they start with ``#`` and a blank."""
    tagged = [] if parameters is None else [("parameters", parameters)]
    rows = []
    for index, (name, source) in enumerate([*tagged, *((f"c{i}", cell) for i, cell in enumerate(cells))]):
        kind = "markdown" if source.startswith(("# ", "## ")) else "code"
        row = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
        if kind == "code":
            row |= {"outputs": [], "execution_count": None}
        if index == 0 and tagged:
            row["metadata"] = {"tags": ["parameters"]}
        rows.append(row)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": rows, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def writes(name: str, text: str = "f'{seed}'") -> str:
    """A cell that writes the value of the expression `text` to an artefact."""
    return f"from fico_utils.files import write_text\n\nwrite_text(root / {name!r}, {text})"


def reads(name: str) -> str:
    """A cell that reads an artefact, as the package does."""
    return f"from fico_utils.files import note\n\nnote('read', root / {name!r})\n(root / {name!r}).read_text()"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixtures compute nothing; leave the cores to others."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that stores notebooks (id -> JSON) and returns the `Batch` of a pipeline of them.

    Step ``02`` needs ``01``; ``03`` stands alone, as does ``04``, beside which nothing may run. The package's code,
    which no process has to parse therefore, is no part of these steps.
    """
    monkeypatch.setattr(pipeline, "package_digests", dict)
    plan = {
        "01": pipeline.Step("01", "01_first"),
        "02": pipeline.Step("02", "02_second", ("01",)),
        "03": pipeline.Step("03", "03_third"),
        "04": pipeline.Step("04", "04_timed", exclusive=True),
    }

    def make(changes: tuple[str, ...] = (), **notebooks: dict) -> pipeline.Batch:
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        steps = [plan[name.removeprefix("s")] for name in notebooks]
        for step, content in zip(steps, notebooks.values(), strict=True):
            (folder / f"{step.notebook}.ipynb").write_text(json.dumps(content))
        return pipeline.prepare_batch("mini", str(tmp_path / "out"), changes, folder, tuple(steps))

    return make


def states_of(batch: pipeline.Batch) -> dict[str, pipeline.State]:
    """Step id -> state of the step."""
    return {step.id: state for step, state in pipeline.step_states(batch).items()}


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


#: A verb of the command line with the notebooks of `bench`: their folder, then its arguments.
#: A shell's background job ignores Ctrl-C, and so do its children; a command in the foreground, as here, does not.
DRIVER = """
import functools, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from fico_utils import cli
from fico_utils.batch import pipeline
folder = Path(sys.argv[1])
stems = sorted(path.stem for path in folder.glob("*.ipynb"))
pipeline.STEPS = tuple(pipeline.Step(stem[:2], stem) for stem in stems)
pipeline.package_digests = dict
pipeline.prepare_batch = functools.partial(pipeline.prepare_batch, folder=folder, steps=pipeline.STEPS)
sys.exit(cli.main(sys.argv[2:]))
"""


def start(tmp_path: Path, verb: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """A verb in a process of its own, on the notebooks that `bench` stored, with the results of `bench`."""
    call = [sys.executable, "-c", DRIVER, str(tmp_path / "notebooks"), verb, *arguments, "--out", str(tmp_path / "out")]
    variables = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
    return subprocess.Popen(
        call,
        cwd=PROJECT,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 600) -> None:
    """Wait until something is true; an assertion fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
