"""What a collection takes on disk or in memory, from the arrays themselves (Table 5, right half).

Three accounts of the same embeddings: as written (``nbytes``), as the paper counts (one byte a bit of a hash
code), and bit-packed. 6 M codes of 64 bits are 0.36 GiB to the paper and 0.045 GiB packed; the paper's
embedding column is dimensions x bytes x 6 M but for ADV 2048-bit (`results/paper/README.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fico_utils.costs.clock import row
from fico_utils.errors import InputError

#: The paper's collection: images, captions.
PAPER_SCALE = (1_000_000, 5_000_000)


def stored(arrays: np.ndarray | Mapping[str, np.ndarray] | Iterable[np.ndarray]) -> int:
    """Bytes the arrays hold, the sum of their `nbytes`.

    >>> stored({"img": np.zeros((10, 64), np.int8), "txt": np.zeros((50, 64), np.int8)})
    3840
    """
    if isinstance(arrays, np.ndarray):
        return arrays.nbytes
    return sum(a.nbytes for a in (arrays.values() if isinstance(arrays, Mapping) else arrays))


def per_item(embeddings: np.ndarray, bits: int | None = None) -> dict[str, float]:
    """Bytes an item takes under the three accounts.

    Parameters
    ----------
    embeddings : (n, d) real embeddings; or codes: (n, bits), one element a bit, or (n, ceil(bits / 8)) uint8,
        packed.
    bits : int, length of the codes; None for real embeddings.

    Returns
    -------
    dict
        ``embedding_bytes`` as the array is, ``paper_bytes`` (codes: one byte a bit), and for codes
        ``packed_bytes`` (8 bits a byte).

    Raises
    ------
    InputError
        Not an (n, d) array with rows, or a width that is neither `bits` nor its packed form.
    """
    a = np.asarray(embeddings)
    if a.ndim != 2 or len(a) == 0:
        raise InputError(f"embeddings of shape {a.shape} were given; expected (n, d) with at least one row")
    actual = a.nbytes / len(a)
    if bits is None:
        return {"embedding_bytes": actual, "paper_bytes": actual}
    packed_width = -(-bits // 8)
    if a.shape[1] == bits:
        packed = np.packbits(a[:1] > 0, axis=1).nbytes
    elif a.shape[1] == packed_width and a.dtype == np.uint8:
        packed = a[:1].nbytes
    else:
        raise InputError(
            f"codes {a.shape[1]} wide ({a.dtype}) were given as {bits} bits; "
            f"expected {bits} elements, or {packed_width} bytes of uint8"
        )
    return {"embedding_bytes": actual, "paper_bytes": float(bits), "packed_bytes": float(packed)}


def storage_rows(
    img_emb: np.ndarray,
    txt_emb: np.ndarray,
    *,
    bits: int | None = None,
    features_img: np.ndarray | Sequence[np.ndarray] | None = None,
    features_txt: np.ndarray | Sequence[np.ndarray] | None = None,
    scales: Sequence[tuple[int, int]] = (PAPER_SCALE,),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``store``: bytes at the arrays' own size, and at each scale by bytes an item.

    Parameters
    ----------
    img_emb, txt_emb : (n_img, d), (n_txt, d) embeddings or codes as written.
    bits : int, length of the codes; None for real embeddings, whose ``packed_bytes`` are undefined.
    features_img, features_txt : arrays a system needs at query time (regions, words, masks), first axis the
        item; None where it needs none, and ``feature_bytes`` is unavailable.
    scales : (images, texts) to scale to; status ``extrapolated``.
    **columns : of `row`: system, corpus, run.

    Raises
    ------
    InputError
        Arrays without rows, codes of another width, or features of another count than the embeddings.
    """
    counts = {"img": len(img_emb), "txt": len(txt_emb)}
    each = {"img": per_item(img_emb, bits), "txt": per_item(txt_emb, bits)}
    for side, features in (("img", features_img), ("txt", features_txt)):
        if features is None:
            continue
        arrays = [features] if isinstance(features, np.ndarray) else list(features)
        lengths = {len(a) for a in arrays}
        if lengths != {counts[side]}:
            raise InputError(
                f"features of {sorted(lengths)} items were given with {counts[side]} {side} embeddings; "
                "expected the same items"
            )
        each[side]["feature_bytes"] = stored(arrays) / counts[side]

    rows = []
    for n_img, n_txt in dict.fromkeys([(counts["img"], counts["txt"]), *scales]):
        measured = (n_img, n_txt) == (counts["img"], counts["txt"])
        for quantity in ("embedding_bytes", "paper_bytes", "packed_bytes", "feature_bytes"):
            known = quantity in each["img"] or quantity in each["txt"]
            value = n_img * each["img"].get(quantity, 0.0) + n_txt * each["txt"].get(quantity, 0.0)
            missing = "unavailable" if quantity == "feature_bytes" else "undefined"
            place = {"scale_img": n_img, "scale_txt": n_txt, "unit": "B", **columns}
            status = ("ok" if measured else "extrapolated") if known else missing
            rows.append(row("store", quantity, round(value) if known else None, status=status, **place))
    return rows
