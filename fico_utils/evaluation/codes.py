"""Scores of hash codes: the number of equal bits, counted on packed 64-bit words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.inputs import Whole, read_chunks, read_table


def pack_codes(codes: Any, bits: int | None = None, name: str = "codes") -> tuple[np.ndarray, int]:
    """Hash codes as packed 64-bit words: (n, ceil(bits / 64)) uint64, and the number of bits.

    Parameters
    ----------
    codes : ndarray (n, bits)
        bool, or the numbers {0, 1} or {-1, +1} of any type; or, if `bits` is given, (n, ceil(bits / 8)) uint8
        as ``numpy.packbits`` makes them.
    bits : int, optional
        Number of bits of packed codes.

    >>> pack_codes(np.array([[-1, 1, 1], [1, -1, -1]]))[0][:, 0] == pack_codes(np.uint8([[96], [128]]), 3)[0][:, 0]
    array([ True,  True])
    """
    codes = read_table(codes, name)
    n, width = codes.shape
    if bits is None:
        bits, packed = width, np.zeros((n, -(-width // 64) * 8), np.uint8)
        seen = set()
        for start, chunk in read_chunks(codes):
            low, zero = chunk == -1, chunk == 0
            odd = np.argwhere(~(low | zero | (chunk == 1)))
            seen |= {value for value, there in ((-1, low.any()), (0, zero.any())) if there}
            if odd.size or len(seen) == 2:
                row, column = odd[0] if odd.size else np.argwhere(low | zero)[0]
                raise InputError(
                    f"{name} hold {chunk[row, column]} in row {start + row}, a third value beside those of a code: "
                    "expected {0, 1} or {-1, +1}, or packed uint8 with the number of bits (bits, --bits)"
                )
            packed[start : start + chunk.shape[0], : -(-width // 8)] = np.packbits(chunk > 0, axis=1)
    else:
        if codes.dtype != np.uint8:
            raise InputError(f"{name} hold {codes.dtype} values, expected packed uint8: leave bits out if not packed")
        if width != -(-bits // 8):
            raise InputError(f"{name} are {width} bytes wide, but {bits} bits need {-(-bits // 8)}")
        if bits % 8 and np.any(codes[:, -1] & (0xFF >> bits % 8)):
            raise InputError(f"{name} have bits set beyond the first {bits}: give the true number of bits")
        packed = np.zeros((n, -(-bits // 64) * 8), np.uint8)
        packed[:, :width] = codes
    if bits > 65535:
        raise InputError(f"{name} have {bits} bits, expected at most 65535")
    return packed.view(np.uint64), bits


class CodeScores(Whole):
    """Number of equal bits of two sets of hash codes: bits - Hamming distance."""

    may_cut = False
    dtype = np.dtype(np.uint16)

    def __init__(self, images: Any, texts: Any, bits: int | None = None) -> None:
        (images, self.bits), (texts, bits_txt) = pack_codes(images, bits, "images"), pack_codes(texts, bits, "texts")
        if self.bits != bits_txt:
            raise InputError(f"images have {self.bits} bits and texts {bits_txt}, expected codes of one length")
        self.n_img, self.n_txt = images.shape[0], texts.shape[0]
        self._sides = {
            "i2t": (images, np.ascontiguousarray(texts.T)),
            "t2i": (texts, np.ascontiguousarray(images.T)),
        }

    def rows(self, direction: str, numbers: slice | np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of some queries, in ``out``."""
        from fico_utils.evaluation.kernels_instance import code_scores

        chosen, gallery = self._sides[direction]
        chosen = chosen[numbers]
        code_scores(chosen, gallery, self.bits, out[: chosen.shape[0]])
        return out[: chosen.shape[0]]


@dataclass(frozen=True)
class Hamming:
    """How hash codes are compared."""

    name: str = "hamming"
    has_codes = True

    def score(
        self, images: Any, texts: Any, *, bits: int | None = None, allow_zero: bool = False, device: str | None = None
    ) -> CodeScores:
        """The source of scores of two sets of codes; InputError where they are none."""
        if bits is not None and (isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or bits < 1):
            raise InputError(f"bits is {bits!r}, expected a whole number from 1")
        return CodeScores(images, texts, None if bits is None else int(bits))

    def arguments(self, images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        """Arguments of `evaluate` for codes as a system stores them, packed."""
        return {"images": images, "texts": texts, "measure": self.name, "bits": 8 * images.shape[1]}
