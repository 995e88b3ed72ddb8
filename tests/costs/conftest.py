"""Time that only passes where a test lets it pass, so that no measurement of a test depends on the machine's load."""

from __future__ import annotations

import threading
import time

import pytest

from fico_utils.costs.clock import Loading, measure_time


@pytest.fixture
def simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of measurements counts what this thread slept, without waiting; reading it takes a picosecond."""
    slept, sleep, thread = [0.0], time.sleep, threading.get_ident()

    def pass_time(seconds: float) -> None:
        if threading.get_ident() == thread:
            slept[0] += seconds
        else:
            sleep(seconds)

    def read_clock() -> float:
        slept[0] += 1e-12  # so that nothing takes no time at all
        return slept[0]

    monkeypatch.setattr(time, "sleep", pass_time)
    monkeypatch.setitem(measure_time.__kwdefaults__, "clock", read_clock)
    monkeypatch.setattr(Loading.__init__, "__defaults__", (read_clock,))
