"""The timing protocol (warm-up, repeats, median, pinned threads), and the row of ``costs.csv`` of a measurement."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.artifacts import Recipe
from fico_utils.costs.memory import PeakMemory
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.artifacts import Units

#: Columns of costs.csv, in order.
COLUMNS = (
    "profile", "source", "system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "unit",
    "value", "spread", "repeats", "threads", "device", "status", "run",
)  # fmt: skip
#: What a cost can be the cost of.
PHASES = ("features", "encode", "store", "attention", "index", "search", "gallery", "deploy")
#: Why a value is there or not: measured; has no meaning here; no input; from a fit; did not finish.
STATUSES = ("ok", "undefined", "unavailable", "extrapolated", "dnf")


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
        if self.repeats < 1 or self.warmup < 0:
            raise InputError(
                f"repeats={self.repeats} and warmup={self.warmup} were given; expected at least 1 repeat and a "
                "warm-up of 0 or more"
            )
        if self.threads is not None and self.threads < 1:
            raise InputError(f"{self.threads} threads were asked for; expected at least 1")
        for what, value in (("budget", self.budget_s), ("limit", self.limit_s)):
            if value is not None and not value > 0:
                raise InputError(f"a {what} of {value} s was given; expected more than 0, or None for no limit")

    @property
    def described(self) -> dict[str, Any]:
        """What a measured time depends on, as settings of a recipe: all but the limit, which only decides what runs."""
        return {**asdict(self), "limit_s": None, "threads": self.threads or native_threads()}


@dataclass(frozen=True)
class Measurement:
    """How long a function took."""

    samples: tuple[float, ...]  # s, one a repeat
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

    @property
    def described(self) -> dict[str, Any]:
        """The measurement as JSON, without what the function returned."""
        return {**asdict(self), "result": None}

    @classmethod
    def restored(cls, described: dict[str, Any]) -> Measurement:
        """A measurement from its `described` form."""
        return cls(**{**described, "samples": tuple(described["samples"])})


class Loading:
    """Seconds spent fetching data, to be taken off the clock.

    ``loading.over(batches)`` yields the batches and counts the time each took to arrive; pass the same object
    to `measure_time` as `loading`.
    """

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


def cost_row(
    phase: str,
    quantity: str,
    value: float | Measurement | None,
    *,
    unit: str = "s",
    status: str = "ok",
    spread: float | None = None,
    repeats: int | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """One row of costs.csv: a dict with exactly the columns of `COLUMNS`.

    Parameters
    ----------
    value : a number, None where `status` says why there is none, or a `Measurement`, which brings its own spread,
        repeats, threads and device.
    **columns : `system`, `corpus`, `source`, `threads`, `device`; `scale_img` and `scale_txt`, images and texts
        (search: queries and candidates); `run`, the `Run` the number belongs to, which gives `profile` and `run`.
    """
    run = columns.pop("run", None)
    if isinstance(value, Measurement):
        spread, repeats = value.spread, value.repeats
        columns |= {"threads": value.threads, "device": value.device}
        value = value.seconds
    assert phase in PHASES, f"unknown phase {phase!r}"
    assert status in STATUSES, f"unknown status {status!r}"
    assert value is not None or status not in ("ok", "extrapolated"), f"{quantity} has status {status!r} and no value"
    row = dict.fromkeys(COLUMNS) | {"source": "ours", "system": "", "corpus": "", "device": "cpu"} | columns
    row |= {"phase": phase, "quantity": quantity, "unit": unit, "value": value, "spread": spread, "repeats": repeats}
    row |= {"status": status, "profile": run.profile if run else "", "run": run.run_id if run else ""}
    assert len(row) == len(COLUMNS), f"costs.csv has no column {[name for name in row if name not in COLUMNS]}"
    return row


def kept_rows(
    columns: Mapping[str, Any], folder: str, name: str, recipe: Recipe, build: Callable[[], list[dict]]
) -> list[dict[str, Any]]:
    """Rows from the store of the run that `columns` name, or made by `build`, without a run each time."""
    run = columns.get("run")
    return build() if run is None else run.store.records(f"costs/{folder}", name, recipe, build)


def kept_units(columns: Mapping[str, Any], folder: str, name: str, recipe: Recipe) -> Units | None:
    """The units of long work in the store of the run that `columns` name; None without a run."""
    run = columns.get("run")
    return run and run.store.units(f"costs/{folder}", name, recipe)


def recipe_of(
    producer: str, columns: Mapping[str, Any], settings: Mapping[str, Any], inputs: Sequence[str] = ()
) -> Recipe:
    """The recipe of a measurement: its settings, and corpus and seed of the run that `columns` name."""
    run, corpus = columns.get("run"), columns.get("corpus", "")
    return Recipe(producer, {"corpus": corpus, **settings}, run.seed if run else 0, tuple(inputs))
