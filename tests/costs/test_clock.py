"""The timing protocol, on a clock that the tests move by hand."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fico_utils.costs import clock, indexes
from fico_utils.costs.clock import Loading, Measurement, PeakMemory, Timing, measure_time
from fico_utils.costs.rows import cost_row
from fico_utils.errors import InputError
from fico_utils.machine import available_memory


class FakeClock:
    """A clock in seconds that only `pass_` moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def fake() -> FakeClock:
    return FakeClock()


def test_warm_up_is_not_counted_and_median_and_quartiles_are_of_the_repeats(fake):
    durations = iter([100.0, 1.0, 2.0, 3.0, 4.0, 10.0])
    timing = measure_time(lambda: fake.pass_(next(durations)), clock=fake)
    assert timing.samples == (1.0, 2.0, 3.0, 4.0, 10.0)
    assert (timing.seconds, timing.spread, timing.repeats, timing.warm) == (3.0, 2.0, 5, True)


def test_preparation_lies_outside_the_clock_and_is_handed_over(fake):
    def prepare() -> int:
        fake.pass_(50.0)
        return 7

    def work(x: int) -> int:
        fake.pass_(1.0)
        return x + 1

    timing = measure_time(work, prepare=prepare, clock=fake)
    assert timing.samples == (1.0,) * 5
    assert timing.result == 8


def test_loading_lies_outside_the_clock(fake):
    loading = Loading(clock=fake)

    def source():
        for i in range(4):
            fake.pass_(9.0)
            yield i
        fake.pass_(2.0)  # finding out that there is no more is loading too

    def work() -> list[int]:
        seen = []
        for item in loading.over(source()):
            fake.pass_(0.5)
            seen.append(item)
        return seen

    timing = measure_time(work, Timing(repeats=3), loading=loading, clock=fake)
    assert timing.samples == (2.0, 2.0, 2.0)
    assert timing.result == [0, 1, 2, 3]
    assert loading.seconds == 4 * 38.0


@pytest.mark.parametrize(
    ("budget", "repeats", "warm"),
    [(None, 5, True), (6.0, 5, True), (3.9, 2, True), (1.9, 1, False), (0.1, 1, False)],
)
def test_budget_gives_the_repeats_that_fit_and_never_none(fake, budget, repeats, warm):
    timing = measure_time(lambda: fake.pass_(1.0), Timing(budget_s=budget), clock=fake)
    assert (timing.repeats, timing.warm) == (repeats, warm)
    assert timing.seconds == 1.0
    assert budget is None or fake.now <= max(budget, 1.0)


def test_budget_counts_loading_and_preparation(fake):
    timing = measure_time(lambda _: fake.pass_(1.0), Timing(budget_s=35.0), prepare=lambda: fake.pass_(9.0), clock=fake)
    assert timing.repeats == 2


def test_without_warm_up_one_sample_is_taken_and_called_cold(fake):
    timing = measure_time(lambda: fake.pass_(5.0), Timing(warmup=0, budget_s=1.0), clock=fake)
    assert (timing.repeats, timing.warm, timing.peak_bytes) == (1, False, None)


def test_cuda_is_waited_for_before_the_clock_is_read(fake, monkeypatch):
    pending = []

    def synchronize() -> None:
        fake.pass_(sum(pending))
        pending.clear()

    monkeypatch.setitem(
        sys.modules,
        "torch",
        SimpleNamespace(cuda=SimpleNamespace(synchronize=synchronize), get_num_threads=lambda: 1),
    )
    timing = measure_time(lambda: pending.append(3.0), Timing(device="cuda"), clock=fake)
    assert timing.samples == (3.0,) * 5
    assert timing.device == "cuda"


def test_threads_are_those_of_the_loaded_library():
    import faiss

    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        assert measure_time(lambda: None).threads == clock.native_threads()
        if "torch" not in sys.modules:
            assert clock.native_threads() == 1
    finally:
        faiss.omp_set_num_threads(before)


def test_peak_memory_sees_an_array_that_is_gone_again():
    def spike() -> None:
        array = np.ones(60 * 2**20, np.uint8)
        for _ in range(20):
            array += 1

    with PeakMemory() as peak:
        spike()
    assert peak.extra_bytes >= 50 * 2**20
    assert peak.peak_bytes >= peak.extra_bytes


def test_available_memory_is_what_a_size_is_refused_by(monkeypatch):
    assert available_memory() > 2**20
    indexes.require_memory(1, "a byte", "nothing")
    monkeypatch.setattr(indexes, "available_memory", lambda: 2 * 2**30)
    with pytest.raises(InputError, match=r"^flat needs about 5\.0 GiB of memory, and 2\.0 GiB are free; ask less$"):
        indexes.require_memory(5 * 2**30, "flat", "ask less")


@pytest.mark.parametrize("budget", [0, 0.0, -1.0, float("nan")])
def test_a_budget_that_is_not_positive_is_refused(budget):
    with pytest.raises(InputError, match="expected more than 0"):
        Timing(budget_s=budget)
    with pytest.raises(InputError, match="expected more than 0"):
        Timing(limit_s=budget)


@pytest.mark.parametrize("how", [{"repeats": 0}, {"warmup": -1}, {"threads": 0}])
def test_a_protocol_without_runs_or_threads_is_refused(how):
    ((name, value),) = how.items()
    with pytest.raises(InputError, match=f"{name}={value} was given; expected at least"):
        Timing(**how)


def test_a_row_has_exactly_the_columns_of_costs_csv():
    from fico_utils.results.schema import COSTS_COLUMNS

    made = cost_row("encode", "seconds", 2.0, system="scan", run=SimpleNamespace(profile="mini", run_id="mini-s0"))
    assert tuple(made) == COSTS_COLUMNS
    assert (made["profile"], made["run"], made["source"], made["status"]) == ("mini", "mini-s0", "ours", "ok")


def test_a_measurement_brings_its_spread_repeats_threads_and_device():
    made = cost_row("encode", "seconds", Measurement((1.0, 2.0, 3.0), threads=2, device="cuda"))
    assert (made["value"], made["spread"], made["repeats"], made["threads"], made["device"]) == (
        2.0,
        1.0,
        3,
        2,
        "cuda",
    )


def test_rows_outside_the_vocabulary_cannot_be_made():
    for phase, value, more in (
        ("cook", 1.0, {}),
        ("encode", 1.0, {"status": "maybe"}),
        ("encode", None, {}),
        ("encode", 1.0, {"colour": "red"}),
    ):
        with pytest.raises(AssertionError):
            cost_row(phase, "seconds", value, **more)
    assert cost_row("encode", "seconds", None, status="dnf")["value"] is None


def test_a_limit_is_no_part_of_how_a_time_was_measured():
    assert Timing(limit_s=5).described == Timing(limit_s=9).described != Timing(repeats=2).described
