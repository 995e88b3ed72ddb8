"""Search in two steps, as the paper asks for: hash codes find candidates, a finer system puts them in order.

A `Screen` holds packed codes in a FAISS index and, for the second step, the embeddings of a dual encoder, or calls a
function that scores pairs (cross attention, fusion). `setups` measures screens beside indexes alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.costs.indexes import Settings, index_bytes, new_index
from fico_utils.costs.memory import require_memory
from fico_utils.costs.pairwise import Score
from fico_utils.errors import InputError
from fico_utils.workspace import read_arrays, read_metadata, write_arrays

#: Pairs that a scoring function gets at once; bounds the memory.
PAIRS = 1 << 14


class Screen:
    """Codes that screen, and what reads the first k again: ``ids, scores = screen.search((codes, queries), k)``.

    Parameters
    ----------
    codes : (n, bits / 8) uint8, packed codes of the items.
    vectors : (n, d) real embeddings of the same items, compared by inner product (normalise for a cosine); or None.
    score : callable or None, instead of `vectors`: see `pairwise.Score`.
    index : str, the binary index that screens: ``binary_flat_counting``, ``binary_flat`` or ``binary_ivf``.
    settings : Settings of the index; its `bits` are those of the codes.
    corpus : str, what the items are (a corpus's `key`): written to the file, and checked when it is read.

    Raises
    ------
    InputError
        Codes that are not packed uint8, codes and embeddings of different counts, both or neither of `vectors` and
        `score`, embeddings that are not finite, an index that holds no codes, or more than fits in memory.
    """

    def __init__(
        self,
        codes: np.ndarray,
        vectors: np.ndarray | None = None,
        score: Score | None = None,
        *,
        index: str = "binary_flat_counting",
        settings: Settings | None = None,
        corpus: str = "",
    ) -> None:
        if codes.ndim != 2 or codes.dtype != np.uint8 or codes.size == 0:
            raise InputError(
                f"codes of shape {codes.shape} ({codes.dtype}) were given to screen with; expected (n, bits / 8) "
                "packed uint8, as numpy.packbits makes them"
            )
        if (vectors is None) == (score is None):
            raise InputError(
                f"{'neither vectors nor' if score is None else 'both vectors and'} score were given; expected "
                "embeddings to rerank with, or a function that scores pairs, and not both"
            )
        if not index.startswith("binary"):
            raise InputError(f"{index!r} was to screen, and holds no codes; expected a binary index")
        self.n_items, self.bits, self.index_name, self.corpus = len(codes), 8 * codes.shape[1], index, corpus
        self.codes, self.vectors, self.score = codes, None, score
        self.settings = replace(settings or Settings(), bits=self.bits)
        dim = 0
        if vectors is not None:
            if vectors.ndim != 2 or len(vectors) != len(codes):
                raise InputError(
                    f"{len(codes)} codes and embeddings of shape {vectors.shape} were given; expected an embedding of "
                    "each item that has a code, in the same order"
                )
            dim = vectors.shape[1]
        require_memory(
            self.n_items * (3 * codes.shape[1] + 8 + 4 * dim),
            f"a screen of {self.n_items} codes of {self.bits} bits and {dim} dimensions",
            "screen a part of the collection at a time, shorten the embeddings, or give a score function that reads "
            "them from disk",
        )
        if vectors is not None:
            if not np.isfinite(vectors).all():
                raise InputError("embeddings to rerank with hold NaN or infinite values; remove those items first")
            self.vectors = new_index("flat_ip", dim, self.n_items, self.settings)
            self.vectors.add(np.ascontiguousarray(vectors, np.float32))
        self.index = new_index(index, dim, self.n_items, self.settings)
        if not self.index.is_trained:
            self.index.train(codes)
        self.index.add(np.ascontiguousarray(codes))

    @property
    def item_bytes(self) -> float:
        """Bytes an item takes: code, index and embedding; what a `score` function reads is not known here."""
        held = index_bytes(self.index) + (0 if self.vectors is None else index_bytes(self.vectors))
        return held / self.n_items

    def search(self, queries: tuple[np.ndarray, Any], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k items that the codes find first, in the order of the second step.

        Parameters
        ----------
        queries : (codes, asked): (n, bits / 8) packed uint8; and their embeddings (n, d), or what `score` reads of
            them: an array with a row a query.
        k : int, candidates that are read again, all of which are returned.

        Returns
        -------
        ids : (n, k) int64, best first; -1 where the index found fewer.
        scores : (n, k) float32, -inf there.

        Raises
        ------
        InputError
            k outside 1 to the number of items, or queries of another length, count or width.
        """
        codes, asked = queries
        if not 1 <= k <= self.n_items:
            raise InputError(
                f"the first {k} of {self.n_items} items were to be read again; expected k from 1 to {self.n_items}"
            )
        if codes.ndim != 2 or codes.dtype != np.uint8 or 8 * codes.shape[1] != self.bits or len(codes) != len(asked):
            raise InputError(
                f"{len(asked)} queries with codes of shape {codes.shape} ({codes.dtype}) were asked; expected "
                f"{self.bits} bits, packed, one code a query"
            )
        ids = self.index.search(np.ascontiguousarray(codes), k)[1]
        scores = self._by_vectors(asked, ids) if self.score is None else self._by_score(asked, ids)
        scores[ids < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)

    def _by_vectors(self, asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Inner products of queries and their candidates, (n, k) float32, computed where FAISS holds the items."""
        import faiss

        if asked.ndim != 2 or asked.shape[1] != self.vectors.d:
            raise InputError(f"queries of shape {asked.shape} were asked; expected (n, {self.vectors.d}) embeddings")
        asked, scores = np.ascontiguousarray(asked, np.float32), np.empty(ids.shape, np.float32)
        known = np.ascontiguousarray(np.maximum(ids, 0))
        self.vectors.compute_distance_subset(
            len(asked), faiss.swig_ptr(asked), ids.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(known)
        )
        return scores

    def _by_score(self, asked: Any, ids: np.ndarray) -> np.ndarray:
        """What the function says of queries and their candidates, (n, k) float32, some queries at a time."""
        scores, step = np.empty(ids.shape, np.float32), max(1, PAIRS // ids.shape[1])
        for i in range(0, len(ids), step):
            part = np.asarray(self.score(asked[i : i + step], np.maximum(ids[i : i + step], 0)))
            if part.shape != ids[i : i + step].shape:
                raise InputError(
                    f"the score function gave shape {part.shape} for candidates {ids[i : i + step].shape}; expected "
                    "a score for each"
                )
            scores[i : i + step] = part
        return scores

    def save(self, path: str | Path) -> None:
        """Write codes and embeddings, with the corpus they are of, as one safetensors file."""
        import faiss

        arrays = {"codes": self.codes}
        if self.vectors is not None:
            held = faiss.rev_swig_ptr(self.vectors.get_xb(), self.n_items * self.vectors.d)
            arrays["vectors"] = held.reshape(self.n_items, self.vectors.d)
        write_arrays(path, arrays, {"what": "screen", "corpus": self.corpus, "index": self.index_name})

    @classmethod
    def load(
        cls, path: str | Path, corpus: str, score: Score | None = None, settings: Settings | None = None
    ) -> Screen:
        """The screen in a file; InputError where it is no such file, or of another corpus."""
        found = read_metadata(path)
        if found.get("what") != "screen":
            raise InputError(f"{path} holds no screen; expected a file that Screen.save wrote")
        if found["corpus"] != corpus:
            raise InputError(
                f"{path} is of corpus {found['corpus']!r}, and {corpus!r} is to be searched; its ids would mean other "
                "items: build the screen again"
            )
        arrays = read_arrays(path)
        if "codes" not in arrays:
            raise InputError(f"{path} holds no codes; expected a file that Screen.save wrote")
        vectors = arrays.get("vectors")
        return cls(arrays["codes"], vectors, score, index=found["index"], settings=settings, corpus=corpus)
