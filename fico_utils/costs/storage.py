"""What a collection takes on disk or in memory, from the arrays themselves (Table 5, right half).

Three accounts of the same embeddings: as written (``nbytes``), as the paper counts (one byte a bit of a hash
code), and bit-packed. 6 M codes of 64 bits are 0.36 GiB to the paper and 0.045 GiB packed; the paper's
embedding column is dimensions x bytes x 6 M but for ADV 2048-bit (`results/paper/README.md`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.clock import row
from fico_utils.costs.indexes import Settings, index_bytes, new_index
from fico_utils.errors import InputError
from fico_utils.workspace import read_arrays, write_arrays

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.training import Inputs

VERSIONS = {"storage": 1}
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
    embeddings : (n, d) real embeddings, or (n, q, d), several an item; or codes: (n, bits), one element a bit, or
        (n, ceil(bits / 8)) uint8, packed.
    bits : int, length of the codes; None for real embeddings.

    Returns
    -------
    dict
        ``embedding_bytes`` as the array is, ``paper_bytes`` (codes: one byte a bit), and for codes
        ``packed_bytes`` (8 bits a byte).

    Raises
    ------
    InputError
        Not an (n, d) or (n, q, d) array with rows, codes of more than two dimensions, or a width that is neither
        `bits` nor its packed form.
    """
    a = np.asarray(embeddings)
    if a.ndim < 2 or len(a) == 0 or (bits is not None and a.ndim != 2):
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
            rows.append(row("store", quantity, round(value) if known else None, status=status, **place))
    return rows


# ------------------------------------------------------------------------------------------- what a system stores


def stored_sample(system: str, model: RetrievalModel, inputs: Inputs, n_img: int = 64) -> dict[str, Any]:
    """What a system stores of a sample, written to disk and read back: the arguments of `storage_rows`.

    Embeddings or packed codes; beside them what a query needs: the fragments of cross attention (its only
    embedding), or the contexts that a fusion head reads.

    Parameters
    ----------
    system : str, id of the registry.
    model : RetrievalModel, trained or not: its bytes do not depend on it.
    inputs : Inputs, what it reads.
    n_img : int, images of the sample; with five captions each.

    Raises
    ------
    InputError
        A sample of no image, or of more than there are.
    """
    from fico_utils.models import encoding

    images, texts = inputs.image[model.image_input], inputs.text[model.text_input]
    if not 1 <= n_img <= min(len(images), len(texts) // 5):
        raise InputError(
            f"a sample of {n_img} images with five captions each was asked for and {len(images)} images with "
            f"{len(texts)} captions given; expected 1 to {min(len(images), len(texts) // 5)}"
        )
    images, texts, measure = images[:n_img], texts[: 5 * n_img], registry.system(system).measure
    model.eval()
    arrays = {
        "img_emb": encoding.encode_side(model.encode_image, images),
        "txt_emb": encoding.encode_side(model.encode_text, texts),
    }
    if measure == "hamming":
        arrays = {name: encoding.hash_codes(a) for name, a in arrays.items()}
    elif measure == "attention":
        arrays = {"features_img": arrays["img_emb"], "features_txt": arrays["txt_emb"]}
    elif measure == "rerank":
        arrays["features_img"] = encoding.encode_side(model.image_context, images)
        arrays["features_txt"] = encoding.encode_side(model.text_context, texts)
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(Path(folder) / "sample.safetensors", arrays)
        written = read_arrays(Path(folder) / "sample.safetensors")
    if measure == "attention":  # nothing but fragments
        written |= {"img_emb": np.empty((n_img, 0)), "txt_emb": np.empty((5 * n_img, 0))}
    return {**written, "bits": 8 * written["img_emb"].shape[1] if measure == "hamming" else None}


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
    vectors = np.ascontiguousarray(sample.reshape(-1, sample.shape[-1]))
    if bits is None:
        index = new_index("hnsw_flat", vectors.shape[1], len(vectors), Settings())
        index.add(vectors)
        added = index_bytes(index) - vectors.nbytes
    else:
        index = new_index("binary_ivf", bits, len(vectors), Settings(bits=bits, n_list=1, n_probe=1))
        index.train(vectors)
        index.add(vectors)
        added = index_bytes(index) - vectors.nbytes - vectors[:1].nbytes
    return added / len(sample)
