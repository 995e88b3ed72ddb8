"""Steps of tiny notebooks: skip, stale and why, failure, interruption, two runs at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fico_utils import files
from fico_utils.batch import pipeline, runner
from fico_utils.errors import InputError
from fico_utils.files import sha256_file
from fico_utils.locks import hold_locks
from fico_utils.package_code import package_digests

from .conftest import ROOT, notebook, reads, states_of, wait_until, writes


def test_second_run_is_fresh_and_manifest_is_complete(bench, capfd: pytest.CaptureFixture) -> None:
    batch = bench(s01=notebook("# 1 First", ROOT, "## 1.1 Work", writes("a/x.txt"), "print('seen')"))
    assert runner.run_steps(batch, batch.steps) == {"01": "ok"}
    record = json.loads((batch.root / "runs/01_first/manifest.json").read_text())
    output = batch.root / "a/x.txt"
    row, *shown = record["outputs"]
    assert (row["path"], row["sha256"], row["bytes"]) == ("a/x.txt", sha256_file(output), 1)
    assert [r["path"] for r in shown] == ["runs/01_first/01_first.ipynb", "runs/01_first/log.txt"]
    assert record["inputs"] == []
    assert record["parameters"] == {"profile": "mini", "seed": 0, "out_dir": str(batch.root.parent)}
    assert [phase["heading"] for phase in record["phases"]] == ["", "1 First", "1.1 Work"]
    tracked = sum(phase["seconds"] for phase in record["phases"])
    assert record["seconds"] == pytest.approx(tracked + record["untracked_seconds"], abs=0.01)
    assert 20 * 2**20 < record["peak_memory_bytes"] < 2 * 2**30
    assert record["environment"]["packages"]["numpy"]
    assert {"key", "made_from", "git", "threads", "start", "end", "seed"} <= record.keys()
    log = (batch.root / "runs/01_first/log.txt").read_text()
    assert "seen" in log
    assert "TCP" not in log
    assert (batch.root / "runs/01_first/01_first.ipynb").is_file()

    assert runner.run_steps(batch, batch.steps) == {"01": "fresh"}
    printed = capfd.readouterr()
    assert printed.out.splitlines()[-1] == "[1/1] 01_first: fresh, skipped"
    assert [line for line in printed.err.splitlines() if " so far, " not in line] == []


def test_failure_stops_dependants_only_and_names_the_cell(bench, capsys: pytest.CaptureFixture) -> None:
    batch = bench(
        s01=notebook("# 1 First", "## 1.1 Break", "1\nraise ValueError('no such thing')\n", "2"),
        s02=notebook("# 2 Second", "1"),
        s03=notebook("# 3 Third", ROOT, writes("c/z.txt")),
    )
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "failed", "02": "blocked", "03": "ok"}
    said = capsys.readouterr()
    assert said.err == "step 01 failed in cell c2 (1.1 Break): ValueError: no such thing\n"
    assert said.out == ""
    record = json.loads((batch.root / "runs/01_first/manifest.json").read_text())
    assert record["failure"] == {"cell": "c2", "heading": "1.1 Break", "error": "ValueError: no such thing"}
    found = states_of(batch)
    assert (found["01"].name, found["02"].name, found["03"].name) == ("failed", "missing", "fresh")


@pytest.mark.parametrize("source", ["import sys\nsys.exit(0)", "import os\nos._exit(3)"])
def test_a_notebook_that_ends_early_has_not_succeeded(bench, source: str) -> None:
    batch = bench(s01=notebook("# 1 First", source, "'never reached'"))
    record = runner.run_step(batch, batch.steps[0])
    assert record["status"] == "failed"
    assert record["failure"]["cell"] == "c1"
    assert record["failure"]["error"].startswith(("SystemExit", "DeadKernelError"))


def test_a_notebook_without_parameters_runs_in_a_folder_with_braces(bench, tmp_path: Path) -> None:
    batch = bench(s03=notebook("# 3 Third", "x = 1", parameters=None))
    batch.root = tmp_path / "{odd} name" / "mini"
    assert runner.run_step(batch, batch.steps[0])["status"] == "ok"
    assert (batch.root / "runs/03_third/03_third.ipynb").is_file()


def test_only_content_makes_a_step_stale_and_the_reason_is_said(bench) -> None:
    first = notebook("# 1 First", ROOT, writes("a/x.txt"))
    second = notebook("# 2 Second", ROOT, reads("a/x.txt"), writes("b/y.txt", "(root / 'a/x.txt').read_text()"))
    batch = bench(s01=first, s02=second)
    runner.run_steps(batch, batch.steps, quiet=True)
    assert {s.name for s in states_of(batch).values()} == {"fresh"}

    (batch.root / "a/x.txt").touch()  # a time stamp is no change
    prose = notebook("# 1 The first", ROOT, writes("a/x.txt"))
    batch = bench(s01=prose, s02=second)
    assert {s.name for s in states_of(batch).values()} == {"fresh"}

    found = states_of(bench(("seed=1",), s01=first, s02=second))
    assert found["01"] == pipeline.State("stale", "seed 0 -> 1")
    found = states_of(bench(s01=notebook(ROOT, writes("a/x.txt"), "1"), s02=second))
    assert found["01"] == pipeline.State("stale", "notebook code changed")
    assert found["02"] == pipeline.State("stale", "follows 01")
    (batch.root / "a/x.txt").write_text("other")
    found = states_of(bench(s01=first, s02=second))
    assert found["01"] == pipeline.State("stale", "output changed: a/x.txt")
    assert found["02"] == pipeline.State("stale", "input changed: a/x.txt")
    (batch.root / "a/x.txt").unlink()
    assert states_of(bench(s01=first, s02=second))["01"].why == "output missing: a/x.txt"

    # making the first again restores its bytes, so that the second is fresh without running
    batch = bench(s01=first, s02=second)
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "ok", "02": "fresh"}
    assert runner.run_steps(batch, batch.steps[1:], force=True, quiet=True) == {"02": "ok"}


def test_what_a_notebook_makes_itself_is_no_input(bench) -> None:
    alone = notebook("# 2 Second", ROOT, writes("a/x.txt"), reads("a/x.txt"))
    batch = bench(s02=alone)
    record = runner.run_step(batch, batch.steps[0])
    assert [row["path"] for row in record["inputs"]] == []
    assert "a/x.txt" in [row["path"] for row in record["outputs"]]
    assert pipeline.step_state(batch, batch.steps[0]).name == "fresh"


def test_code_of_the_package_counts_and_its_remarks_do_not(bench, tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "a.py").write_text("X = 1\n")
    monkeypatch.setattr(pipeline, "package_digests", lambda: package_digests(package))
    content = notebook("1")
    runner.run_steps(bench(s01=content), bench(s01=content).steps, quiet=True)
    (package / "a.py").write_text("'What it is.'\nX = 1  # one\n")
    assert states_of(bench(s01=content))["01"].name == "fresh"
    (package / "a.py").write_text("X = 2\n")
    assert states_of(bench(s01=content))["01"] == pipeline.State("stale", "code of the package changed: a.py")


MEETS = """
import time
write_text(root / 'met' / NAME, '')
end = time.monotonic() + 600
while len(list((root / 'met').glob('*'))) < 2:
    assert time.monotonic() < end, 'nobody came'
    time.sleep(0.05)
"""


def test_independent_steps_run_side_by_side_and_what_takes_times_alone(bench) -> None:
    start = "from fico_utils.files import write_text"
    cells = {name: notebook(ROOT, start, MEETS.replace("NAME", repr(name))) for name in ("s01", "s03")}
    alone = notebook(ROOT, "assert len(list((root / 'met').glob('*'))) == 2")
    batch = bench(s01=cells["s01"], s03=cells["s03"], s02=notebook("1"), s04=alone)
    order = []
    real = runner.run_step

    def noted(batch: pipeline.Batch, step: object, execution: object) -> dict:
        record = real(batch, step, execution)
        order.append((step.id, record["start"], record["end"]))
        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run_step", noted)
        outcome = runner.run_steps(batch, batch.steps, quiet=True, jobs=2)
    assert outcome == dict.fromkeys(("01", "02", "03", "04"), "ok")
    assert order[-1][0] == "04"
    assert order[-1][1] >= max(end for _, _, end in order[:-1])
    log = (batch.root / "runs/01_first/log.txt").read_text()
    assert "nobody" not in log


def test_changed_settings_reach_setup(bench) -> None:
    """`setup` knows every --set, also one that the notebook itself does not declare."""
    source = "import fico_utils\n\nrun = fico_utils.setup(profile=profile, seed=seed, out_dir=out_dir)"
    batch = bench(("doc2vec_epochs=7",), s03=notebook("# 3", source, "assert run['doc2vec_epochs'] == 7"))
    assert runner.run_step(batch, batch.steps[0])["failure"] is None


def test_two_runs_at_once_are_refused_and_two_steps_are_not(bench) -> None:
    batch = bench(s01=notebook("1"), s03=notebook("1"))
    runs = batch.root / "runs"
    with hold_locks(runs, ["03_third"]):
        assert runner.run_steps(batch, batch.steps[:1], quiet=True, beside_others=True) == {"01": "ok"}
        with pytest.raises(InputError, match="another run"):
            runner.run_steps(batch, batch.steps[1:], beside_others=True)
        with pytest.raises(InputError, match="another run"):
            runner.run_steps(batch, batch.steps[:1])
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "fresh", "03": "ok"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_is_refused(bench) -> None:
    batch = bench(s01=notebook("1"))
    batch.root.parent.mkdir(parents=True)
    batch.root.parent.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        runner.run_steps(batch, batch.steps)


def test_folder_that_is_a_file_is_refused(bench) -> None:
    batch = bench(s01=notebook("1"))
    batch.root.parent.write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        runner.run_steps(batch, batch.steps)


def test_broken_manifest_is_stale(bench) -> None:
    batch = bench(s01=notebook("1"))
    path = batch.runs(batch.steps[0], "manifest.json")
    path.parent.mkdir(parents=True)
    for text in ('{"status": "ok"', "[]", "{}", '{"status": "ok", "seal": "0123456789abcdef"}', ""):
        path.write_text(text)
        sentence = "its manifest was cut or changed after it was written"
        assert states_of(batch)["01"] == pipeline.State("stale", sentence)


def unfinished(path: Path) -> Path:
    """The file that is there while `path` is being written."""
    with pytest.raises(ZeroDivisionError), files.atomic_path(path) as temporary:
        raise ZeroDivisionError
    return temporary


def test_sweep_removes_half_written_files_of_the_dead_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = unfinished(tmp_path / "metrics.csv")
    dead = [Path(str(p).replace(f"-{os.getpid()}-", "-99999999-")) for p in (alive, unfinished(tmp_path / "runs/x"))]
    other = unfinished(tmp_path / "y.csv")  # of this process by its number, and yet older than this process
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    wait_until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)  # nobody has asked how it ended
    dead.append(Path(str(unfinished(tmp_path / "z.csv")).replace(f"-{os.getpid()}-", f"-{zombie.pid}-")))
    strange = (
        ".lock",
        "a-abcdefgh.csv",
        ".gitignore",
        ".x-abcdefgh.csv",
        ".x.fico-unfinished-1-2.csv",
        dead[0].name[1:],
    )
    kept = [alive, *(tmp_path / name for name in strange)]
    for path in (*kept, *dead, other):
        path.write_text("")
    os.utime(other, (1, 1))
    monkeypatch.setattr(files, "HOST", "0123abcd")  # where nobody here has that number
    there, abandoned = (Path(str(unfinished(tmp_path / n)).replace(f"-{os.getpid()}-", "-99999999-")) for n in "ab")
    monkeypatch.undo()
    for path in (there, abandoned):
        path.write_text("")
    os.utime(abandoned, (1, 1))
    kept, dead = [*kept, there], [*dead, abandoned]
    (tmp_path / "link").symlink_to(tmp_path.parent / "outside", target_is_directory=True)
    outside = tmp_path.parent / "outside" / dead[0].name
    outside.parent.mkdir()
    outside.write_text("")
    files.remove_unfinished(tmp_path)
    zombie.wait()
    assert [p for p in (*kept, outside) if not p.exists()] == []
    assert [p for p in (*dead, other) if p.exists()] == []
