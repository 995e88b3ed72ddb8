"""A run of the tiny profile that is killed at random moments and goes on, until it ends with the numbers of another.

Accidents: kill -9 of the process, of its group, or of one of its kernels, and SIGTERM.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from fico_utils.files import RECORDED
from tests.tiny_run import STEPS, start_run, undisturbed_metrics

ACCIDENTS = ("process", "group", "kernel", "SIGTERM")
KILLS = 25  # of one run, before it is left alone
PAUSE = 20  # files that are read or written before the next accident, at most
STOPPED = "interrupted; the same command goes on where it stopped"


def campaign(seconds: float, seed: int) -> str:
    """How many accidents of each kind some runs survived; AssertionError with what one of them lost."""
    rng, end, counts = random.Random(seed), time.monotonic() + seconds, Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole = undisturbed_metrics(Path(folder, "whole"))
        while time.monotonic() < end:
            root = Path(folder, f"killed{counts['run']}")
            counts += killed_run(root, rng, [rng.choice(ACCIDENTS) for _ in range(KILLS)])
            counts["run"] += 1
            assert (root / "mini/metrics.csv").read_bytes() == whole, f"other numbers with seed {seed}, after {counts}"
            print(dict(counts), flush=True)
    return f"{counts.pop('run')} runs, each with the same metrics.csv; killed: {dict(counts)}"


def killed_run(
    out: Path, rng: random.Random, accidents: list[str], steps: str = STEPS, orphans: float = 5
) -> Counter[str]:
    """Each accident -> how often it happened to a run, which is whole in the end and leaves no hidden file.

    AssertionError where one left a process behind for more than `orphans` seconds, or said more than it should.
    """
    happened, waiting = Counter(), list(accidents)
    while True:
        with tempfile.TemporaryFile("w+") as errors, start_run(out, steps, errors) as process:
            while waiting and not has_ended(process, out, files_used(out) + rng.randrange(PAUSE), rng.uniform(0, 2)):
                if meets(waiting[0], process, orphans):
                    happened[waiting.pop(0)] += 1
            process.wait()
            errors.seek(0)
            said = [line for line in errors.read().splitlines() if " so far, " not in line]
        assert not [line for line in said if "Traceback" in line], said
        assert process.returncode in (0, 1, 143, -signal.SIGKILL), said
        assert process.returncode != 143 or said[-1] == STOPPED, said
        if process.returncode == 0 and not waiting:
            break
    hidden = [path for path in out.rglob(".*") if path.is_file() and path.suffix != ".lock"]
    assert hidden == []
    return happened


def meets(accident: str, process: subprocess.Popen, orphans: float) -> bool:
    """Whether an accident could happen to a run; what it kills is not alive so many seconds later."""
    family = psutil.Process(process.pid).children(recursive=True)
    if accident == "kernel":
        kernels = [child for child in family if any("ipykernel" in word for word in command_of(child))]
        if not kernels:
            return False
        family = [kernels[-1], *kernels[-1].children(recursive=True)]
        kernels[-1].kill()
    elif accident == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if accident == "process" else signal.SIGTERM)
    if accident != "kernel":
        process.wait()
    end = time.monotonic() + orphans
    while alive := [child for child in family if is_alive(child)]:
        assert time.monotonic() < end, f"{accident} left {[command_of(child) for child in alive]}"
        time.sleep(0.05)
    return True


def has_ended(process: subprocess.Popen, out: Path, files: int, seconds: float) -> bool:
    """Whether a run ends before its notebooks have read or written so many files, and some seconds more have gone."""
    while process.poll() is None and files_used(out) < files:
        time.sleep(0.05)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def files_used(out: Path) -> int:
    """How many files the notebooks of a run have read or written, also before it was killed."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob(f"mini/runs/*/{RECORDED}"))


def is_alive(process: psutil.Process) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> list[str]:
    """The command line of a process; empty where it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []
