"""Encoding in units of the store: what is gathered is what was encoded, and no finished unit is encoded twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fico_utils.artifacts import Recipe, Store
from fico_utils.errors import InputError
from fico_utils.extras.pretrained import batches
from fico_utils.extras.pretrained.batches import AHEAD, Effort, MappedUnits, Side, encode_units, gather_units

N, WIDTH, UNIT = 50, 3, 8
QUIET = Effort(progress=False)
ROWS = np.random.default_rng(0).standard_normal((N, WIDTH)).astype(np.float32)


def units_of(root):
    return Store(root).units("embeddings", "toy", Recipe("encoding"))


def side_of(encode, batch=8, load=torch.from_numpy):
    return Side(N, load, encode, batch, unit=UNIT)


class Counter:
    """A side that counts how often each row was encoded, and may stop after some batches."""

    def __init__(self, stop_after: int | None = None, batch: int = 8, order: np.ndarray | None = None) -> None:
        self.seen, self.batches, self.stop_after = np.zeros(N, int), 0, stop_after
        self.side = Side(N, torch.from_numpy, self.encode, batch, order, UNIT)

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        if self.batches == self.stop_after:
            raise KeyboardInterrupt
        self.batches += 1
        self.seen[rows.numpy()] += 1
        return torch.from_numpy(ROWS)[rows]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_gathered_is_what_was_encoded(tmp_path, dtype):
    side, units = Counter(batch=5, order=np.random.default_rng(1).permutation(N)).side, units_of(tmp_path)
    encode_units(side, units, dtype=dtype, effort=QUIET)
    got = gather_units(side, units)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, ROWS.astype(dtype))
    units.remove()
    assert not units.folder.exists()


def test_rows_may_stay_on_the_disk(tmp_path):
    side, units = Counter().side, units_of(tmp_path)
    encode_units(side, units, effort=QUIET)
    mapped, asked = MappedUnits(side, units), torch.tensor([49, 0, 17, 17])
    assert all(isinstance(part, np.memmap) for part in mapped.parts)
    np.testing.assert_array_equal(mapped[asked], ROWS[asked])


@pytest.mark.parametrize("stop", [1, 2, 4, 6])
def test_a_stopped_run_goes_on_and_encodes_no_finished_unit_again(tmp_path, stop):
    with pytest.raises(KeyboardInterrupt):
        encode_units(Counter(stop_after=stop).side, units_of(tmp_path), effort=QUIET)
    second = Counter(batch=5)  # another batch size, as after a change of machine
    encode_units(second.side, units_of(tmp_path), effort=QUIET)
    assert second.seen[: UNIT * stop].sum() == 0
    assert (second.seen[UNIT * stop :] == 1).all()
    np.testing.assert_array_equal(gather_units(second.side, units_of(tmp_path)), ROWS)
    third = Counter()
    encode_units(third.side, units_of(tmp_path), effort=QUIET)
    assert third.batches == 0


def _slowly(root: Path, log: Path) -> None:
    def encode(rows: torch.Tensor) -> torch.Tensor:
        with open(log, "a") as file:
            file.write(" ".join(map(str, rows.tolist())) + "\n")
        if len(log.read_text().splitlines()) > 3:
            time.sleep(600)
        return torch.from_numpy(ROWS)[rows]

    encode_units(side_of(encode), units_of(root), effort=QUIET)


def test_a_killed_process_goes_on(tmp_path):
    """Killed outright, in the middle of its fourth batch; three units of eight are done."""
    log = tmp_path / "log"
    child = multiprocessing.get_context("fork").Process(target=_slowly, args=(tmp_path, log))
    child.start()
    while child.is_alive() and (not log.exists() or len(log.read_text().splitlines()) < 4):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    again = Counter()
    encode_units(again.side, units_of(tmp_path), effort=QUIET)
    assert np.flatnonzero(again.seen).tolist() == list(range(24, N))
    np.testing.assert_array_equal(gather_units(again.side, units_of(tmp_path)), ROWS)


def test_a_damaged_unit_is_encoded_again(tmp_path, capsys):
    units = units_of(tmp_path)
    encode_units(Counter().side, units, effort=QUIET)
    content = units.path(2).read_bytes()
    units.path(2).write_bytes(content.replace(ROWS[17].tobytes(), b"torn" * WIDTH))
    units.path(4).write_bytes(content[:50])
    again = Counter()
    encode_units(again.side, units, effort=QUIET)
    assert np.flatnonzero(again.seen).tolist() == [*range(16, 24), *range(32, 40)]
    assert capsys.readouterr().err.count("this unit is made again") == 2
    np.testing.assert_array_equal(gather_units(again.side, units), ROWS)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_is_not_finite_is_refused_by_its_row(tmp_path, value):
    """Also what overflows only in the precision it is stored in."""

    def encode(rows: torch.Tensor) -> torch.Tensor:
        out = torch.from_numpy(ROWS)[rows].clone()
        out[rows == 13] = value
        return out

    with pytest.raises(InputError, match="toy: img, row 13: what was encoded is NaN or infinite") as caught:
        encode_units(side_of(encode), units_of(tmp_path), dtype="float16", label="toy: img", effort=QUIET)
    assert "\n" not in str(caught.value)
    assert units_of(tmp_path).numbers() == [0]  # the unit before it was done


def test_a_batch_that_does_not_fit_on_the_device_is_halved(tmp_path):
    sizes = []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        sizes.append(len(rows))
        return torch.from_numpy(ROWS)[rows]

    def never(rows: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    encode_units(side_of(encode), units_of(tmp_path), effort=QUIET)
    np.testing.assert_array_equal(gather_units(side_of(encode), units_of(tmp_path)), ROWS)
    assert max(sizes) == 2
    with pytest.raises(InputError, match="does not fit into the memory"):
        encode_units(side_of(never), units_of(tmp_path / "other"), effort=QUIET)


def test_memory_is_bounded_by_the_batches_ahead(tmp_path):
    """No more batches are prepared than the one in use and those ahead of it."""
    waiting, most = [], []

    def load(rows: np.ndarray) -> torch.Tensor:
        waiting.append(len(rows))
        most.append(len(waiting))
        return torch.from_numpy(rows)

    def encode(rows: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01)
        waiting.pop()
        return torch.from_numpy(ROWS)[rows]

    encode_units(side_of(encode, 2, load), units_of(tmp_path), effort=Effort(workers=4, progress=False))
    assert max(most) <= AHEAD + 1


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    with pytest.raises(InputError, match="GiB, and there is no room for it"):
        encode_units(Counter().side, units_of(tmp_path), effort=QUIET)
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_progress_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fico_utils.progress.INTERVAL", 0)
    encode_units(Counter().side, units_of(tmp_path), label="CLIP on noise")
    assert "CLIP on noise: " in capsys.readouterr().err
