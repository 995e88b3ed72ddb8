"""Streaming to disk: what is written is what was encoded, and nothing finished is ever encoded twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fico_utils.errors import InputError
from fico_utils.extras.pretrained.batches import AHEAD, Side
from fico_utils.extras.pretrained.streaming import stream

N, WIDTH = 50, 3
KEY = {"key": "k"}
ROWS = np.random.default_rng(0).standard_normal((N, WIDTH)).astype(np.float32)


class Counter:
    """A side that counts how often each row was encoded, and may stop after some batches."""

    def __init__(self, stop_after: int | None = None, batch: int = 8, order: np.ndarray | None = None) -> None:
        self.seen, self.batches, self.stop_after = np.zeros(N, int), 0, stop_after
        self.side = Side(N, torch.from_numpy, self.encode, batch, order)

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        if self.batches == self.stop_after:
            raise KeyboardInterrupt
        self.batches += 1
        self.seen[rows.numpy()] += 1
        return torch.from_numpy(ROWS)[rows]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_a_plain_safetensors_file(tmp_path, dtype):
    path = tmp_path / "deep" / "x.safetensors"
    order = np.random.default_rng(1).permutation(N)
    got = stream(
        path, {"img": Counter().side, "txt": Counter(order=order).side}, {"key": "k", "corpus": "c"}, dtype=dtype
    )
    assert isinstance(got["img"], np.memmap)
    whole = load_file(path)
    for name in ("img", "txt"):
        assert whole[name].dtype == dtype
        np.testing.assert_array_equal(whole[name], ROWS.astype(dtype))
        np.testing.assert_array_equal(got[name], whole[name])
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]
    from fico_utils.files import content_digest, read_metadata

    assert read_metadata(path) == {"key": "k", "corpus": "c", "digest": content_digest(whole)}


@pytest.mark.parametrize("stop", [1, 2, 4, 6])
def test_a_stopped_run_goes_on_and_encodes_no_finished_row_again(tmp_path, stop):
    path, first = tmp_path / "x.safetensors", Counter(stop_after=stop)
    with pytest.raises(KeyboardInterrupt):
        stream(path, {"img": first.side}, KEY, progress=False)
    assert not path.exists()
    second = Counter(batch=5)  # another batch size, as after a change of machine
    got = stream(path, {"img": second.side}, KEY, progress=False)
    done = min(N, 8 * stop)
    assert second.seen[:done].sum() == 0
    assert (second.seen[done:] == 1).all()
    assert second.batches == -(-(N - done) // 5)
    np.testing.assert_array_equal(got["img"], ROWS)
    third = Counter()
    stream(path, {"img": third.side}, KEY, progress=False)
    assert third.batches == 0


def _slowly(path: Path, log: Path) -> None:
    def encode(rows: torch.Tensor) -> torch.Tensor:
        with open(log, "a") as file:
            file.write(" ".join(map(str, rows.tolist())) + "\n")
        if len(log.read_text().splitlines()) > 3:
            time.sleep(60)
        return torch.from_numpy(ROWS)[rows]

    stream(path, {"img": Side(N, torch.from_numpy, encode, 8)}, KEY, progress=False)


def test_a_killed_process_goes_on(tmp_path):
    """Killed outright, in the middle of its fourth batch; three batches of eight are done."""
    path, log = tmp_path / "x.safetensors", tmp_path / "log"
    child = multiprocessing.get_context("fork").Process(target=_slowly, args=(path, log))
    child.start()
    until = time.monotonic() + 20
    while (not log.exists() or len(log.read_text().splitlines()) < 4) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    again = Counter()
    got = stream(path, {"img": again.side}, KEY, progress=False)
    assert np.flatnonzero(again.seen).tolist() == list(range(24, N))
    np.testing.assert_array_equal(got["img"], ROWS)


def test_a_torn_row_is_encoded_again(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(KeyboardInterrupt):
        stream(path, {"img": Counter(stop_after=3).side}, KEY, progress=False)
    part = path.with_name("x.safetensors.part")
    with open(part, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(8 + length + 5 * WIDTH * 4)
        file.write(b"torn")
    again = Counter()
    got = stream(path, {"img": again.side}, KEY, progress=False)
    assert np.flatnonzero(again.seen).tolist() == [5, *range(24, N)]
    np.testing.assert_array_equal(got["img"], ROWS)


@pytest.mark.parametrize("what", ["other key", "cut", "foreign", "empty"])
def test_a_beginning_that_does_not_fit_is_made_anew(tmp_path, what):
    path = tmp_path / "x.safetensors"
    with pytest.raises(KeyboardInterrupt):
        stream(
            path, {"img": Counter(stop_after=4).side}, {"key": "old" if what == "other key" else "k"}, progress=False
        )
    part = path.with_name("x.safetensors.part")
    if what == "cut":
        os.truncate(part, part.stat().st_size - 3)
    elif what != "other key":
        part.write_bytes(b"" if what == "empty" else b"\xff" * 500)
    again = Counter()
    got = stream(path, {"img": again.side}, KEY, progress=False)
    assert (again.seen == 1).all()
    np.testing.assert_array_equal(got["img"], ROWS)


@pytest.mark.parametrize("what", ["other key", "truncated", "foreign"])
def test_a_finished_file_that_does_not_fit_is_made_anew(tmp_path, what):
    path = tmp_path / "x.safetensors"
    stream(path, {"img": Counter().side}, {"key": "old" if what == "other key" else "k"}, progress=False)
    if what == "truncated":
        os.truncate(path, path.stat().st_size - 40)
    elif what == "foreign":
        path.write_bytes(json.dumps({"no": "safetensors"}).encode() * 20)
    again = Counter()
    np.testing.assert_array_equal(stream(path, {"img": again.side}, KEY, progress=False)["img"], ROWS)
    assert (again.seen == 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_is_not_finite_is_refused_by_its_row(tmp_path, value):
    """Also what overflows only in the precision it is stored in."""

    def encode(rows: torch.Tensor) -> torch.Tensor:
        out = torch.from_numpy(ROWS)[rows].clone()
        out[rows == 13] = value
        return out

    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="encoding: img, row 13: what") as caught:
        stream(path, {"img": Side(N, torch.from_numpy, encode, 8)}, KEY, dtype="float16", progress=False)
    assert "\n" not in str(caught.value)
    assert not path.exists()
    again = Counter()
    stream(path, {"img": again.side}, KEY, dtype="float16", progress=False)
    assert again.seen[:8].sum() == 0  # the batch before it was done
    assert (again.seen[8:] == 1).all()


def test_a_batch_that_does_not_fit_on_the_device_is_halved(tmp_path):
    sizes = []

    def encode(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        sizes.append(len(rows))
        return torch.from_numpy(ROWS)[rows]

    got = stream(tmp_path / "x.safetensors", {"img": Side(N, torch.from_numpy, encode, 16)}, KEY, progress=False)
    np.testing.assert_array_equal(got["img"], ROWS)
    assert max(sizes) == 2

    def never(rows: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(InputError, match="does not fit into the memory"):
        stream(tmp_path / "y.safetensors", {"img": Side(N, torch.from_numpy, never, 16)}, KEY, progress=False)


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

    stream(tmp_path / "x.safetensors", {"img": Side(N, load, encode, 2)}, KEY, workers=4, progress=False)
    assert max(most) <= AHEAD + 1


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "x.safetensors"
    inner = Counter()

    def encode(rows: torch.Tensor) -> torch.Tensor:
        with pytest.raises(InputError, match="another process is writing"):
            stream(path, {"img": inner.side}, KEY, progress=False)
        return torch.from_numpy(ROWS)[rows]

    stream(path, {"img": Side(N, torch.from_numpy, encode, N)}, KEY, progress=False)
    assert inner.batches == 0


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"GiB, and there is no room for it \(No space left on device\)"):
        stream(tmp_path / "x.safetensors", {"img": Counter().side}, KEY, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_other_bad_input(tmp_path):
    with pytest.raises(InputError, match="cannot be stored as 'bfloat16'"):
        stream(tmp_path / "x.safetensors", {"img": Counter().side}, KEY, dtype="bfloat16")
    with pytest.raises(InputError, match="nothing to encode under 'img'"):
        stream(tmp_path / "x.safetensors", {"img": Side(0, torch.from_numpy, Counter().encode, 8)}, KEY)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        stream(tmp_path / "file" / "x.safetensors", {"img": Counter().side}, KEY)


def test_progress_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fico_utils.progress.INTERVAL", 0)
    stream(tmp_path / "x.safetensors", {"img": Counter().side}, KEY, label="CLIP on noise")
    assert "CLIP on noise: " in capsys.readouterr().err
