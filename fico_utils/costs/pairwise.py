"""How systems score: what they stored, all with all; pairs, as the second step of a screen or of a fusion row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.stages import CAPTIONS, digest, model_key
from fico_utils.errors import InputError
from fico_utils.workspace import key_of

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.training import Inputs

#: ``score(asked, ids)``: rows of queries (n, ...) and the ids of their candidates (n, k), or (k,), the same for all ->
#: scores (n, k).
Score = Callable[[Any, np.ndarray], np.ndarray]
#: Scores of images (n_img, ...) against texts (n_txt, ...): (n_img, n_txt), larger is closer.
Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: Pairs that a fusion head reads at once; bounds the memory.
PAIRS = 512


@dataclass(frozen=True)
class Pairwise:
    """A system that scores pairs: cross attention or fusion.

    Attributes
    ----------
    score : see `Score`; ids count in the gallery's own order.
    asked : array, a row a query; may be fewer queries than the others ask, the first of them.
    n_items : int, items that it can score; larger galleries are left out.
    item_bytes : float, bytes of what it reads of an item.
    key : str, of its weights and of what it reads.
    """

    score: Score
    asked: np.ndarray
    n_items: int
    item_bytes: float
    key: str = ""


def pairwise(system: str, model: RetrievalModel, inputs: Inputs, n_items: int, n_query: int) -> Pairwise:
    """A system with attention at query time as a `Pairwise`: the first images, asked by their first captions.

    Parameters
    ----------
    system : str, id of a row whose measure is ``attention`` or ``rerank``.
    model : RetrievalModel
    inputs : Inputs, of a split whose images are those of the gallery, in its order.
    n_items : int, images that can be searched.
    n_query : int, captions that ask: five of each image, in order.

    Raises
    ------
    InputError
        A system without attention, or more images or captions than the split has.
    """
    from fico_utils.models import encoding

    measure = registry.system(system).measure
    if measure not in ("attention", "rerank"):
        raise InputError(f"{system} computes no attention at query time; search its embeddings in an index")
    images, texts = inputs.image[model.image_input], inputs.text[model.text_input]
    scenes = -(-n_query // CAPTIONS)
    if not 0 < scenes <= n_items <= len(images):
        raise InputError(
            f"{n_query} captions of {n_items} images were asked for, {CAPTIONS} an image, and the split has "
            f"{len(images)}; ask for fewer"
        )
    rows = np.concatenate([np.flatnonzero(inputs.caption_image == i)[:CAPTIONS] for i in range(scenes)])[:n_query]
    if len(rows) < n_query:
        raise InputError(f"the first {scenes} images have {len(rows)} captions; expected {CAPTIONS} each")
    images, texts = images[:n_items], texts[rows]
    model.eval()
    key = key_of(model_key(system, model), inputs.key, n_items, n_query)
    img, txt = (
        encoding.encode_side(e, x) for e, x in ((model.encode_image, images), (model.encode_text, texts))
    )  # fmt: skip
    if measure == "attention":
        return Pairwise(_attention(model, img, txt), np.arange(n_query), n_items, img[0].nbytes, key)
    seen, read = (
        encoding.encode_side(e, x) for e, x in ((model.image_context, images), (model.text_context, texts))
    )  # fmt: skip
    fused = _fusion(model, img, txt, seen, read)
    return Pairwise(fused, np.arange(n_query), n_items, img[0].nbytes + seen[0].nbytes, key)


def attending(system: str, model: RetrievalModel, images: np.ndarray, texts: np.ndarray) -> Pairwise:
    """A system with cross attention as a `Pairwise` over fragments that were stored before.

    Parameters
    ----------
    system : str, id of a row whose measure is ``attention``.
    model : RetrievalModel
    images : (n_items, R, d) float32 or float16, fragments of the gallery's images, in its order.
    texts : (n_query, L, d) float32, of the captions that ask.

    Raises
    ------
    InputError
        A system without cross attention.
    """
    if registry.system(system).measure != "attention":
        raise InputError(f"{system} attends to no fragments that it stored; expected a system with cross attention")
    key = key_of(model_key(system, model), digest({"img": images, "txt": texts}))
    score = _attention(model.eval(), images, texts)
    return Pairwise(score, np.arange(len(texts)), len(images), images[0].nbytes, key)


def _attention(model: Any, img: np.ndarray, txt: np.ndarray) -> Score:
    """Scores of pairs by cross attention, from the fragments of both sides."""
    from fico_utils.models import encoding

    def score(asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        if ids.ndim == 1:
            return encoding.score(model, img[ids].astype(np.float32, copy=False), txt[asked], progress=False).T
        return np.concatenate([score(asked[q : q + 1], own) for q, own in enumerate(ids)])

    return score


def _fusion(model: Any, img: np.ndarray, txt: np.ndarray, seen: np.ndarray, read: np.ndarray) -> Score:
    """Scores of pairs by the fusion head, from contexts; the cosine is added where the system adds it."""
    import torch

    from fico_utils.models.encoding import late_scores

    @torch.inference_mode()
    def one(query: int, ids: np.ndarray) -> np.ndarray:
        words = torch.from_numpy(read[query : query + 1]).expand(len(ids), *read.shape[1:])
        scores = model.match(torch.from_numpy(seen[ids]), words).numpy()
        return scores + late_scores(model, img[ids], txt[query : query + 1])[:, 0] if model.adds_cosine else scores

    def score(asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
        each = np.broadcast_to(ids, (len(asked), ids.shape[-1]))
        return np.stack([one(int(q), i) for q, i in zip(asked, each, strict=True)])

    return score


# ------------------------------------------------------------------------------------------------ all with all


def scorer(system: str, model: RetrievalModel | None = None) -> Scorer:
    """How a row of the tables compares what it stored, as a function of images and texts.

    Parameters
    ----------
    system : str, id of the registry.
    model : RetrievalModel; only a row whose measure is more than a cosine or a Hamming distance needs it.

    Raises
    ------
    InputError
        A measure that needs the model, without it.

    Notes
    -----
    Of a system that reads again what was ranked first, this is the ranking: see `again`.
    """
    measure = registry.system(system).measure
    if measure == "cosine":
        return lambda img, txt: _unit(img) @ _unit(txt).T
    if measure == "hamming":
        return equal_bits
    if model is None:
        raise InputError(f"{system} compares by {measure}, which its model computes; give the model")
    from fico_utils.models import encoding

    if measure in ("late", "rerank"):
        return lambda img, txt: encoding.late_scores(model, img, txt)
    return lambda img, txt: encoding.score(model, img, txt, progress=False)


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def equal_bits(img: np.ndarray, txt: np.ndarray) -> np.ndarray:
    """Number of equal bits of packed codes (n_img, b) and (n_txt, b) uint8: (n_img, n_txt) int16.

    >>> equal_bits(np.uint8([[255]]), np.uint8([[255], [254]])).tolist()
    [[8, 7]]
    """
    if img.dtype != np.uint8 or txt.dtype != np.uint8 or img.shape[1] != txt.shape[1]:
        raise InputError(
            f"codes of shapes {img.shape} ({img.dtype}) and {txt.shape} ({txt.dtype}) were given; "
            "expected packed uint8 of one length"
        )
    width = -(-img.shape[1] // 8) * 8
    a, b = (np.pad(x, ((0, 0), (0, width - x.shape[1]))).view(np.uint64) for x in (img, txt))
    same = np.full((len(a), len(b)), 8 * img.shape[1], np.int16)
    for word in range(a.shape[1]):
        same -= np.bitwise_count(a[:, word, None] ^ b[None, :, word]).astype(np.int16)
    return same


# --------------------------------------------------------------------------------------------------- read again


@dataclass(frozen=True)
class Again:
    """A fusion head over features as they come: it reads the first `depth` of a ranking again.

    Attributes
    ----------
    model : FusionModel
    depth : int, candidates of a query that are read again, at least 1.
    """

    model: Any
    depth: int

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"the first {self.depth} of a ranking were to be read again; expected at least 1")

    @property
    def adds_ranking(self) -> bool:
        """Whether the ranking's own score counts too."""
        return self.model.adds_cosine

    def match(self, images: np.ndarray, texts: np.ndarray, image: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Scores (p,) float32 of pairs of rows `image` and `text` (p,) of features; other rows are not read."""
        import torch

        from fico_utils.models.encoding import encode_side

        sides = ((self.model.image_context, images, image), (self.model.text_context, texts, text))
        contexts = []
        for context, features, rows in sides:
            used, place = np.unique(rows, return_inverse=True)
            contexts.append((torch.from_numpy(encode_side(context, features[used])), torch.from_numpy(place)))
        (seen, image), (read, text) = contexts
        with torch.inference_mode():
            parts = [slice(i, i + PAIRS) for i in range(0, len(image), PAIRS)]
            return np.concatenate([self.model.match(seen[image[p]], read[text[p]]).numpy() for p in parts])


def again(system: str, model: RetrievalModel, depth: int) -> Again | None:
    """What reads the first `depth` of a ranking again; None for a system whose ranking stands.

    Raises
    ------
    InputError
        A depth below 1.
    """
    return Again(model.eval(), depth) if registry.system(system).measure == "rerank" else None
