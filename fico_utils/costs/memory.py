"""Memory: what a block takes at its peak, what is to be had, and the refusal of what cannot fit."""

from __future__ import annotations

import threading

from fico_utils.errors import InputError
from fico_utils.machine import available_memory, peak_memory, resident_memory


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


def available_bytes() -> int:
    """Memory to be had without swapping, B: what the kernel offers, or a container's limit if lower."""
    free = available_memory()
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            return free if limit == "max" else min(free, int(limit) - int(file.read()))
    except OSError:
        return free


def require_memory(needed: int, what: str, instead: str) -> None:
    """Return if `needed` bytes are to be had; otherwise InputError: what would be needed, what to try."""
    available = available_bytes()
    if needed > available:
        raise InputError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are "
            f"free; {instead}"
        )
