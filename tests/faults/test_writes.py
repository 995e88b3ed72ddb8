"""Calls that change files fail once, in turn: a sample here, all of them by `python -m tests.faults`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fico_utils import files
from tests.batch.conftest import ROOT, notebook
from tests.faults import writes

pytestmark = pytest.mark.skipif(not writes.AVAILABLE, reason="the shim needs Linux and a C compiler")
#: Writes of every kind below a folder: twice without a fault, and then with a fault at each of some calls.
STORE = """
import ctypes, json, sys
from pathlib import Path
import numpy as np
from fico_utils.artifacts import Recipe, Store
from fico_utils.errors import InputError
from fico_utils.files import note, write_text
from fico_utils.locks import hold_locks

shim, root, recipe = ctypes.CDLL(None), Path(sys.argv[1]), Recipe("visual_features")

def work(folder, number):
    store = Store(folder)
    with hold_locks(folder / "runs", ["04_evaluation"]):
        store.arrays("features", "a", recipe, lambda: {"x": np.arange(5000) + number, "y": np.ones(3, bool)})
        store.records("costs", "b", recipe, lambda: [{"c": 1.5}])
        store.units("models", "c", recipe).write(number, {"w": np.full(9, number)}, keep=1)
        write_text(folder / "tables" / "t.csv", "a,b" * 99)
        note("wrote", folder / "t.csv", record=folder / "runs" / "files.jsonl")

def content(folder):
    paths = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}

work(root / "whole", 1)
expected = content(root / "whole")
shim.fault_arm(ctypes.c_long(10**9))
work(root / "count", 1)
calls = shim.fault_calls()
chosen = np.random.default_rng(int(sys.argv[2])).choice(calls, min(calls, int(sys.argv[3])), replace=False)
for n in sorted(int(n) + 1 for n in chosen):
    shim.fault_arm(ctypes.c_long(n))
    folder = root / f"at{n}"
    try:
        work(folder, 1)
        said = ""
    except (InputError, OSError) as error:
        said = f"{type(error).__name__}: {error}"
    shim.fault_arm(ctypes.c_long(-1))
    left = [str(p) for p in folder.rglob(".*unfinished*")]
    work(folder, 1)
    print(json.dumps([n, said, left, content(folder) == expected]))
"""
#: A cell that keeps arrays and a unit, and writes a table.
WORK = """
import numpy as np
from fico_utils.artifacts import Recipe, Store
from fico_utils.files import write_text

recipe = Recipe("visual_features", {"n": NUMBER})
made = Store(root).arrays("features", "a", recipe, lambda: {"x": np.arange(NUMBER)})
Store(root).units("models", "a", recipe).write(1, made, keep=1)
write_text(root / "NUMBER.csv", str(made["x"].sum()))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writes.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("seed", [0])
def test_a_store_goes_on_after_a_fault_at_any_call(tmp_path: Path, library: Path, seed: int) -> None:
    call = [sys.executable, "-c", STORE, str(tmp_path / "w"), str(seed), "12"]
    done = subprocess.run(
        call, env=writes.shim_environment(library, tmp_path / "w"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 12
    assert len({said for _, said, _, _ in rows}) > 5, "calls of several kinds have failed"
    assert [row for row in rows if row[2] or not row[3]] == []


def test_a_run_goes_on_after_each_of_some_faults(tmp_path: Path, library: Path) -> None:
    root, state = tmp_path / "out" / "mini", tmp_path / "failed.txt"
    content = notebook(ROOT, WORK.replace("NUMBER", "9"))
    command = [*writes.command_of(content, tmp_path / "project", root.parent), "--only", "01"]
    count, problems = writes.disturb(command, root, library, state, 600, seed=261, percent=5)
    assert problems == []
    assert count > 2
    assert (root / "9.csv").read_text() == str(np.arange(9).sum())
    assert {*writes.failed_calls(state)} == {  # of the runner, of the kernel, and of the report
        "open runs/01_feature_extraction/files.jsonl", "write .9.fico-unfinished-*-*.csv", "rename report/index.html",
    }  # fmt: skip


def test_the_runner_goes_on_after_each_of_some_faults(tmp_path: Path, library: Path) -> None:
    root, state = tmp_path / "out" / "mini", tmp_path / "failed.txt"
    count, problems = writes.disturb_runner(tmp_path, root, library, state, steps=("01",), seed=1, percent=10)
    assert problems == []
    failed = writes.failed_calls(state)
    assert count == len(failed) + 1 > 5
    assert {line.split()[0] for line in failed} >= {"open", "write", "rename", "unlink"}
    assert (root / "runs/01_feature_extraction/manifest.json").is_file()


def test_each_call_of_a_notebook_fails_in_a_fork_of_its_kernel(tmp_path: Path, library: Path) -> None:
    root, state = tmp_path / "out" / "mini", tmp_path / "failed.txt"
    imports, work = WORK.replace("NUMBER", "9").strip().split("\n\n")  # so that no fork imports anything again
    content = notebook(ROOT, imports, work)
    command = [*writes.command_of(content, tmp_path / "project", root.parent), "--only", "01"]
    said = []
    count, problems = writes.probe_kernels(command, root, library, state, tmp_path, said.append)
    assert problems == []
    assert (root / "9.csv").read_text() == str(np.arange(9).sum())
    calls = writes.failed_calls(state)
    left = {*writes.failed_calls(state.with_name("seen.txt"))} - {*calls}
    assert count == len(calls) > 15
    assert {line.split()[0] for line in calls} == {"open", "write", "fsync", "rename", "mkdir"}
    assert [line for line in left if not re.match(r"\w+ (runs|report)", line)] == [], "all but those of the runner"
    assert len([line for line in said if "InputError: cannot write" in line]) > 15


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: calls.append(name) or real(*args))
    files.write_arrays(tmp_path / "a.safetensors", {"a": np.ones(3)})
    assert calls == ["fsync", "replace"]


def test_the_loop_would_see_a_fault(tmp_path: Path) -> None:
    """A command that ends with a traceback and leaves a hidden file is called so."""
    (tmp_path / ".tmpfile").write_text("")
    said = "Traceback (most recent call last):\nOSError: [Errno 28] No space left on device\n"
    problems = writes.misbehaviour(subprocess.CompletedProcess([], 1, "", said), tmp_path)
    assert problems[0].startswith("said 'Traceback")
    assert problems[-1] == "left .tmpfile"
