"""What it costs to check content: processor seconds spent in digests, in a fresh run and in the same run once more.

    python benchmarks/content_checks.py                  profile mini, all steps: 15 minutes on 2 quiet cores
    python benchmarks/content_checks.py --only 01,04     any options of `run`

Every process of a run counts its seconds inside the functions that read and hash content, and all of its own. Results:
``results/content_checks.md``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
#: What Python runs as it starts each process of a run; of calls in each other the outermost counts.
HOOK = """
import atexit, json, os, time
from fico_utils import files

depth, seconds = [0], [0.0]

def counted(function):
    def call(*arguments):
        began, depth[0] = time.thread_time(), depth[0] + 1
        try:
            return function(*arguments)
        finally:
            depth[0] -= 1
            seconds[0] += (time.thread_time() - began) * (not depth[0])
    return call

def tell():
    with open(os.path.join(os.environ["COUNTED"], str(os.getpid())), "w") as file:
        json.dump([seconds[0], time.process_time()], file)

for name in ("digest_of", "content_digest", "sha256_file", "seal_of"):
    setattr(files, name, counted(getattr(files, name)))
atexit.register(tell)
"""


def measure(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a command whose processes count: s of processor in digests, s of processor in all, s of wall."""
    (folder / "counted").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    added = {"PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)]), "COUNTED": str(folder / "counted")}
    began = time.monotonic()
    subprocess.run(command, cwd=PROJECT, check=True, env=os.environ | added)
    wall = time.monotonic() - began
    digests, whole = zip(*(json.loads(p.read_text()) for p in (folder / "counted").iterdir()), strict=True)
    return sum(digests), sum(whole), wall


def report(rows: dict[str, tuple[float, float, float]], options: list[str]) -> str:
    """The result as Markdown."""
    lines = [
        f"# Content checks, measured {time.strftime('%Y-%m-%d')}",
        "",
        f"`python -m fico_utils run {' '.join(options)}`".replace(" `", "`")
        + f" on {platform.machine()}, {len(os.sched_getaffinity(0))} cores; load {os.getloadavg()[2]:.1f}.",
        "",
        "| run | digests, s of processor | all of it, s of processor | share | all of it, s of wall |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {n} | {d:.2f} | {a:.1f} | {d / a:.2%} | {w:.1f} |" for n, (d, a, w) in rows.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        run = [sys.executable, "-m", "fico_utils", "run", "--quiet", "--out", f"{name}/results", *sys.argv[1:]]
        for which in ("fresh", "unchanged"):
            rows[which] = measure(run, Path(name, which))
    (PROJECT / "benchmarks/results/content_checks.md").write_text(text := report(rows, sys.argv[1:]))
    print(text)
