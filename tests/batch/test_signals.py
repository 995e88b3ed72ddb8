"""Signals: one line and the signal's exit code wherever they come, nothing lost, no kernel left."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fico_utils import cli, files
from fico_utils.batch import runner
from fico_utils.provenance import PROJECT
from fico_utils.stopping import stop_by_signals

from .conftest import ROOT, alive, notebook, start, states_of, wait_until, writes

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE = "interrupted; the same command goes on where it stopped\n"
SLOW = """
import os, time
from fico_utils.files import atomic_path
(root / 'a').mkdir(parents=True, exist_ok=True)
with atomic_path(root / 'a' / 'big.txt') as temporary:
    temporary.write_text('half')
    (root / 'a' / 'begun.txt').write_text(str(os.getpid()))
    time.sleep(SECONDS)
    temporary.write_text('whole')
"""


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGKILL, 1)])
def test_killed_run_goes_on_where_it_stopped(bench, tmp_path: Path, number: int, times: int, capfd) -> None:
    slow = SLOW.replace("SECONDS", "600").strip()
    first = notebook("# 1 First", ROOT, writes("c/z.txt"))
    batch = bench(s01=first, s03=notebook("# 3 Third", ROOT, slow))
    with start(tmp_path, "run", "--quiet", "--jobs", "1") as process:
        begun = batch.root / "a/begun.txt"
        wait_until(lambda: begun.is_file() and begun.read_text())
        kernel = int(begun.read_text())
        for again in range(times):
            time.sleep(0.5 * again)  # so that the second finds the first at work
            process.send_signal(number)
        _, said = process.communicate(timeout=600)
    killed = number == signal.SIGKILL
    assert (process.returncode, said) == ((-number, "") if killed else (128 + number, LINE))
    wait_until(lambda: not alive(kernel))
    assert not (batch.root / "a/big.txt").exists()
    assert not (batch.root / "runs/03_third/manifest.json").exists()
    assert {name: state.name for name, state in states_of(batch).items()} == {"01": "fresh", "03": "interrupted"}
    half = [p for p in batch.root.rglob(".*") if files.TEMPORARY.fullmatch(p.name)]
    assert killed or not half

    batch = bench(s01=first, s03=notebook("# 3 Third", ROOT, slow.replace("600", "0")))
    capfd.readouterr()
    assert runner.run_steps(batch, batch.steps, quiet=True) == {"01": "fresh", "03": "ok"}
    told = f"process {process.pid} ended without unlocking {batch.root}; its lock is taken over\n"
    assert capfd.readouterr().err == (told if killed else "")
    assert (batch.root / "a/big.txt").read_text() == "whole"
    assert [p.name for p in batch.root.rglob(".*") if not p.name.endswith(".lock")] == []


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the parent of orphans, as a desktop or a scheduler is: theirs is then not process 1 (Linux only)."""
    adopt = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: 0
    adopt(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    yield
    adopt(36, 0, 0, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_kernel_is_left_that_was_still_starting(bench, tmp_path: Path, number: signal.Signals) -> None:
    bench(s01=notebook("1"))
    (tmp_path / "stub").mkdir()
    launcher = tmp_path / "stub/ipykernel_launcher.py"
    launcher.write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'kernel')!r}).write_text(str(os.getpid()))\n"
        "while os.getppid() == int(os.environ['JPY_PARENT_PID']):\n    time.sleep(0.1)\n"
        "from ipykernel import kernelapp\n"
        "kernelapp.launch_new_instance()\n"
    )
    paths = os.pathsep.join([str(tmp_path / "stub"), str(PROJECT)])
    with adopting_orphans(), start(tmp_path, "run", PYTHONPATH=paths) as process:
        wait_until(lambda: (tmp_path / "kernel").is_file() and (tmp_path / "kernel").read_text())
        process.send_signal(number)
        _, said = process.communicate(timeout=600)
    assert process.returncode in (143, -number)
    lines = [line for line in said.splitlines(keepends=True) if " so far, " not in line]  # said on a slow machine
    assert number == signal.SIGKILL or lines == [LINE]
    wait_until(lambda: not alive(int((tmp_path / "kernel").read_text())))


@pytest.mark.parametrize("verb", list(cli.find_verbs()))
def test_each_verb_stops_with_one_line_while_it_is_imported(tmp_path: Path, verb: str) -> None:
    assert stopped_at_import_of("numpy", tmp_path, signal.SIGTERM, verb) == (143, LINE)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_verb_stops_with_one_line_in_its_work(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ["train", "ucch", "picto_people", "--out", str(tmp_path)]
    assert stopped_at_import_of("torch", tmp_path, number, *arguments) == (128 + number, LINE)


def stopped_at_import_of(module: str, tmp_path: Path, number: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Exit code and errors of a command that gets a signal when it imports a module."""
    (tmp_path / f"{module}.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(600)\n")
    code = (
        "import signal as s, sys; s.signal(2, s.default_int_handler); s.signal(s.SIGHUP, s.SIG_DFL)\n"  # as in a shell
        "from fico_utils.cli import main; sys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    call = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stderr


def test_what_is_ignored_stays_ignored_and_handlers_come_back() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in SIGNALS]
        with stop_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)  # as under nohup
        assert [signal.getsignal(number) for number in SIGNALS] == handlers
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_is_ended_without_a_word(capfd: pytest.CaptureFixture) -> None:
    context = multiprocessing.get_context("fork")
    begun = context.Event()  # CPython forgets a signal that comes while it forks

    def work() -> None:
        begun.set()
        time.sleep(600)

    with stop_by_signals():
        child = context.Process(target=work)
        child.start()
        assert begun.wait(60)
        child.terminate()
        child.join(60)
    assert (child.exitcode, capfd.readouterr()) == (-signal.SIGTERM, ("", ""))
