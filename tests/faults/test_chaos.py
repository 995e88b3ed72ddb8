"""A killed run ends with the numbers of one that nobody disturbed; `chaos` kills more often."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import chaos


@pytest.mark.notebooks
@pytest.mark.xdist_group("tiny run")
def test_a_run_that_is_killed_ends_with_the_same_numbers(tmp_path: Path, undisturbed: bytes) -> None:
    accidents = ["group", "kernel", "SIGTERM"]
    # without 02, so that 04 trains what 02 would have shown: the numbers may not depend on who makes what
    happened = chaos.killed_run(tmp_path / "killed", random.Random(0), accidents, "01,03,04", orphans=30)
    assert happened == dict.fromkeys(accidents, 1)
    assert (tmp_path / "killed/mini/metrics.csv").read_bytes() == undisturbed
