"""From a trained system to what it stores and how it scores: items batch by batch, scores block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fico_utils.errors import InputError
from fico_utils.models.contract import FusionModel, RetrievalModel
from fico_utils.models.layers import word_mask
from fico_utils.models.training import Inputs, as_tensor
from fico_utils.progress import show_progress

VERSIONS = {"encoding": 1}


@torch.inference_mode()
def encode(model: RetrievalModel, inputs: Inputs, batch_size: int = 256) -> dict[str, np.ndarray]:
    """Embeddings of a split: ``img`` (n_img, ...) and ``txt`` (n_txt, ...), float32, in the order of the corpus."""
    model.eval()
    return {
        "img": encode_side(model.encode_image, inputs.image[model.image_input], batch_size),
        "txt": encode_side(model.encode_text, inputs.text[model.text_input], batch_size),
    }


@torch.inference_mode()
def encode_side(encoder: Callable[[Tensor], Tensor], features: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Embeddings (n, ...) float32 of features (n, ...), batch by batch."""
    parts = [encoder(as_tensor(features[i : i + batch_size])).numpy() for i in range(0, len(features), batch_size)]
    return np.concatenate(parts)


def hash_codes(embeddings: np.ndarray) -> np.ndarray:
    """Packed hash codes (n, bits / 8) uint8 of real codes (n, bits), by sign; 0 is positive, as in `binarise`."""
    return np.packbits(embeddings >= 0, axis=1)


def equal_bits(img: np.ndarray, txt: np.ndarray) -> np.ndarray:
    """Number of equal bits of packed codes (n_img, b) and (n_txt, b) uint8: (n_img, n_txt) int16.

    >>> equal_bits(np.uint8([[255]]), np.uint8([[255], [254]])).tolist()
    [[8, 7]]
    """
    assert img.dtype == txt.dtype == np.uint8, "packed hash codes are uint8"
    assert img.shape[1] == txt.shape[1], "both sides have codes of one length"
    width = -(-img.shape[1] // 8) * 8
    a, b = (np.pad(x, ((0, 0), (0, width - x.shape[1]))).view(np.uint64) for x in (img, txt))
    same = np.full((len(a), len(b)), 8 * img.shape[1], np.int16)
    for word in range(a.shape[1]):
        same -= np.bitwise_count(a[:, word, None] ^ b[None, :, word]).astype(np.int16)
    return same


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _euclidean(img: np.ndarray, txt: np.ndarray) -> np.ndarray:
    squares = (img * img).sum(1)[:, None] + (txt * txt).sum(1)[None, :]
    return -np.sqrt(np.maximum(squares - 2 * img @ txt.T, 0))


#: Measure of `fico_utils.evaluation` -> scores (n_img, n_txt) of what is kept of both sides, larger is closer.
SIMILARITIES = {
    "cosine": lambda img, txt: _unit(img) @ _unit(txt).T,
    "inner_product": lambda img, txt: img @ txt.T,
    "euclidean": _euclidean,
    "hamming": equal_bits,
}


@torch.inference_mode()
def attention_scores(
    model: RetrievalModel, img: np.ndarray, txt: np.ndarray, block: int = 1 << 22, progress: bool = True
) -> np.ndarray:
    """The matrix sim_i2t (n_img, n_txt) float32 of a system with attention at query time, from what `encode` gave.

    At most `block` attention weights are held at once.
    """
    model.eval()
    # Captions of one length side by side: a block is then as wide as its words, not as the longest caption.
    lengths = (txt != 0).any(-1).sum(1)
    order = np.argsort(lengths, kind="stable")
    images = torch.from_numpy(img)
    scores = np.empty((len(img), len(txt)), np.float32)
    captions = 256
    shown = progress and scores.size >= 1e6
    for start in show_progress(range(0, len(txt), captions), "attention", unit="block", shown=shown, leave=False):
        chosen = order[start : start + captions]
        words = torch.from_numpy(txt[chosen])
        rows = max(1, block // (len(chosen) * int(lengths[chosen].max()) * img.shape[1]))
        for top in range(0, len(img), rows):
            scores[top : top + rows, chosen] = model.similarity(images[top : top + rows], words).numpy()
    return scores


def side_by_side(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
    """What `work` gives for each part, in order; as many parts at a time as torch has threads, each on one thread.

    For operations that are too small to gain from a second thread. The results are the same to the last bit.
    """
    threads = torch.get_num_threads()

    def work_alone(part: Any) -> Any:
        with torch.inference_mode():  # holds for one thread
            return work(part)

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work_alone, parts)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@torch.inference_mode()
def late_scores(model: FusionModel, img: np.ndarray, txt: np.ndarray, rows: int = 128) -> np.ndarray:
    """The matrix sim_i2t (n_img, n_txt) float32 of a dual encoder whose `similarity` is more than a dot product."""
    images, texts = torch.from_numpy(img), torch.from_numpy(txt)
    parts = [model.similarity(images[i : i + rows], texts).numpy() for i in range(0, len(images), rows)]
    return np.concatenate(parts)


@torch.inference_mode()
def match_contexts(model: FusionModel, image: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Matches (p,) float32 of p pairs of contexts (p, T, width) and (p, L, ...), of which one may be a single item."""
    pairs = max(len(image), len(text))
    return model.match(*(torch.from_numpy(side).expand(pairs, *side.shape[1:]) for side in (image, text))).numpy()


def rerank(model: FusionModel, inputs: Inputs, sim: np.ndarray, k: int, **options: Any) -> dict[str, np.ndarray]:
    """As `rerank_contexts`, from the features of a split, whose contexts are computed first."""
    if k < 1:
        raise InputError(f"the depth of the rerank is {k}; expected at least 1 candidate a query")
    model.eval()
    images = encode_side(model.image_context, inputs.image[model.image_input])
    texts = encode_side(model.text_context, inputs.text[model.text_input])
    return rerank_contexts(model, torch.from_numpy(images), torch.from_numpy(texts), sim, k, **options)


@torch.inference_mode()
def rerank_contexts(
    model: FusionModel,
    images: Tensor,
    texts: Tensor,
    sim: np.ndarray,
    k: int,
    batch_size: int = 512,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Both directions' scores after the fusion head read each query with its k nearest candidates.

    Parameters
    ----------
    images, texts : Tensor (n_img, ...), (n_txt, ...), what the fusion head reads of the items.
    sim : ndarray (n_img, n_txt) float32, scores of the dual encoder.
    batch_size : int, pairs that are read at once.

    Returns
    -------
    dict with ``sim_i2t`` (n_img, n_txt) and ``sim_t2i`` (n_txt, n_img), float32; -inf where a pair was not ranked. Two
    matrices, since a pair may be among the first k of one side only.
    """
    lengths, weight = word_mask(texts).sum(1).numpy(), model.cosine_weight

    def read_side(sim: np.ndarray, by_image: bool) -> np.ndarray:
        (n, m), depth = sim.shape, min(k, sim.shape[1])
        first = np.argpartition(-sim, depth - 1, axis=1)[:, :depth] if depth < m else np.tile(np.arange(m), (n, 1))
        pairs = np.stack([np.repeat(np.arange(n), depth), first.reshape(-1)], 1)
        # captions of one length side by side: a batch is then as wide as its words
        pairs = pairs[np.argsort(lengths[pairs[:, int(by_image)]], kind="stable")]
        out = np.full((n, m), -np.inf, np.float32)

        def read_pairs(start: int) -> None:
            query, candidate = pairs[start : start + batch_size].T
            image, text = (query, candidate) if by_image else (candidate, query)
            words = texts[torch.from_numpy(text)][:, : int(lengths[text].max())]
            scores = model.match(images[torch.from_numpy(image)], words).numpy()
            out[query, candidate] = scores + weight * sim[query, candidate] if weight else scores

        starts, shown = range(0, len(pairs), batch_size), progress and len(pairs) >= 20_000
        done = side_by_side(read_pairs, starts)
        for _ in show_progress(done, "rerank", len(starts), unit="batch", shown=shown, leave=False):
            pass
        return out

    return {"sim_i2t": read_side(sim, True), "sim_t2i": read_side(np.ascontiguousarray(sim.T), False)}
