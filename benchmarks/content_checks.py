"""What it costs to check content: the seconds that go into digests, in a fresh run and in the same run once more.

    python benchmarks/content_checks.py                      profile mini, all steps: 15 minutes on 2 quiet cores
    python benchmarks/content_checks.py --only 01,04         any options of `run`

Every process of the runs counts its seconds of processor time inside the functions that compute digests, and all of
its own; hashing includes reading the file. Prints both sums, their share, and the wall clock of either run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
#: What Python runs as it starts each process of a run: digests are counted, the outermost call only.
HOOK = """
import atexit, json, os, time

from fico_utils import files

inside, seconds, calls = [], [0.0], [0]

def counted(function):
    def call(*arguments):
        if inside:
            return function(*arguments)
        inside.append(1)
        began = time.thread_time()
        try:
            return function(*arguments)
        finally:
            seconds[0] += time.thread_time() - began
            calls[0] += 1
            inside.clear()
    return call

def tell():
    with open(os.path.join(os.environ["COUNTED"], str(os.getpid())), "w") as file:
        json.dump([seconds[0], time.process_time(), calls[0]], file)

for name in ("digest_of", "content_digest", "sha256_file", "seal_of"):
    setattr(files, name, counted(getattr(files, name)))
atexit.register(tell)
"""


def measure(command: list[str], folder: Path) -> str:
    """Run a command whose processes count; what they counted, in words."""
    (folder / "counted").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    paths = os.pathsep.join([str(folder), str(PROJECT)])
    began = time.monotonic()
    environment = {"PYTHONPATH": paths, "COUNTED": str(folder / "counted")}
    subprocess.run(command, cwd=PROJECT, check=True, env=os.environ | environment)
    wall = time.monotonic() - began
    rows = [json.loads(path.read_text()) for path in (folder / "counted").iterdir()]
    digests, cpu, calls = (sum(row[i] for row in rows) for i in range(3))
    return f"{digests:.2f} s of {cpu:.0f} s of processor ({digests / cpu:.2%}) in {calls} digests; {wall:.1f} s in all"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        run = [sys.executable, "-m", "fico_utils", "run", "--quiet", "--out", f"{name}/results", *sys.argv[1:]]
        for which in ("fresh", "unchanged"):
            print(f"{which}: {measure(run, Path(name, which))}", flush=True)
