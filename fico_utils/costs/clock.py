"""The timing protocol: warm-up, repeats, median, pinned threads, and the peak of the memory."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.machine import peak_memory, resident_memory


@dataclass(frozen=True)
class Timing:
    """How to measure; InputError for a protocol without repeats, time or threads."""

    repeats: int = 5  # timed runs wanted
    warmup: int = 1  # untimed runs before them; the first also measures the memory
    budget_s: float | None = None  # wall seconds for one measurement, see `measure_time`
    limit_s: float | None = None  # a size that is expected to take longer is extrapolated and not run
    threads: int | None = None  # native threads to pin; None leaves them as the run pinned them
    device: str = "cpu"  # on cuda the clock is read when the device has finished

    def __post_init__(self) -> None:
        for name, least in (("repeats", 1), ("warmup", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}={value} was given; expected at least {least}")
        for name in ("budget_s", "limit_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value} was given; expected more than 0 seconds, or None for no limit")

    @property
    def described(self) -> dict[str, Any]:
        """What a measured time depends on, as settings of a recipe: all but the limit, which only decides what runs."""
        return {**asdict(self), "limit_s": None, "threads": self.threads or native_threads()}


@dataclass(frozen=True)
class Measurement:
    """How long a function took."""

    samples: Sequence[float]  # s, one a repeat
    warm: bool = True  # False where the budget afforded one run only and that run was the first
    threads: int = 1
    device: str = "cpu"
    peak_bytes: int | None = None  # peak resident memory of the first run
    extra_bytes: int | None = None  # how much that is above what was held before
    result: Any = field(default=None, repr=False, compare=False)  # what the last run returned

    @property
    def seconds(self) -> float:
        """Median over the repeats, s."""
        return float(np.median(self.samples))

    @property
    def spread(self) -> float:
        """Interquartile range over the repeats, s; 0 for one sample."""
        low, high = np.quantile(self.samples, [0.25, 0.75])
        return float(high - low)

    @property
    def repeats(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def shared_by(self, n: int) -> Measurement:
        """The time that each of `n` queries takes."""
        return replace(self, samples=tuple(s / n for s in self.samples))


class PeakMemory:
    """A block's peak memory: ``with PeakMemory() as memory: ...``, then `peak_bytes` and `extra_bytes`.

    Resident memory is sampled by a thread every 5 ms; where the block raises the process's own high-water
    mark, that exact mark is taken instead, so only a short spike under an older mark can be missed.
    """

    peak_bytes: int = 0  # most resident memory that the process held during the block
    extra_bytes: int = 0  # how much that is above what it held when the block began

    def __enter__(self) -> PeakMemory:
        self._before, self._mark = resident_memory(), peak_memory()
        self.peak_bytes = self._before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._done.wait(0.005):
            self.peak_bytes = max(self.peak_bytes, resident_memory())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Bring both numbers up to this moment."""
        mark = peak_memory()
        self.peak_bytes = max(self.peak_bytes, resident_memory(), mark if mark > self._mark else 0)
        self.extra_bytes = max(0, self.peak_bytes - self._before)


class Loading:
    """Seconds that batches from ``loading.over(batches)`` took to arrive; `measure_time` takes them off its clock."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self._clock = 0.0, clock

    def over(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same batches, with the time spent waiting for them counted."""
        source = iter(batches)
        while True:
            start = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                self.seconds += self._clock() - start
            yield batch


def measure_time(
    function: Callable[..., Any],
    timing: Timing | None = None,
    *,
    prepare: Callable[[], Any] | None = None,
    loading: Loading | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """How long a function takes.

    Parameters
    ----------
    function : callable; called with what `prepare` returned, or with nothing.
    timing : Timing; None is five repeats after one warm-up. Its budget includes warm-up, preparation and loading: a
        repeat starts only if one as long as the slowest run so far still fits. A function whose second run would not
        fit gives its warm-up as the only sample.
    prepare : callable or None, run before each run, outside the clock.
    loading : Loading or None, the seconds it counts during a run are taken off that run.

    Examples
    --------
    >>> measure_time(lambda: sum(range(1000)), Timing(repeats=3)).repeats
    3
    """
    timing = timing or Timing()
    begin, slowest, result = clock(), 0.0, None  # the slowest is of a whole run, preparation and loading included

    def run_once() -> float:
        nonlocal slowest, result
        result = None  # the previous run's result must not stand in this run's memory
        start_wall = clock()
        arguments = () if prepare is None else (prepare(),)
        loaded = 0.0 if loading is None else loading.seconds
        wait_for_device(timing.device)
        start = clock()
        result = function(*arguments)
        wait_for_device(timing.device)
        end = clock()
        slowest = max(slowest, end - start_wall)
        return end - start - (0.0 if loading is None else loading.seconds - loaded)

    def affordable() -> bool:
        return timing.budget_s is None or clock() - begin + slowest <= timing.budget_s

    memory, first = PeakMemory(), []
    for i in range(timing.warmup):
        if i == 0:
            with memory:
                first.append(run_once())
        elif affordable():
            run_once()
    samples: list[float] = []
    while len(samples) < timing.repeats and (not (samples or first) or affordable()):
        samples.append(run_once())
    return Measurement(
        samples=tuple(samples or first),
        warm=bool(samples) and timing.warmup > 0,
        threads=native_threads(),
        device=timing.device,
        peak_bytes=memory.peak_bytes if first else None,
        extra_bytes=memory.extra_bytes if first else None,
        result=result,
    )


def wait_for_device(device: str) -> None:
    """Wait until the device has finished what it was given; nothing to wait for on the CPU."""
    if device == "cuda":
        sys.modules["torch"].cuda.synchronize()


def native_threads() -> int:
    """Native threads allowed now: the most that FAISS or torch, where loaded, or the environment allow."""
    ask = {"faiss": "omp_get_max_threads", "torch": "get_num_threads"}
    counts = [getattr(sys.modules[name], threads)() for name, threads in ask.items() if name in sys.modules]
    return max(counts) if counts else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
