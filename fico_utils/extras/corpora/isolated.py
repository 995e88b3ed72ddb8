"""Reading a file in a process of its own, with limits on memory and time, whose crash is one sentence.

A damaged file can make native code crash, or loop, or ask for all memory; nothing of that may end the process of
whoever reads it. ``python -m fico_utils.extras.corpora.isolated`` takes ``{"path", "name", "library"}`` as JSON from
its input and writes a line of JSON, ``{"error"}`` or ``{"dtype", "shape", "transposed"}``, then the array's bytes.
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
from typing import IO, Any

import numpy as np
import psutil

from fico_utils.errors import InputError
from fico_utils.extras.corpora.array_formats import EXPANSION, MARGIN, read_format

#: Processor seconds to read a small file, once the library is loaded, and bytes that may take one more each.
SECONDS, RATE = 1.0, 10_000_000
#: Seconds to wait for the process where the system does not count those of its processor.
PATIENCE = 120
#: Copies of an array that a library may hold while it reads.
COPIES = 4


def read_isolated(path: Path, name: str | None, library: str) -> np.ndarray:
    """What `read_format` gives, computed in another process; InputError where it refuses, crashes or takes too long."""
    request = {"path": str(path), "name": name, "library": library}
    process = start_reader(request)
    timer = threading.Timer(PATIENCE + path.stat().st_size / RATE, process.kill)
    timer.start()
    try:
        with process:
            answer, array = _receive(process.stdout)
    finally:
        timer.cancel()
        process.kill()  # it has ended, unless this process was interrupted
    if "error" in answer:
        raise InputError(answer["error"])
    if array is None:
        code = process.returncode
        ended = signal.Signals(-code).name if -code in {*signal.Signals} else f"exit code {code}"
        too_much = ended in ("SIGPROF", "SIGKILL")
        how = "needs far too much time or memory for it" if too_much else f"crashes on it ({ended})"
        raise InputError(
            f"{path} cannot be read: {library} {how}, so it is damaged or meant to do harm; get it again, or save the "
            "array with numpy.save"
        )
    return array


def start_reader(request: dict[str, Any]) -> subprocess.Popen:
    """The process that answers a request, started; it finds the packages where this one does."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    }
    command = [sys.executable, "-P", "-m", __name__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, **pipes)
    with contextlib.suppress(BrokenPipeError):  # it ended at once, and its exit code says so
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    return process


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], np.ndarray | None]:
    """The answer, and the array where it came as a whole."""
    line = stream.readline()
    answer = json.loads(line) if line.endswith(b"\n") else {}
    if "shape" not in answer:
        return answer, None
    array = np.empty(answer["shape"], answer["dtype"])
    whole = stream.readinto(array.reshape(-1).view(np.uint8)) == array.nbytes
    return answer, (array.T if answer["transposed"] else array) if whole else None


def answer_request(request: dict[str, Any], out: IO[bytes]) -> None:
    """Read the array that a request asks for, within the limits, and write it to `out`."""
    path = Path(request["path"])
    with contextlib.suppress(ImportError):  # `read_format` says what is missing
        import_module(request["library"])
    _limit_process(path.stat().st_size)
    try:
        array = read_format(path, request["name"])
    except InputError as error:
        out.write(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    transposed = array.flags.f_contiguous and not array.flags.c_contiguous
    array = array.T if transposed else np.ascontiguousarray(array)
    head = {"dtype": array.dtype.str, "shape": array.shape, "transposed": bool(transposed)}
    out.write(json.dumps(head).encode() + b"\n")
    out.write(array.reshape(-1).view(np.uint8))


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


def main() -> None:
    """Answer the request on stdin; whatever native code prints goes nowhere."""
    request = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with out:
        answer_request(request, out)


if __name__ == "__main__":
    main()
