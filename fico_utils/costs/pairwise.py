"""Systems that score pairs, as the second step of a screen: captions asked of images, features held in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.stages import CAPTIONS
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.models.blocks import RetrievalModel
    from fico_utils.models.training import Inputs

#: ``score(asked, ids)``: rows of queries (n, ...) and the ids of their candidates (n, k) -> scores (n, k).
Score = Callable[[Any, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pairwise:
    """A system that scores pairs: cross attention or fusion.

    Attributes
    ----------
    score : see `Score`; ids count in the gallery's own order.
    asked : array, a row a query; may be fewer queries than the others ask, the first of them.
    n_items : int, items that it can score; larger galleries are left out.
    item_bytes : float, bytes of what it reads of an item.
    """

    score: Score
    asked: np.ndarray
    n_items: int
    item_bytes: float


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
    img, txt = (
        encoding.encode_side(e, x) for e, x in ((model.encode_image, images), (model.encode_text, texts))
    )  # fmt: skip
    if measure == "attention":

        def score(asked: np.ndarray, ids: np.ndarray) -> np.ndarray:
            pairs = zip(asked, ids, strict=True)
            return np.stack([encoding.score(model, img[i], txt[q : q + 1], progress=False)[:, 0] for q, i in pairs])

        return Pairwise(score, np.arange(n_query), n_items, img[0].nbytes)
    seen, read = (
        encoding.encode_side(e, x) for e, x in ((model.image_context, images), (model.text_context, texts))
    )  # fmt: skip
    fused = _fusion(model, img, txt, seen, read)
    return Pairwise(fused, np.arange(n_query), n_items, img[0].nbytes + seen[0].nbytes)


def _fusion(model: Any, img: np.ndarray, txt: np.ndarray, seen: np.ndarray, read: np.ndarray) -> Score:
    """Scores of pairs by the fusion head, from contexts; the cosine is added where the system adds it."""
    import torch

    from fico_utils.models.encoding import late_scores

    @torch.inference_mode()
    def one(query: int, ids: np.ndarray) -> np.ndarray:
        words = torch.from_numpy(read[query : query + 1]).expand(len(ids), *read.shape[1:])
        scores = model.match(torch.from_numpy(seen[ids]), words).numpy()
        return scores + late_scores(model, img[ids], txt[query : query + 1])[:, 0] if model.adds_cosine else scores

    return lambda asked, ids: np.stack([one(int(q), i) for q, i in zip(asked, ids, strict=True)])
