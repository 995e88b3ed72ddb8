"""What a system keeps of the images of a gallery, and of the captions that ask: what is searched in two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fico_utils.costs.blocks import CAPTIONS, Block, Stage

if TYPE_CHECKING:
    from fico_utils.artifacts import Units


class ItemKeeper:
    """Keeps what a system stores of each block's images, and of the captions that ask, one unit a block.

    Parameters
    ----------
    encoder : Stage
    n_query : int, scenes whose captions ask, all in the first block.
    units : Units or None; None keeps them in memory.
    half : bool, keep half precision: fragments of cross attention, of which there are many.
    """

    def __init__(self, encoder: Stage, n_query: int, units: Units | None, half: bool = False) -> None:
        self.encoder, self.n_query, self.half, self._units = encoder, n_query, half, units
        self._held: list[dict[str, np.ndarray]] = []
        numbers = set(units.numbers()) if units else set()
        self.done = next(i for i in range(len(numbers) + 1) if i not in numbers)

    def see(self, block: Block) -> None:
        """Keep a block."""
        kept = block.embed(self.encoder)
        arrays = {"img": kept["img"].astype(np.float16) if self.half else kept["img"]}
        if block.number == 0:
            arrays["txt"] = kept["txt"][: CAPTIONS * self.n_query]
        if self._units is None:
            self._held.append(arrays)
        else:
            self._units.write(block.number, arrays)
        self.done += 1

    def save(self) -> None:
        """Nothing is left to write."""

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """What was kept: of all images (n, ...), and of the captions that ask (5 n_query, ...)."""
        parts = self._held if self._units is None else [self._units.read(number)[0] for number in range(self.done)]
        return np.concatenate([part["img"] for part in parts]), parts[0]["txt"]
