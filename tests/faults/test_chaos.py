"""A killed run ends with the numbers of one that nobody disturbed; `chaos` kills more often."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import chaos


@pytest.mark.notebooks
def test_a_run_that_is_killed_ends_with_the_same_numbers(tmp_path: Path, undisturbed: bytes) -> None:
    accidents = ["group", "kernel", "SIGTERM"]
    happened = chaos.killed_run(tmp_path / "killed", random.Random(0), accidents, orphans=30)
    assert happened == dict.fromkeys(accidents, 1)
    assert (tmp_path / "killed/mini/metrics.csv").read_bytes() == undisturbed
