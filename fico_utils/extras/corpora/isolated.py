"""Reading a file in a process of its own, with limits on memory and time, whose crash is one sentence.

A damaged file can make native code crash, or loop, or ask for all memory; nothing of that may end the process of
whoever reads it. ``python -m fico_utils.extras.corpora.isolated`` takes ``{"path", "name", "library"}`` as JSON from
its input and writes the array as .npy, or the sentence that refuses it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import psutil

from fico_utils.errors import InputError
from fico_utils.extras.corpora.array_formats import EXPANSION, MARGIN, read_format

#: Processor seconds to read a small file, once the library is loaded, and bytes that may take one more each.
SECONDS, RATE = 1.0, 10_000_000
#: Seconds to wait for the process: as many as slow disks may take, where the system counts those of its processor.
PATIENCE = 120 if os.name == "nt" else 900
#: Copies of an array that a library may hold while it reads.
COPIES = 4


def read_isolated(path: Path, name: str | None, library: str) -> np.ndarray:
    """What `read_format` gives, computed in another process; InputError where it refuses, crashes or takes too long."""
    process = start_reader({"path": str(path), "name": name, "library": library})
    timer = threading.Timer(PATIENCE + path.stat().st_size / RATE, process.kill)
    timer.start()
    try:
        with process:
            if process.stdout.peek(6)[:6] == b"\x93NUMPY":
                stream = SimpleNamespace(read=process.stdout.read)  # a pipe has no position, for which numpy asks files
                return np.lib.format.read_array(stream, allow_pickle=False)
            sentence = process.stdout.read().decode(errors="replace")
    except ValueError:
        sentence = ""  # it died on the way
    finally:
        timer.cancel()
        process.kill()  # it has ended, unless this process was interrupted
    if sentence:
        raise InputError(sentence)
    code = process.returncode
    ended = signal.Signals(-code).name if -code in {*signal.Signals} else f"exit code {code}"
    how = "needs too much time or memory for it" if ended in ("SIGPROF", "SIGKILL") else f"crashes on it ({ended})"
    raise InputError(
        f"{path} cannot be read: {library} {how}, so it is damaged or meant to do harm; get it again, or save the "
        "array with numpy.save"
    )


def start_reader(request: dict[str, Any]) -> subprocess.Popen:
    """The process that answers a request, started; it finds the packages where this one does."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-P", "-m", __name__], env=environment, **pipes)
    with contextlib.suppress(BrokenPipeError), process.stdin:  # where it ended at once, its exit code says so
        process.stdin.write(json.dumps(request).encode())
    return process


def answer_request(request: dict[str, Any], out: IO[bytes]) -> None:
    """Read the array that a request asks for, within the limits, and write it to `out`."""
    path = Path(request["path"])
    with contextlib.suppress(ImportError):  # `read_format` says what is missing
        import_module(request["library"])
    _limit_process(path.stat().st_size)
    try:
        array = read_format(path, request["name"])
    except InputError as error:
        out.write(str(error).encode(errors="replace"))
    else:
        np.lib.format.write_array(SimpleNamespace(write=out.write), array, allow_pickle=False)


def _limit_process(size: int) -> None:
    """End this process when it has taken too much time for a file of `size` bytes; refuse it too much memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    room = psutil.Process().memory_info().vms + COPIES * (MARGIN + EXPANSION * size)
    with contextlib.suppress(ValueError, OSError):  # macOS may refuse
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS + size / RATE)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # whatever native code prints goes nowhere
        answer_request(json.load(sys.stdin), answer)
