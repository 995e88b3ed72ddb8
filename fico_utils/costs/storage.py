"""What a collection takes on disk or in memory, from the arrays themselves (Table 5, right half).

Three accounts of the same embeddings: as written (``nbytes``), as the paper counts (one byte a bit of a hash
code), and bit-packed. 6 M codes of 64 bits are 0.36 GiB to the paper and 0.045 GiB packed; the paper's
embedding column is dimensions x bytes x 6 M but for ADV 2048-bit (`results/paper/README.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.clock import cost_row
from fico_utils.costs.indexes import Settings, filled_index, index_bytes

if TYPE_CHECKING:
    from fico_utils.models.serving import Items

#: Raised when the meaning of what is counted here changes.
VERSIONS = {"storage": 1}
#: The paper's collection: images, captions.
PAPER_SCALE = (1_000_000, 5_000_000)


def stored_bytes(arrays: np.ndarray | Mapping[str, np.ndarray] | Iterable[np.ndarray]) -> int:
    """Bytes the arrays hold, the sum of their `nbytes`.

    >>> stored_bytes({"img": np.zeros((10, 64), np.int8), "txt": np.zeros((50, 64), np.int8)})
    3840
    """
    if isinstance(arrays, np.ndarray):
        return arrays.nbytes
    return sum(a.nbytes for a in (arrays.values() if isinstance(arrays, Mapping) else arrays))


def bytes_per_item(embeddings: np.ndarray, bits: int | None = None) -> dict[str, float]:
    """Bytes an item takes under the three accounts.

    Parameters
    ----------
    embeddings : (n, d) real embeddings, or (n, q, d), several an item; or codes: (n, bits), one element a bit, or
        (n, ceil(bits / 8)) uint8, packed.
    bits : int, length of the codes; None for real embeddings.

    Returns
    -------
    dict
        ``embedding_bytes`` as the array is, ``paper_bytes`` (codes: one byte a bit), and for codes
        ``packed_bytes`` (8 bits a byte).
    """
    a = np.asarray(embeddings)
    assert a.ndim == 2 or (a.ndim > 2 and bits is None), f"embeddings of shape {a.shape}; expected (n, d)"
    assert len(a), "expected at least one row"
    actual = a.nbytes / len(a)
    if bits is None:
        return {"embedding_bytes": actual, "paper_bytes": actual}
    packed = -(-bits // 8)
    assert a.shape[1] == bits or (a.shape[1] == packed and a.dtype == np.uint8), f"codes {a.shape[1]} wide, {bits} bits"
    return {"embedding_bytes": actual, "paper_bytes": float(bits), "packed_bytes": float(packed)}


def storage_rows(
    img_emb: np.ndarray,
    txt_emb: np.ndarray,
    *,
    bits: int | None = None,
    features_img: np.ndarray | Sequence[np.ndarray] | None = None,
    features_txt: np.ndarray | Sequence[np.ndarray] | None = None,
    index: tuple[float, float] | None = None,
    scales: Sequence[tuple[int, int]] = (PAPER_SCALE,),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``store``: bytes at the arrays' own size, and at each scale by bytes an item.

    Parameters
    ----------
    img_emb, txt_emb : (n_img, d), (n_txt, d) embeddings or codes as written; (n_img, q, d) where an image has several.
    bits : int, length of the codes; None for real embeddings, whose ``packed_bytes`` are undefined.
    features_img, features_txt : arrays a system needs at query time (regions, words, masks), first axis the
        item; None where it needs none, and ``feature_bytes`` is unavailable.
    index : (bytes an image, bytes a text) that an index adds, from `index_on_top`; None gives no row for it.
    scales : (images, texts) to scale to; status ``extrapolated``.
    **columns : of `cost_row`: system, corpus, run.
    """
    counts = {"img": len(img_emb), "txt": len(txt_emb)}
    each = {"img": bytes_per_item(img_emb, bits), "txt": bytes_per_item(txt_emb, bits)}
    for side, features in (("img", features_img), ("txt", features_txt)):
        if features is None:
            continue
        arrays = [features] if isinstance(features, np.ndarray) else list(features)
        assert {len(a) for a in arrays} == {counts[side]}, f"features of other items than the {side} embeddings"
        each[side]["feature_bytes"] = stored_bytes(arrays) / counts[side]
    quantities = ["embedding_bytes", "paper_bytes", "packed_bytes", "feature_bytes"]
    if index is not None:
        quantities.append("index_bytes")
        each["img"]["index_bytes"], each["txt"]["index_bytes"] = index

    rows = []
    for n_img, n_txt in dict.fromkeys([(counts["img"], counts["txt"]), *scales]):
        measured = (n_img, n_txt) == (counts["img"], counts["txt"])
        for quantity in quantities:
            known = quantity in each["img"] or quantity in each["txt"]
            value = n_img * each["img"].get(quantity, 0.0) + n_txt * each["txt"].get(quantity, 0.0)
            missing = "unavailable" if quantity == "feature_bytes" else "undefined"
            place = {"scale_img": n_img, "scale_txt": n_txt, "unit": "B", **columns}
            status = ("ok" if measured else "extrapolated") if known else missing
            rows.append(cost_row("store", quantity, round(value) if known else None, status=status, **place))
    return rows


# ------------------------------------------------------------------------------------------- what a system stores


def stored_sample(system: str, images: Items, texts: Items) -> dict[str, Any]:
    """What a system stores of some items: the arguments of `storage_rows`, arrays where there are any.

    Embeddings or packed codes; beside them what a query needs: the fragments of cross attention (its only
    embedding), or the contexts that a fusion head reads.

    Parameters
    ----------
    system : str, id of the registry.
    images, texts : Items, what the system keeps of the sample.
    """
    serving = registry.system(system).serving
    (img, img_beside), (txt, txt_beside) = serving.storage(images), serving.storage(texts)
    arrays = {"img_emb": img, "txt_emb": txt, "features_img": img_beside, "features_txt": txt_beside}
    return {name: array for name, array in arrays.items() if array is not None} | {"bits": code_bits(system, img)}


def code_bits(system: str, embeddings: np.ndarray) -> int | None:
    """Length of a system's packed hash codes (n, bits / 8); None for real embeddings."""
    return 8 * embeddings.shape[1] if registry.system(system).serving.hashed else None


def index_on_top(sample: np.ndarray, bits: int | None = None) -> float:
    """Bytes an item that a search index adds to the embeddings themselves, from one built over the sample.

    The graph of an HNSW index; for codes the ids of an inverted file (whose lists' centres are next to nothing). An
    item of several embeddings enters with each of them; one without any cannot be indexed: 0.

    Parameters
    ----------
    sample : (n, d) or (n, q, d) float32 embeddings, or packed codes (n, bits / 8) uint8.
    bits : int, length of the codes; None for real embeddings.
    """
    if sample.shape[-1] == 0:
        return 0.0
    vectors = sample.reshape(-1, sample.shape[-1])
    if bits is None:
        added = index_bytes(filled_index("hnsw_flat", vectors, Settings())) - vectors.nbytes
    else:
        index = filled_index("binary_ivf", vectors, Settings(bits=bits, n_list=1, n_probe=1))
        added = index_bytes(index) - vectors.nbytes - vectors[:1].nbytes
    return added / len(sample)
