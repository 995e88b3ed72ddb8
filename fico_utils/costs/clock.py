"""The timing protocol, and the row that a measurement becomes in ``costs.csv``.

A monotonic clock; one warm-up; five repeats or more where the budget affords them; the median and the
interquartile range; threads pinned by the run and recorded; data loading outside the clock; peak memory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fico_utils.costs.memory import PeakMemory
from fico_utils.errors import InputError
from fico_utils.workspace import Run

#: Columns of costs.csv, in order.
COLUMNS = (
    "profile", "source", "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit",
    "value", "spread", "repeats", "threads", "device", "status", "run",
)  # fmt: skip
#: What a cost can be the cost of.
PHASES = ("features", "encode", "store", "attention", "index", "search", "gallery", "deploy")
#: Why a value is there or not: measured; has no meaning here; no input; from a fit; did not finish.
STATUSES = ("ok", "undefined", "unavailable", "extrapolated", "dnf")


# ------------------------------------------------------------------------------------------------- clock


@dataclass(frozen=True)
class Timing:
    """How long a function takes.

    Attributes
    ----------
    seconds : float, median over the repeats, s.
    spread : float, interquartile range over the repeats, s.
    samples : tuple of float, every repeat, s.
    repeats : int, number of samples.
    warm : bool, False where the budget afforded one run only and that run was the first.
    threads : int, native threads allowed while it ran.
    device : str, ``cpu`` or ``cuda``.
    peak_bytes, extra_bytes : int or None, peak resident memory of the first run and its increase, B.
    result : what the last run returned.
    """

    samples: tuple[float, ...]
    warm: bool = True
    threads: int = 1
    device: str = "cpu"
    peak_bytes: int | None = None
    extra_bytes: int | None = None
    result: Any = field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        return float(np.median(self.samples))

    @property
    def spread(self) -> float:
        return iqr(self.samples)

    @property
    def repeats(self) -> int:
        return len(self.samples)


def iqr(samples: Iterable[float]) -> float:
    """Interquartile range of the samples, in their unit; 0 for one sample."""
    low, high = np.quantile(list(samples), [0.25, 0.75])
    return float(high - low)


class Loading:
    """Seconds spent fetching data, to be taken off the clock.

    ``loading.over(batches)`` yields the batches and counts the time each took to arrive; pass the same object
    to `measure` as `loading`.
    """

    def __init__(self, device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self._device = device
        self._clock = clock

    def over(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same batches, with the time spent waiting for them counted."""
        source = iter(batches)
        while True:
            synchronise(self._device)  # work still under way on the device is not loading
            start = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                self.seconds += self._clock() - start
            yield batch


def measure(
    function: Callable[..., Any],
    *,
    repeats: int = 5,
    warmup: int = 1,
    budget_s: float | None = None,
    prepare: Callable[[], Any] | None = None,
    loading: Loading | None = None,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """The `Timing` of a function.

    Parameters
    ----------
    function : callable; called with what `prepare` returned, or with nothing.
    repeats : int, timed runs wanted.
    warmup : int, untimed runs before them; the first also measures the memory.
    budget_s : float or None, wall seconds for this measurement, warm-up, preparation and loading included. A
        repeat starts only if one as long as the slowest run so far still fits; one sample is always taken. A
        function whose second run would not fit gives its warm-up as the only sample (`warm` is False).
    prepare : callable or None, run before each run, outside the clock.
    loading : Loading or None, the seconds it counts during a run are taken off that run.
    device : str, ``cpu`` or ``cuda``; on cuda the clock is read when the device has finished.
    clock : callable, a monotonic clock in seconds.

    Raises
    ------
    InputError
        No repeats, a negative warm-up, or a budget that is not positive.

    Examples
    --------
    >>> measure(lambda: sum(range(1000)), repeats=3).repeats
    3
    """
    if repeats < 1 or warmup < 0:
        raise InputError(
            f"repeats={repeats} and warmup={warmup} were given; expected at least 1 repeat and a warm-up of 0 or more"
        )
    if budget_s is not None and not budget_s > 0:
        raise InputError(f"a budget of {budget_s} s was given; expected more than 0, or None for no limit")

    begin = clock()
    slowest = 0.0  # wall seconds of a whole run, preparation and loading included
    result: Any = None

    def once() -> float:
        nonlocal slowest, result
        result = None  # the previous run's result must not stand in this run's memory
        start_wall = clock()
        arguments = () if prepare is None else (prepare(),)
        loaded = 0.0 if loading is None else loading.seconds
        synchronise(device)
        start = clock()
        result = function(*arguments)
        synchronise(device)
        end = clock()
        slowest = max(slowest, end - start_wall)
        return end - start - (0.0 if loading is None else loading.seconds - loaded)

    def affordable() -> bool:
        return budget_s is None or clock() - begin + slowest <= budget_s

    memory = PeakMemory()
    first: list[float] = []
    for i in range(warmup):
        if i == 0:
            with memory:
                first.append(once())
        elif affordable():
            once()
    samples: list[float] = []
    while len(samples) < repeats and (not (samples or first) or affordable()):
        samples.append(once())
    return Timing(
        samples=tuple(samples or first),
        warm=bool(samples) and warmup > 0,
        threads=native_threads(),
        device=device,
        peak_bytes=memory.peak_bytes if first else None,
        extra_bytes=memory.extra_bytes if first else None,
        result=result,
    )


def synchronise(device: str) -> None:
    """Wait until the device has finished what it was given; nothing to wait for on the CPU."""
    if device == "cuda":
        sys.modules["torch"].cuda.synchronize()


def native_threads() -> int:
    """Native threads allowed now: the most that FAISS or torch, where loaded, or the environment allow."""
    counts = []
    if "faiss" in sys.modules:
        counts.append(sys.modules["faiss"].omp_get_max_threads())
    if "torch" in sys.modules:
        counts.append(sys.modules["torch"].get_num_threads())
    return max(counts) if counts else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


# -------------------------------------------------------------------------------------------------- rows


def row(
    phase: str,
    quantity: str,
    value: float | Timing | None,
    *,
    unit: str = "s",
    system: str = "",
    corpus: str = "",
    scale_img: int | None = None,
    scale_txt: int | None = None,
    spread: float | None = None,
    repeats: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    status: str = "ok",
    source: str = "ours",
    run: Run | None = None,
) -> dict[str, Any]:
    """One row of costs.csv: a dict with exactly the columns of `COLUMNS`.

    Parameters
    ----------
    phase : str, one of `PHASES`.
    quantity : str, what the value is: ``seconds``, ``embedding_bytes``, ``recall@10``, ...
    value : a number, None where `status` says why there is none, or a `Timing`, which brings its own spread,
        repeats, threads and device.
    unit : ``s``, ``B``, ``items/s`` or empty.
    scale_img, scale_txt : int or None, images and texts (search: queries and candidates).
    run : the `Run` the number belongs to; gives the columns `profile` and `run`.

    Raises
    ------
    InputError
        A phase or status outside the vocabulary, or a value missing where the status is ``ok``.
    """
    if phase not in PHASES:
        raise InputError(f"unknown phase {phase!r}; expected one of {', '.join(PHASES)}")
    if status not in STATUSES:
        raise InputError(f"unknown status {status!r}; expected one of {', '.join(STATUSES)}")
    if isinstance(value, Timing):
        spread, repeats, threads, device = value.spread, value.repeats, value.threads, value.device
        value = value.seconds
    if value is None and status in ("ok", "extrapolated"):
        raise InputError(
            f"{quantity} of {system or 'a system'} has status {status!r} and no value; "
            "give the value, or a status that says why there is none"
        )
    return {
        "profile": "" if run is None else run.profile,
        "source": source,
        "system": system,
        "corpus": corpus,
        "phase": phase,
        "scale_img": scale_img,
        "scale_txt": scale_txt,
        "quantity": quantity,
        "unit": unit,
        "value": value,
        "spread": spread,
        "repeats": repeats,
        "threads": threads,
        "device": device,
        "status": status,
        "run": "" if run is None else run.run_id,
    }
