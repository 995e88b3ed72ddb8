"""Verbs at once in one folder: each waits or says one sentence, `status` tells what runs, and results stay the same."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from fico_utils import cli
from fico_utils.artifacts import Recipe, Store
from fico_utils.batch import runner
from fico_utils.locks import hold_locks, is_held, lock_owner, write_owner
from fico_utils.provenance import PROJECT

from .conftest import ROOT, notebook, reads, start, states_of, wait_until, writes

WAITS = """
import time
(root / 'a').mkdir(parents=True, exist_ok=True)
(root / 'a' / 'begun.txt').write_text('')
while not (root / 'go').exists():
    time.sleep(0.05)
"""


@pytest.mark.parametrize("verb", [["run", "--jobs", "1"], ["step", "01"]], ids=["run", "step"])
def test_status_says_which_step_runs_since_when_in_which_process(bench, tmp_path: Path, verb: list[str]) -> None:
    batch = bench(s01=notebook(ROOT, WAITS.strip()), s03=notebook("1"))
    for step in batch.steps:
        batch.runs(step).mkdir(parents=True)
        batch.runs(step, "log.txt").write_text("of a run that was killed")
    assert {state.name for state in states_of(batch).values()} == {"interrupted"}
    with start(tmp_path, *verb) as process:
        wait_until((batch.root / "a/begun.txt").exists)
        first, second = states_of(batch).values()
        (batch.root / "go").touch()
        _, said = process.communicate(timeout=600)
    assert (first.name, second.name) == ("running", "interrupted")  # that one waits its turn
    since, _, owner = first.why.removeprefix("since ").partition(", ")
    assert owner == f"process {process.pid}"
    assert since[:10].count("-") == 2
    assert process.returncode == 0, said
    assert states_of(batch)["01"].name == "fresh"


def test_a_lock_tells_its_owner_also_from_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, pathlib; from fico_utils import locks; locks.platform.node = lambda: 'node7'\n"
    code += "with locks.hold_locks(pathlib.Path(sys.argv[1]), ['a']): print(flush=True); input()"
    call = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(call, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        assert lock_owner(tmp_path, "a") == (f"process {process.pid} on node7", "")
        assert is_held(tmp_path / ".a.lock")
        process.kill()
        process.wait()
    assert lock_owner(tmp_path, "a") is None  # its lock is free, although its file is still there
    with hold_locks(tmp_path, ["a"]):
        write_owner(tmp_path, "a", working=True)
        owner, since = lock_owner(tmp_path, "a")
        assert owner.startswith("process ")
        assert since
        monkeypatch.setattr(platform, "node", lambda: "elsewhere")
        assert lock_owner(tmp_path, "a")[0].startswith("process ")
    assert lock_owner(tmp_path, "a") is None


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o770])
def test_a_lock_may_be_taken_by_all_who_may_write_to_its_folder(tmp_path: Path, mode: int) -> None:
    folder, store = tmp_path / "runs", Store(tmp_path)
    (tmp_path / ".locks").mkdir()
    folder.mkdir()
    for place in (folder, tmp_path / ".locks"):
        place.chmod(mode)
    with hold_locks(folder, ["a"]), store.locked(tmp_path / "x"):
        locks = [*folder.glob("*.lock"), *(tmp_path / ".locks").iterdir()]
        assert [path.stat().st_mode & 0o777 for path in locks] == [mode & 0o666] * 2
    other = folder / ".a.pid"  # left by somebody else: it may be removed, not written to
    other.write_text("")
    inode = other.stat().st_ino
    with other.open(), hold_locks(folder, ["a"]):
        assert other.stat().st_ino != inode


def test_clean_waits_for_whoever_makes_an_artefact(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "mini"
    with hold_locks(root / "runs", ["01_feature_extraction"]):
        pass
    store = Store(root)
    path = store.path("models", "x", Recipe("ucch"))
    with store.locked(path):
        assert cli.main(["clean", "--out", str(tmp_path)]) == 2
        assert "a training or a notebook is writing" in capsys.readouterr().err
    assert cli.main(["clean", "--out", str(tmp_path)]) == 0
    assert not root.exists()


def test_verbs_at_once_wait_or_say_one_sentence(bench, tmp_path: Path) -> None:
    second = notebook(ROOT, reads("a/x.txt"), writes("b/y.txt", "(root / 'a/x.txt').read_text() * 2"))
    batch = bench(s01=notebook(ROOT, writes("a/x.txt")), s02=second, s03=notebook(ROOT, writes("c/z.txt")))
    verbs = (
        ["run"],
        ["step", "01"],
        ["step", "03"],
        ["clean"],
        ["run"],
        ["clean"],
        ["step", "01"],
        ["status"],
        ["report"],
    )
    with ExitStack() as stack:
        processes = [stack.enter_context(start(tmp_path, *verb)) for verb in verbs]
        ends = [(process.args[5:], process.communicate(timeout=600)[1], process.returncode) for process in processes]
    for verb, said, code in ends:
        lines = [line for line in said.splitlines() if " so far, " not in line]
        assert "Traceback" not in said, (verb, said)
        # a step whose inputs were cleaned away has failed
        assert (code, len(lines)) in ((0, 0), (2, 1)) or (code == 1 and "failed in cell" in said), (verb, said)
    outcome = runner.run_steps(batch, batch.steps, quiet=True)
    assert set(outcome.values()) <= {"ok", "fresh"}
    assert [(batch.root / name).read_text() for name in ("a/x.txt", "b/y.txt", "c/z.txt")] == ["0", "00", "0"]
    assert [p.name for p in batch.root.rglob(".*") if not p.name.endswith(".lock")] == []
