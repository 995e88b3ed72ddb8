"""The workflow for many machines: what runs after what, what is refused, and the same numbers as a local run."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from fico_utils.provenance import PROJECT
from fico_utils.verbs.train import trained_systems
from tests.tiny_run import TINY
from tests.workflow import slurm

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("snakemake", "snakemake_executor_plugin_slurm")),
    reason="the extra `cluster` is not installed",
)
SNAKEFILE = PROJECT / "workflow" / "Snakefile"
#: Stands in for Python: notes when a call began and ended.
STAND_IN = """\
#!/bin/sh
shift 2
echo "begin $(date +%s.%N) $*" >> {calls}
sleep {seconds}
echo "end $(date +%s.%N) $*" >> {calls}
"""


def command(folder: Path, *more: str, **config: object) -> list[str]:
    """Snakemake's command line, with `config` as the workflow's settings; results go below `folder`."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"out": str(folder / "out"), "set": list(TINY), **config}), encoding="utf-8")
    call = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(folder)]
    return [*call, "--configfile", str(path), *(("--cores", "2") if "--jobs" not in more else ()), *more]


def run(call: list[str], environment: dict[str, str] = os.environ) -> subprocess.CompletedProcess:
    """The finished command; its jobs import this checkout."""
    found = f"{PROJECT}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    environment = {**environment, "PYTHONPATH": found.rstrip(os.pathsep)}
    return subprocess.run(call, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def stand_in(folder: Path, seconds: float) -> tuple[str, Path]:
    """Path of a program that stands in for Python, and of the file in which it notes its calls."""
    calls, program = folder / "calls.txt", folder / "python"
    program.write_text(STAND_IN.format(calls=calls, seconds=seconds), encoding="utf-8")
    program.chmod(0o755)
    return str(program), calls


def noted(calls: Path) -> dict[str, list[float]]:
    """Call, such as ``1 step 04`` with its seed before it -> when it began, and when it ended."""
    times: dict[str, list[float]] = {}
    for line in calls.read_text(encoding="utf-8").splitlines():
        _, clock, *words = line.split()
        seed = re.search(r"--set=seed=(\d+)", line).group(1)
        times.setdefault(" ".join([seed, *words[: words.index("--profile")]]), []).append(float(clock))
    return times


def test_a_profile_trains_what_has_epochs() -> None:
    settings = {"systems": ["xvlm_nf", "scan", "ucch", "clip"], "epochs": {"xvlm": 1, "ucch": 1, "query2label": 1}}
    assert trained_systems({**settings, "pretrained": {"clip": {}}}) == {"xvlm": "02", "ucch": "03"}


def test_each_job_follows_what_it_needs_and_times_are_taken_alone(tmp_path: Path) -> None:
    program, calls = stand_in(tmp_path, 0.3)
    done = run(command(tmp_path, python=program, seeds="0,1"))
    assert done.returncode == 0, done.stderr
    times = noted(calls)
    each = ["train beit3 picto_people", "train ucch picto_people", "report", *(f"step 0{n}" for n in range(7))]
    assert sorted(times) == sorted(f"{seed} {call}" for seed in (0, 1) for call in each)
    assert [call for call, clock in times.items() if len(clock) != 2] == []
    order = ["step 01", "train beit3 picto_people", "step 02", "step 04", "step 06", "report"]
    for chain in (order, ["step 01", "train ucch picto_people", "step 03", "step 05", "step 06"]):
        for seed in (0, 1):
            assert all(times[f"{seed} {a}"][1] <= times[f"{seed} {b}"][0] for a, b in pairwise(chain))
    for seed in (0, 1):
        begin, end = times.pop(f"{seed} step 05")
        assert [call for call, clock in times.items() if clock[0] < end and begin < clock[1]] == []
    done = run(command(tmp_path, python=program, seeds="0,1"))
    assert done.returncode == 0
    assert noted(calls).keys() == {*times, "0 step 05", "1 step 05"}
    assert "Nothing to be done" in done.stderr


def test_a_start_after_a_kill_finishes(tmp_path: Path) -> None:
    program, calls = stand_in(tmp_path, 3)  # the kill comes while it works
    call = command(tmp_path, python=program)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with open(tmp_path / "first.txt", "w") as log:
        first = subprocess.Popen(call, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True)
        while first.poll() is None and not (calls.is_file() and " train " in calls.read_text(encoding="utf-8")):
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    stand_in(tmp_path, 0)
    done = run(call)
    assert done.returncode == 0, done.stderr
    times = noted(calls)
    assert len(times["0 step 01"]) == 2, "what had ended does not run again"
    assert len([c for name, clock in times.items() if "train" in name for c in clock]) >= 5, "what was killed does"
    assert (tmp_path / "out" / "seed0" / "done" / "report").is_file()


@pytest.mark.parametrize(
    ("target", "config", "sentence"),
    [
        ("seed0/done/scan__picto_people", {}, "does not train scan on picto_people; it trains beit3, ucch on picto"),
        ("", {"sets": ""}, "the workflow has no setting 'sets'; it has profile, seeds, out, set, python"),
        ("", {"set": "corpora=picto_peple"}, "corpora names 'picto_peple', which is unknown; did you mean"),
        ("", {"profile": "large"}, "unknown profile 'large'; expected one of"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(
    tmp_path: Path, target: str, config: dict[str, str], sentence: str
) -> None:
    done = run([*command(tmp_path, "--dry-run", **config), *([f"{tmp_path}/out/{target}"] if target else [])])
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr


def test_without_the_package_beside_it_snakemake_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "fico_utils.py").write_text("", encoding="utf-8")  # hides the package
    call = command(tmp_path, "--dry-run")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install -e '.[cluster]'" in done.stdout + done.stderr


# ------------------------------------------------------------------------ the same numbers, in minutes


@pytest.fixture(scope="module")
def queued(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which SLURM has run step 01 and the trainings, and what it noted; nothing where it takes no jobs."""
    folder, noted = tmp_path_factory.mktemp("workflow"), ""
    if slurm.missing_programs():
        return folder, noted
    (folder / "slurm").mkdir()
    with suppress(slurm.TakesNoJobs), slurm.start_slurm(folder / "slurm") as environment:
        often = ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2"]
        through = ["--executor", "slurm", "--jobs", "4", "--slurm-status-command", "squeue", *often]
        trained = [str(folder / "out/seed0/done" / f"{system}__picto_people") for system in ("beit3", "ucch")]
        done = run(command(folder, *through, *trained), environment)
        assert done.returncode == 0, done.stderr
        noted = (folder / "slurm" / "jobs.txt").read_text(encoding="utf-8")
    return folder, noted


@pytest.mark.notebooks
@pytest.mark.skipif(
    bool(slurm.missing_programs()), reason=f"SLURM is not installed: {', '.join(slurm.missing_programs())} not found"
)
def test_slurm_runs_each_job_once(queued: tuple[Path, str]) -> None:
    if not queued[1]:
        pytest.skip("SLURM is installed and takes no jobs here")
    assert queued[1].count("JobState=COMPLETED") == queued[1].count("JobId=") == 3  # step 01 and two trainings


@pytest.mark.notebooks
def test_the_workflow_gives_the_numbers_of_a_local_run(queued: tuple[Path, str], undisturbed: bytes) -> None:
    """Where SLURM is installed, what it trained is taken up on this machine, which runs the other steps."""
    folder, _ = queued
    ended = {path: path.stat().st_mtime_ns for path in folder.glob("out/seed0/done/*")}
    done = run(command(folder, str(folder / "out/seed0/done/04")))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in ended} == ended, "what SLURM ran does not run again"
    assert (folder / "out/seed0/mini/metrics.csv").read_bytes() == undisturbed
