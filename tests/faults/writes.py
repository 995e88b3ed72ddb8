"""Every call that changes a file of a run fails once, in turn, in the runner and in the notebooks' kernels.

After each failure the same command goes on, until nothing new fails and the run is whole: its numbers must be those of
a run that nobody disturbed. `faulty.c` makes the calls fail; it is compiled when it is needed, and Linux loads it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fico_utils.batch import pipeline
from fico_utils.files import TEMPORARY
from fico_utils.provenance import PROJECT
from tests.batch.conftest import notebook
from tests.faults import probing
from tests.faults.probing import failed_calls
from tests.tiny_run import TINY

#: Whether calls can be made to fail here.
AVAILABLE = sys.platform == "linux" and shutil.which("cc") is not None
#: The tiny profile, and less to measure in notebook 05.
CHANGES = (
    *TINY,
    *("encode_scales=[20, 40]", "attention_scales=[20, 40]", "gallery_sizes=[30, 60]", "screen_depths=[10]"),
    *("gallery_queries={embeddings: 10, attention: 2}", "n_queries=50", "n_candidates=2000", "search_dim=64"),
    "cost_budget_s=0.001",
)
#: `run` on the notebooks of another project; the package's code is no part of their steps, so that it is not parsed.
RUN = """
import sys
from pathlib import Path
from fico_utils import cli
from fico_utils.batch import pipeline

pipeline.PROJECT, pipeline.package_digests = Path(sys.argv[1]), dict
"""
ONCE = "sys.exit(cli.main(['run', '--quiet', *sys.argv[2:]]))\n"
#: Some steps, again and again in one process until nothing more fails; each time the exit code and what it said.
AGAIN = """
import contextlib, ctypes, io, json, os

for step in STEPS:
    new = True
    while new:
        known = Path(os.environ["FAULT_STATE"]).read_text().splitlines()
        ctypes.CDLL(None).fault_again()
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = cli.main(["run", "--quiet", "--only", step, *sys.argv[2:]])
        new = Path(os.environ["FAULT_STATE"]).read_text().splitlines()[len(known):]
        print(json.dumps([code, said.getvalue(), new]), flush=True)
"""
#: What is the same in every run of one machine.
TIMELESS = ("metrics.csv", "metrics/*.csv", "tables/table[234].*", "figures/fig[123].csv", "data/*")
#: What a disturbed command may say on stderr besides its one sentence.
SAID = re.compile(r".* so far, .*|process \d+ ended without unlocking .*|.*(is|this unit is) made again")
#: The sentence of a command that ends with 2, and of a step that fails.
SENTENCE = re.compile(r"fico_utils \w+: .+|step \d\d failed in cell .+: .+")


def build_shim(folder: Path) -> Path:
    """Path of the compiled `faulty.c`, in a folder."""
    library = folder / "faulty.so"
    call = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("faulty.c")), "-ldl"]
    subprocess.run(call, check=True)
    return library


def shim_environment(library: Path, below: Path, **settings: object) -> dict[str, str]:
    """The environment of a process whose changes below a folder may fail; `settings` are those of `faulty.c`."""
    more = {f"FAULT_{name.upper()}": str(value) for name, value in settings.items()}
    found = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": found, "LD_PRELOAD": str(library), "FAULT_BELOW": str(below), **more}


def disturb(
    command: Sequence[str],
    root: Path,
    library: Path,
    state: Path,
    seconds: float,
    say: Callable[[str], None] = print,
    **sampling: object,
) -> tuple[int, list[str]]:
    """How often a command was given until nothing failed any more, or the time was over; and what it did wrong.

    Parameters
    ----------
    command : sequence of str, of a run into `root`.
    root : Path, the results folder.
    library, state : Path, of the shim, and of the file that lists what has failed.
    seconds : float, after which nothing is made to fail any more.
    sampling : ``seed`` and ``percent`` of `faulty.c`, where not every call is to fail.
    """
    problems, count, end, done = [], 0, time.monotonic() + seconds, None
    while done is None or done.returncode:
        before = failed_calls(state)
        quiet = {} if time.monotonic() > end else {"state": state, **sampling}
        done = _call(command, shim_environment(library, root, **quiet))
        count += 1
        new = failed_calls(state)[len(before) :]
        wrong = [f"after {new}: {problem}" for problem in misbehaviour(done, root)]
        say(f"{count}: exit code {done.returncode} after {'; '.join(new) or 'nothing failed'} {wrong or ''}")
        problems += wrong
        if done.returncode and not new:
            return count, [*problems, f"failed by itself: {done.stderr[-500:]}"]
    return count, problems


def misbehaviour(done: subprocess.CompletedProcess, root: Path) -> list[str]:
    """What a disturbed command did wrong: exit codes, what it said, and what it left half-written."""
    told = [line for line in done.stderr.splitlines() if not SAID.fullmatch(line)]
    problems = [] if done.returncode in (0, 1, 2) else [f"exit code {done.returncode}"]
    problems += [f"said {line!r}" for line in told if not SENTENCE.fullmatch(line)]
    last = [line for line in told if line.startswith("fico_utils ")]  # besides those about steps that failed
    if len(last) != (done.returncode == 2) or len(told) < bool(done.returncode):
        problems.append(f"exit code {done.returncode}, and {len(told)} sentences")
    hidden = [p.name for p in root.rglob(".*") if p.is_file() and not p.name.endswith((".lock", ".pid"))]
    return problems + [f"left {name}{' half-written' * bool(TEMPORARY.fullmatch(name))}" for name in hidden]


def run_tiny(out: Path, environment: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess:
    """A run of the tiny profile without a fault."""
    return _call(tiny_command(out), {**environment, "PYTHONPATH": str(PROJECT)})


def tiny_command(out: Path, *more: str) -> list[str]:
    """The command line of a run of the tiny profile into a folder."""
    changes = [f"--set={change}" for change in CHANGES]
    return [sys.executable, "-m", "fico_utils", "run", "--out", str(out), *changes, *more]


def command_of(content: Mapping[str, Any], project: Path, out: Path) -> list[str]:
    """The command line of a run in which every step executes the same notebook, into a folder."""
    (project / "notebooks").mkdir(parents=True)
    for step in pipeline.STEPS:
        (project / "notebooks" / f"{step.notebook}.ipynb").write_text(json.dumps(content))
    return [sys.executable, "-c", RUN + ONCE, str(project), "--out", str(out)]


def differences(whole: Path, other: Path) -> list[str]:
    """Files that hold no times, of which one run has other bytes than another."""
    names = [p.relative_to(whole).as_posix() for pattern in TIMELESS for p in sorted(whole.glob(pattern))]
    assert "metrics.csv" in names
    return [n for n in names if not (other / n).is_file() or (whole / n).read_bytes() != (other / n).read_bytes()]


def campaign(seconds: float, seed: int = 0, say: Callable[[str], None] = print) -> str:
    """What was tried: calls of a run of the tiny profile failed for about so many seconds.

    At first a tenth of the calls may fail, each in a start of its own from the shell. Then all calls of the notebooks
    fail, in forks of their kernels; then all others, those of the runner beside notebooks that do nothing.
    AssertionError with everything that went wrong.
    """
    end, told = time.monotonic() + seconds, []
    with tempfile.TemporaryDirectory(prefix="fico-writes-") as name:
        folder = Path(name)
        library, state, root = build_shim(folder), folder / "failed.txt", folder / "disturbed" / "mini"
        whole = run_tiny(folder / "whole")
        assert whole.returncode == 0, whole.stderr
        command, problems = tiny_command(root.parent), []
        some = {"seed": seed, "percent": 10}
        rest = lambda: max(0, end - time.monotonic())  # noqa: E731
        phases: dict[str, Callable[[], tuple[int, list[str]]]] = {
            "starts with 10 % of all calls": lambda: disturb(command, root, library, state, rest() / 4, say, **some),
            "forks of kernels": lambda: probe_kernels(command, root, library, state, folder, say),
            "starts of steps that do nothing": lambda: disturb_runner(folder, root, library, state, say),
            "starts with what was left": lambda: disturb(command, root, library, state, rest(), say),
        }
        for what, phase in phases.items():
            shutil.rmtree(root, ignore_errors=True)  # what is there already would not be written again
            count, found = phase()
            told.append(f"{count} {what}")
            say(f"{told[-1]}: {len(failed_calls(state))} calls failed so far")
            names = [] if "nothing" in what else differences(folder / "whole/mini", root)
            problems += found + [f"{name} differs after {what}" for name in names]
        left = sorted({*failed_calls(folder / "seen.txt")} - {*failed_calls(state)})
        problems += [f"no time for {call}" for call in left]
        done = _call([sys.executable, "-m", "fico_utils", "clean", "--out", str(root.parent)], os.environ)
        problems += [f"clean left {done.stdout} {done.stderr}"] if root.exists() else []
        assert not problems, "\n".join(problems)
        return f"writes: {len(failed_calls(state))} different calls failed once each; {', '.join(told)}"


def disturb_runner(
    folder: Path,
    root: Path,
    library: Path,
    state: Path,
    say: Callable[[str], None] = print,
    steps: Sequence[str] = tuple(step.id for step in pipeline.STEPS),
    **sampling: object,
) -> tuple[int, list[str]]:
    """How often steps that do nothing were started until no call of the runner failed; and what it did wrong.

    The parameters are those of `disturb`; `steps` are ids.
    """
    command, problems, count = command_of(notebook("1"), folder / "idle", root.parent), [], 0
    command[2] = RUN + AGAIN.replace("STEPS", repr(steps))
    state.touch()
    environment = shim_environment(library, root, state=state, **sampling)
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for count, line in enumerate(process.stdout, 1):
            code, said, new = json.loads(line)
            wrong = misbehaviour(subprocess.CompletedProcess(command, code, "", said), root)
            say(f"{count}: exit code {code} after {'; '.join(new) or 'nothing failed'} {wrong or ''}")
            problems += [f"after {new}: {problem}" for problem in wrong]
            problems += [f"failed by itself: {said}"] * bool(code and not new)
    return count, problems + [f"ended with {process.returncode}"] * bool(process.returncode)


def probe_kernels(
    command: Sequence[str], root: Path, library: Path, state: Path, folder: Path, say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """How many forks of the kernels of one run met a call that failed, and what they did wrong."""
    told = folder / "told.jsonl"
    environment = shim_environment(library, root, seen=state.with_name("seen.txt")) | probing.probing_environment(
        folder / "ipython", state, told
    )
    done = _call([*command, "--jobs", "1"], environment)  # one kernel at a time, so that all that is hidden is its
    problems = misbehaviour(done, root) + ([f"exit code {done.returncode}: {done.stderr}"] if done.returncode else [])
    rows = map(json.loads, told.read_text(encoding="utf-8").splitlines())
    forks = [row for row in rows if row["new"] or "status" in row]
    for row in forks:
        say(f"{'; '.join(row['new'])} -> {row.get('said', row)}")
        if "status" in row or not re.fullmatch(r"InputError: .+|None", str(row["said"])):
            problems.append(f"after {row['new']}: {row}")
    return len(forks), problems


def _call(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
