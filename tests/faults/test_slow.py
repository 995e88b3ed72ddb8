"""Slow disks: every call that changes a file takes its time, and no work is lost by waiting for it or for a lock."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from fico_utils import progress
from fico_utils.artifacts import Recipe, Store
from fico_utils.provenance import PROJECT
from tests.batch.conftest import ROOT, notebook, wait_until
from tests.faults import writes
from tests.faults.test_writes import WORK

with_shim = pytest.mark.skipif(not writes.AVAILABLE, reason="the shim needs Linux and a C compiler")
#: Its second write takes a minute when it is executed first.
STUCK = """
import os
from fico_utils.files import write_text
(root / "a").mkdir(parents=True, exist_ok=True)
if not (root / "a/begun.txt").exists():
    (root / "a/begun.txt").write_text("")
    os.environ["FAULT_DELAY"] = "60000"
write_text(root / "a/x.txt", "whole")
"""


@with_shim
def test_a_run_that_is_stopped_in_a_write_that_takes_a_minute_goes_on(tmp_path: Path) -> None:
    """And, on a slow disk, ends as on a fast one."""
    root, content = tmp_path / "out/mini", notebook(ROOT, STUCK.strip(), WORK.replace("NUMBER", "9"))
    command = writes.command_of(content, tmp_path / "project", root.parent)
    command[2] = "from fico_utils.batch import notebook\nnotebook.PATIENCE = 0.2\n" + command[2]
    environment = writes.shim_environment(writes.build_shim(tmp_path), root)
    start = {"cwd": PROJECT, "env": environment, "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--only", "01"], **start) as process:
        wait_until(lambda: (root / "a/begun.txt").exists())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=50)
    assert (process.returncode, said) == (143, "interrupted; the same command goes on where it stopped\n")
    assert not (root / "a/x.txt").exists()
    start["env"] = environment | {"FAULT_DELAY": "40"}
    done = subprocess.run([*command, "--only", "01"], **start, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "a/x.txt").read_text() == "whole"
    assert (root / "9.csv").read_text() == str(np.arange(9).sum())
    assert writes.misbehaviour(done, root) == []


def test_who_waits_for_a_slow_maker_says_so_and_takes_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    store, recipe, said, got = Store(tmp_path), Recipe("visual_features"), [], []
    path = store.path("features", "a", recipe)

    def waited() -> bool:
        said.append(capsys.readouterr().err)
        return bool("".join(said))

    waiter = threading.Thread(target=lambda: got.append(Store(tmp_path).arrays("features", "a", recipe, pytest.fail)))
    with store.locked(path):
        waiter.start()
        wait_until(waited)
        store.write(path, recipe, {"x": np.arange(3)})
    waiter.join()
    assert "".join(said) + capsys.readouterr().err == f"another process is making {path}, which this one waits for\n"
    assert got[0]["x"].tolist() == [0, 1, 2]
