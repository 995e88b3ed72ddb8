"""How a system is served: what is kept of an item, how images and captions are compared, what is read at query time.

Every row of the tables has one serving object, stated in the file of its model; who wants to know what a system does
asks that object and never looks at a name. The module loads without torch, since the registry builds these objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from fico_utils.models.training import Inputs

#: What is scored of all pairs: one matrix (n_img, n_txt), or ``sim_i2t`` and ``sim_t2i`` where the directions differ.
Scores = np.ndarray | dict[str, np.ndarray]
#: The candidates (k,) of one query, and their scores (k,).
Answer = tuple[np.ndarray, np.ndarray]


def _encoding() -> ModuleType:
    """The module that computes with torch, loaded when something is computed."""
    from fico_utils.models import encoding

    return encoding


@dataclass(frozen=True)
class Items:
    """What a system keeps of n images or of n captions.

    Attributes
    ----------
    vectors : ndarray, what its encoder gives, in the form that is kept: float32 embeddings (n, d), or (n, q, d) where
        an image has several; packed hash codes (n, bits / 8) uint8; or the fragments (n, F, d) of cross attention.
    context : ndarray (n, ...) or None, what a fusion head reads of an item beside its embedding.
    """

    vectors: np.ndarray
    context: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Any) -> Items:
        return Items(self.vectors[rows], None if self.context is None else self.context[rows])

    @property
    def bytes_per_item(self) -> int:
        """Bytes that are kept of one item."""
        return self.vectors[0].nbytes + (0 if self.context is None else self.context[0].nbytes)


@dataclass(frozen=True)
class Serving:
    """What the three ways of serving have in common; the arguments mean the same in all methods.

    ``model`` is a `RetrievalModel` that has learnt, in evaluation mode; ``images`` and ``texts`` are `Items`, or the
    arrays of their `vectors`; ``depth`` says how many candidates of a query `Reranks` reads again.
    """

    reads_pairs: ClassVar[bool] = False  # the model itself computes something for pairs when queries come,
    reranks: ClassVar[bool] = False  # for the first candidates of a query alone
    hashed: ClassVar[bool] = False  # packed hash codes are kept
    searchable: ClassVar[bool] = False  # an item has one vector, so that an index finds the nearest ones
    name: ClassVar[str]  # a word for tables and for ``pretrained`` in a profile

    def kept_form(self, encoded: np.ndarray) -> np.ndarray:
        """What an encoder gave of some items, in the form that is kept."""
        return encoded

    def encode(self, model: Any, images: np.ndarray, texts: np.ndarray) -> tuple[Items, Items]:
        """What is kept of images and captions, from the features (n, ...) that the model reads."""
        sides = ((model.encode_image, images), (model.encode_text, texts))
        return tuple(Items(self.kept_form(_encoding().encode_side(encoder, features))) for encoder, features in sides)

    def storage(self, items: Items) -> tuple[np.ndarray, np.ndarray | None]:
        """What is kept of items as two accounts: embeddings or codes, and what a query needs beside them."""
        return items.vectors, items.context

    def settings(self, depth: int) -> dict[str, Any]:
        """What `stored_scores` depends on besides the weights and the split."""
        return {"rerank_depth": depth} if self.reranks else {}

    def while_training(self, model: Any) -> Serving:
        """How the model is scored on the validation split in the state it is in."""
        return self

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        """What is kept of a split to evaluate it.

        Returns
        -------
        dict of ndarray: ``img`` and ``txt``, float32 (n, d) or packed codes uint8 (n, bits / 8); or ``sim_i2t``
        (n_img, n_txt) float32, and ``sim_t2i`` (n_txt, n_img) where the directions differ.
        """
        raise NotImplementedError

    def evaluation_arguments(self, stored: dict[str, np.ndarray]) -> dict[str, Any]:
        """What `stored_scores` gave, as keywords of `fico_utils.evaluate`."""
        matrices = {"similarity": stored["sim_i2t"], "similarity_t2i": stored.get("sim_t2i")}
        return {"images": None, "texts": None, **matrices}

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Scores (n_img, n_txt) of all images with all captions, larger is closer; of `Reranks`, its first ranking."""
        raise NotImplementedError

    def rank_first(self, model: Any, images: Items, texts: Items) -> np.ndarray | None:
        """The ranking that decides which pairs are read, (n_img, n_txt); None where all of them are."""
        return self.compare(model, images.vectors, texts.vectors) if self.reranks else None

    def read_pairs(self, model: Any, images: Items, texts: Items, ranking: np.ndarray | None, depth: int) -> Scores:
        """Scores of the pairs that are read in both directions, after `rank_first` gave `ranking`."""
        raise NotImplementedError

    def answer_query(self, model: Any, images: Items, texts: Items, depth: int | None = None) -> Answer:
        """The answer to one query, where one side is a single item; with a depth of None all of the other are read."""
        raise NotImplementedError

    def score_candidates(
        self, model: Any, images: Items, texts: Items, asked: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        """Scores (n, k) of the captions `asked` (n,) with their `candidates` (n, k) among the images, read as pairs.

        Candidates (k,) are the same for all.
        """
        each = np.broadcast_to(candidates, (len(asked), candidates.shape[-1]))
        return np.stack([self.answer_query(model, images[c], texts[[q]])[1] for q, c in zip(asked, each, strict=True)])


@dataclass(frozen=True)
class Embeds(Serving):
    """Embed and compare: one vector an item, or several an image of which the best counts.

    Attributes
    ----------
    measure : str, how vectors are compared, one of `fico_utils.evaluation`: cosine, inner_product, euclidean, or
        hamming, which means packed hash codes.
    late : bool, an image has several vectors; its score is the largest cosine (the model's own `similarity`).
    """

    measure: str = "cosine"
    late: bool = False

    @property
    def name(self) -> str:
        return "late" if self.late else self.measure

    @property
    def hashed(self) -> bool:
        return self._measure.has_codes

    @property
    def searchable(self) -> bool:
        return not self.late

    @property
    def _measure(self) -> Any:
        from fico_utils.evaluation import find_measure

        return find_measure(self.measure)

    def kept_form(self, encoded: np.ndarray) -> np.ndarray:
        return _encoding().hash_codes(encoded) if self.hashed else encoded

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        kept = {side: self.kept_form(array) for side, array in _encoding().encode(model, inputs).items()}
        return {"sim_i2t": self.compare(model, kept["img"], kept["txt"])} if self.late else kept

    def evaluation_arguments(self, stored: dict[str, np.ndarray]) -> dict[str, Any]:
        if self.late:
            return super().evaluation_arguments(stored)
        return self._measure.arguments(stored["img"], stored["txt"])

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        if self.late:
            return _encoding().late_scores(model, images, texts)
        return _encoding().SIMILARITIES[self.measure](images, texts)


@dataclass(frozen=True)
class Attends(Serving):
    """Cross attention: the fragments of both sides are kept, and every pair is scored when queries come."""

    reads_pairs: ClassVar[bool] = True
    name: ClassVar[str] = "attention"

    def storage(self, items: Items) -> tuple[np.ndarray, np.ndarray | None]:
        return np.empty((len(items), 0), np.float32), items.vectors

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        return {"sim_i2t": _encoding().attention_scores(model, **_encoding().encode(model, inputs))}

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return _encoding().attention_scores(model, images.astype("float32", copy=False), texts, progress=False)

    def read_pairs(self, model: Any, images: Items, texts: Items, ranking: np.ndarray | None, depth: int) -> Scores:
        return self.compare(model, images.vectors, texts.vectors)

    def answer_query(self, model: Any, images: Items, texts: Items, depth: int | None = None) -> Answer:
        scores = self.compare(model, images.vectors, texts.vectors).ravel()
        return np.arange(len(scores)), scores

    def score_candidates(
        self, model: Any, images: Items, texts: Items, asked: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        if candidates.ndim == 1:  # one block of captions and images
            return self.compare(model, images.vectors[candidates], texts.vectors[asked]).T
        return super().score_candidates(model, images, texts, asked, candidates)


@dataclass(frozen=True)
class Reranks(Serving):
    """A dual encoder ranks, then a fusion head reads the first candidates of a query with it and scores them again."""

    reads_pairs: ClassVar[bool] = True
    reranks: ClassVar[bool] = True
    name: ClassVar[str] = "rerank"

    def encode(self, model: Any, images: np.ndarray, texts: np.ndarray) -> tuple[Items, Items]:
        sides = ((model.encode_image, model.image_context, images), (model.encode_text, model.text_context, texts))
        encode = _encoding().encode_side
        return tuple(Items(encode(e, features), encode(c, features)) for e, c, features in sides)

    def while_training(self, model: Any) -> Serving:
        """Its dual encoder alone until its fusion head learns."""
        return self if model.fusing else Embeds(late=True)

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        encoded = _encoding().encode(model, inputs)
        return _encoding().rerank(model, inputs, self.compare(model, encoded["img"], encoded["txt"]), depth)

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return _encoding().late_scores(model, images, texts)

    def read_pairs(self, model: Any, images: Items, texts: Items, ranking: np.ndarray | None, depth: int) -> Scores:
        import torch

        contexts = (torch.from_numpy(side.context) for side in (images, texts))
        return _encoding().rerank_contexts(model, *contexts, ranking, depth, progress=False)

    def answer_query(self, model: Any, images: Items, texts: Items, depth: int | None = None) -> Answer:
        import torch

        ranking = torch.from_numpy(self.compare(model, images.vectors, texts.vectors)).ravel()
        first = np.arange(len(ranking)) if depth is None else ranking.topk(depth).indices.numpy()
        contexts = (side.context[first] if len(side) > 1 else side.context for side in (images, texts))
        scores = _encoding().match_contexts(model, *contexts)
        weight = model.cosine_weight
        return first, scores + weight * ranking.numpy()[first] if weight else scores

    def match_features(
        self, model: Any, images: np.ndarray, texts: np.ndarray, image: np.ndarray, text: np.ndarray, pairs: int = 512
    ) -> np.ndarray:
        """Matches (p,) float32 of the rows `image` (p,) and `text` (p,) of features; only these rows are encoded."""
        contexts = []
        for context, features, rows in ((model.image_context, images, image), (model.text_context, texts, text)):
            used, place = np.unique(rows, return_inverse=True)
            contexts.append((_encoding().encode_side(context, features[used]), place))
        (seen, image), (read, text) = contexts
        parts = [slice(i, i + pairs) for i in range(0, len(image), pairs)]
        return np.concatenate([_encoding().match_contexts(model, seen[image[p]], read[text[p]]) for p in parts])
