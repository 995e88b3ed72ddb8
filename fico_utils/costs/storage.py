"""What a collection takes on disk or in memory, from the arrays themselves (Table 5, right half).

Three accounts of the same embeddings: as written (``nbytes``), as the paper counts (one byte a bit of a hash code), and
bit-packed. The paper's embedding column is dimensions x bytes x 6 M but for ADV 2048-bit (`results/paper/README.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.indexes import Settings, filled_index, index_bytes
from fico_utils.costs.rows import Size, cost_row

if TYPE_CHECKING:
    from fico_utils.models.serving import Items

#: Raised when the meaning of what is counted here changes.
VERSIONS = {"storage": 1}
#: The paper's collection: images, captions.
PAPER_SCALE = (1_000_000, 5_000_000)
QUANTITIES = ("embedding_bytes", "paper_bytes", "packed_bytes", "feature_bytes")


def bytes_per_item(embeddings: np.ndarray, bits: int | None = None) -> dict[str, float]:
    """Bytes an item takes: as the array is, as the paper counts, and for codes of `bits` bits, packed.

    `embeddings` are (n, d), or (n, q, d), several an item; or codes: (n, bits), one element a bit, or
    (n, ceil(bits / 8)) uint8, packed.
    """
    assert embeddings.ndim == 2 or (embeddings.ndim > 2 and bits is None), f"embeddings of shape {embeddings.shape}"
    assert len(embeddings), "expected at least one row"
    actual = embeddings.nbytes / len(embeddings)
    if bits is None:
        return {"embedding_bytes": actual, "paper_bytes": actual}
    width, packed = embeddings.shape[1], -(-bits // 8)
    assert width == bits or (width == packed and embeddings.dtype == np.uint8), f"codes {width} wide, {bits} bits"
    return {"embedding_bytes": actual, "paper_bytes": float(bits), "packed_bytes": float(packed)}


def storage_rows(
    img_emb: np.ndarray,
    txt_emb: np.ndarray,
    *,
    bits: int | None = None,
    features_img: np.ndarray | None = None,
    features_txt: np.ndarray | None = None,
    index: tuple[float, float] | None = None,
    scales: Sequence[Size] = (PAPER_SCALE,),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of phase ``store``: bytes at the arrays' own size, and at each scale (images, texts) by bytes an item.

    Embeddings, or codes of `bits` bits, are as written, see `bytes_per_item`; real embeddings have no ``packed_bytes``.
    Features are what a system needs of an item at query time, first axis the item; where they are None,
    ``feature_bytes`` is unavailable. `index` is (bytes an image, bytes a text) that an index adds, from `index_on_top`.
    """
    each = []
    for embeddings, features in ((img_emb, features_img), (txt_emb, features_txt)):
        each.append(bytes_per_item(embeddings, bits))
        if features is not None:
            assert len(features) == len(embeddings), "features of other items than the embeddings"
            each[-1]["feature_bytes"] = features.nbytes / len(features)
    if index is not None:
        each = [account | {"index_bytes": added} for account, added in zip(each, index, strict=True)]
    rows, own_size = [], (len(img_emb), len(txt_emb))
    for size in dict.fromkeys([own_size, *scales]):
        place = {"scale_img": size[0], "scale_txt": size[1], "unit": "B", **columns}
        for quantity in QUANTITIES if index is None else (*QUANTITIES, "index_bytes"):
            if any(quantity in account for account in each):
                value = round(sum(n * account.get(quantity, 0.0) for n, account in zip(size, each, strict=True)))
                status = "ok" if size == own_size else "extrapolated"
            else:
                value, status = None, "unavailable" if quantity == "feature_bytes" else "undefined"
            rows.append(cost_row("store", quantity, value, status=status, **place))
    return rows


def stored_sample(system: str, images: Items, texts: Items) -> dict[str, np.ndarray]:
    """What a system stores of some items, arguments of `storage_rows`: embeddings or packed codes, and features.

    The features are what a query needs beside: the fragments of cross attention (its only embedding), or the contexts
    that a fusion head reads.
    """
    serving = registry.system(system).serving
    (img, img_beside), (txt, txt_beside) = serving.storage(images), serving.storage(texts)
    arrays = {"img_emb": img, "txt_emb": txt, "features_img": img_beside, "features_txt": txt_beside}
    return {name: array for name, array in arrays.items() if array is not None}


def code_bits(system: str, embeddings: np.ndarray) -> int | None:
    """Length of a system's packed hash codes (n, bits / 8); None for real embeddings."""
    return 8 * embeddings.shape[1] if registry.system(system).serving.hashed else None


def index_on_top(sample: np.ndarray, bits: int | None = None) -> float:
    """Bytes an item that a search index adds to the embeddings themselves, from one built over the sample.

    The graph of an HNSW index; for codes of `bits` bits, packed (n, bits / 8), the ids of an inverted file. An item of
    several embeddings (n, q, d) enters with each of them; one without any cannot be indexed: 0.
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
