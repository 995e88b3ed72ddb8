"""Changing good files in ways that break readers, and judging what a reader does with them.

A reader may give a value or refuse with an `InputError` of one sentence. All else is a fault: another exception, the
end of the process, and, for a file below `SMALL` bytes, more than `BYTES` of memory or `SECONDS` of processor time.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError

#: Changed files, and the call that reads them.
Files = dict[Path, bytes]
Mutate = Callable[[random.Random, Path], tuple[Files, Callable[[], Any]]]
SMALL, BYTES, SECONDS = 10_000, 2**28, 2.0
#: Numbers at which counts, lengths and offsets go wrong.
NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
NUMBERS += (2**40, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**30, -(2**31), -(2**63))
TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "../up",
    "/etc/passwd",
    "C:\\x",
    "x" * 3000,
    "é",
    "\ud800",
    "\u202e",
    "\x1b[31m",
    "²",
    "nan",
)
TEXTS += (
    "1e999",
    "-0",
    "=1+1",
    "<script>",
    "$x$",
    "a\nb",
    "\r",
    "\ufeff",
    "True",
    "1" * 400,
    "[" * 3000,
    "{'a':" * 900,
)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few changes of bytes: flipped, cut, repeated, exchanged, or turned into numbers that break counts."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 2, 4, 8, 16, 64, 1000)))
        kind = rng.randrange(8)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
        elif kind == 2:
            del out[at:end]
        elif kind == 3:
            out[at:at] = out[at:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            other = rng.randrange(len(out) + 1)
            out[at:end] = out[other : other + end - at]
        elif kind == 5:
            width = rng.choice((2, 4, 8))
            number = rng.choice(NUMBERS) % 2 ** (8 * width)
            out[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 6:
            out = out[:at]
        else:
            out[at:at] = rng.randbytes(end - at)
    return bytes(out[: 2 * SMALL])


def mutate_text(rng: random.Random, text: str, words: tuple[str, ...] = ()) -> str:
    """A few changes of text: numbers, lines and pieces exchanged for others, repeated or taken away."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind, at = rng.randrange(6), rng.randrange(len(text) + 1)
        if kind == 0:
            found = [*re.finditer(r"-?\d+", text)]
            span = rng.choice(found).span() if found else (at, at)
            text = text[: span[0]] + str(rng.choice(NUMBERS)) + text[span[1] :]
        elif kind == 1:
            text = text[:at] + rng.choice((*TEXTS, *words)) + text[at:]
        elif kind == 2:
            text = text[:at] + text[at + rng.choice((1, 2, 10, 100)) :]
        elif kind == 3:
            piece = text[at : at + rng.choice((1, 5, 40))]
            text = text[:at] + piece * rng.choice((2, 3, 100)) + text[at:]
        elif kind == 4:
            lines = text.split("\n")
            i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], rng.choice((lines[i], lines[j], ""))
            text = "\n".join(lines)
        else:
            found = [*re.finditer(r"\w+", text)]
            span = rng.choice(found).span() if found else (at, at)
            text = text[: span[0]] + rng.choice((*TEXTS, *words, text[at : at + 9])) + text[span[1] :]
    return text[: 2 * SMALL]


def mutate_json(rng: random.Random, value: Any) -> str:
    """JSON of a value in which something stands for something else, is missing, or stands twice."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [*_places(value)]
        holder, key = rng.choice(places) if places else ([value], 0)
        odd: Any = (None, True, [], {}, 1.5, float("nan"), float("inf"), *NUMBERS, *TEXTS)
        kind = rng.randrange(4)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1:
            holder[key] = [holder[key]] * rng.choice((1, 2, 100))
        elif kind == 2 and isinstance(holder, dict):
            holder[str(rng.choice(odd))] = holder[key]
        else:
            holder[key] = rng.choice(odd)
    text = json.dumps(value)
    if rng.random() < 0.1:
        first = re.search(r'"\w+": [^,{}\[\]]+', text)
        text = text if first is None else text.replace(first[0], f"{first[0]}, {first[0]}", 1)  # a name twice
    return mutate_text(rng, text) if rng.random() < 0.3 else text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


@dataclass
class Hunt:
    """What was tried of one reader, and what went wrong."""

    reader: str
    tried: int = 0
    refused: int = 0
    seconds: float = 0.0
    memory: int = 0
    sentences: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)  # one of each kind -> the file that shows it

    def judge(self, files: dict[Path, bytes], call: Callable[[], Any]) -> None:
        """Write the files, run the reader, and look at what it does."""
        for path, content in files.items():
            path.write_bytes(content)
        small = sum(map(len, files.values())) < SMALL
        self.tried += 1
        memory_taken = watch_memory(traced=self.tried % 32 == 1)
        started = time.process_time()
        fault = ""
        try:
            with deadline(300):
                call()
        except InputError as error:
            self.refused += 1
            said = str(error)
            self.sentences.add(re.sub(r"\d+|/\S+|'[^']*'", "#", said)[:80])
            if not said.strip() or len(said) > 1500:
                fault = f"no sentence: {said[:300]!r}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {str(error)[:200]}"
        self.note(files, fault, time.process_time() - started, memory_taken(), small)

    def note(self, files: dict[Path, bytes], fault: str, seconds: float, memory: int, small: bool) -> None:
        """Count one input."""
        if small:
            self.seconds, self.memory = max(self.seconds, seconds), max(self.memory, memory)
        if small and not fault and seconds > SECONDS:
            fault = f"takes {seconds:.1f} s"
        if small and not fault and memory > BYTES:
            fault = f"takes {memory >> 20} MiB"
        if fault:
            kind = re.sub(r"0x\w+|\d+(?!:)|'[^']*'", "#", fault)
            if kind not in self.faults:
                self.faults[kind] = f"{fault} <- {self._keep(files)}"

    def _keep(self, files: dict[Path, bytes]) -> str:
        folder = Path(tempfile.mkdtemp(prefix=f"fault-{self.reader}-"))
        for path, content in files.items():
            (folder / path.name).write_bytes(content)
        return str(folder)

    def __str__(self) -> str:
        return (
            f"{self.reader}: {self.tried} tried, {self.refused} refused in {len(self.sentences)} kinds of sentences, "
            f"at most {self.seconds:.2f} s and {self.memory / 2**20:.0f} MiB, {len(self.faults)} faults"
        )


def watch_memory(traced: bool) -> Callable[[], int]:
    """A function that gives the most memory taken since, in B, and ends the watch.

    Tracing counts what is asked for, also where it is never used, and slows Python two to ten times. Otherwise what
    this process holds is read, which only Linux tells.
    """

    def read_peak() -> int:
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024

    def end_trace() -> int:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    forget_peak = Path("/proc/self/clear_refs")
    if traced or not os.access(forget_peak, os.W_OK):
        tracemalloc.start()
        return end_trace
    forget_peak.write_text("5")
    before = read_peak()
    return lambda: read_peak() - before


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """TimeoutError where a block does not end in time."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"no end in {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Forked:
    """A child of this process that answers a request, as `isolated.start_reader` starts one, without its imports."""

    #: Largest memory and longest processor time of all children, B and s.
    peak: tuple[int, float] = (0, 0.0)

    def __init__(self, answer: Callable[[Any], None]) -> None:
        self.returncode: int | None = None
        end, begin = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            with contextlib.suppress(BaseException):
                faulthandler.disable()  # pytest's would tell of each crash
                tracemalloc.stop()  # which slows some loops a hundred times
                nothing = os.open(os.devnull, os.O_RDWR)
                for standard in range(3):
                    os.dup2(nothing, standard)
                with os.fdopen(begin, "wb") as out:
                    answer(out)
                code = 0
            os._exit(code)
        os.close(begin)
        self.stdout = os.fdopen(end, "rb")

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        _, status, used = os.wait4(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        Forked.peak = (
            max(self.peak[0], used.ru_maxrss * (1024 if sys.platform == "linux" else 1)),
            max(self.peak[1], used.ru_utime + used.ru_stime),
        )


class Crash(Exception):
    """A reader that ended its process, or said something else than a sentence."""


def read_forked(read: Callable[[], Any]) -> Any:
    """What `read` gives in a process of its own, as JSON; InputError where it refuses, Crash if it ends otherwise."""

    def answer(out: Any) -> None:
        try:
            said: dict[str, Any] = {"value": read()}
        except InputError as error:
            said = {"sentence": str(error)}
        except BaseException as error:
            said = {"fault": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(said).encode())

    with Forked(answer) as child:
        text = child.stdout.read()
    said = json.loads(text) if text else {"fault": f"exit code {child.returncode}"}
    if "sentence" in said:
        raise InputError(said["sentence"])
    if "fault" in said:
        raise Crash(said["fault"])
    return said["value"]


@contextlib.contextmanager
def measured_children(hunt: Hunt) -> Iterator[None]:
    """Note what the children of a block took beyond a child that does nothing."""
    Forked.peak = (0, 0.0)
    with Forked(lambda out: None):
        pass
    held = Forked.peak[0]
    yield
    hunt.memory, hunt.seconds = max(hunt.memory, Forked.peak[0] - held), max(hunt.seconds, Forked.peak[1])
    if hunt.memory > BYTES or hunt.seconds > SECONDS:
        hunt.faults["limits"] = f"a child took {hunt.memory >> 20} MiB or {hunt.seconds:.1f} s"


def hunt_readers(
    mutate: Mapping[str, Mutate], prepare: Callable[[Path], Path], seconds: float, seed: int, least: int
) -> str:
    """Mutations for each reader for its share of the time, or until at least so many are tried; what was tried.

    `prepare` fills a folder and says where in it a mutation may begin.
    """
    hunts = []
    for reader, mutated in mutate.items():
        rng, end, hunt = random.Random(f"{seed} {reader}"), time.monotonic() + seconds / len(mutate), Hunt(reader)
        with tempfile.TemporaryDirectory() as place:
            folder = prepare(Path(place))
            while hunt.tried < least or time.monotonic() < end:
                hunt.judge(*mutated(rng, folder))
        hunts.append(hunt)
    return conclude(hunts)


def conclude(hunts: list[Hunt]) -> str:
    """What was tried, a line a reader; AssertionError with the faults where there are any."""
    text = "\n".join(map(str, hunts))
    faults = [f"{hunt.reader}: {fault}" for hunt in hunts for fault in hunt.faults.values()]
    assert not faults, "\n".join([text, *faults])
    return text
