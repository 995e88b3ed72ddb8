"""How a system is served: what is kept of an item, how images and captions are compared, what is read at query time.

Every row of the tables has one serving object, stated in the file of its model: `Embeds`, `Attends` or `Reranks`.
Who wants to know what a system does asks that object and never looks at a name::

    serving = registry.system("scan").serving
    images, texts = serving.encode(model, features_of_images, features_of_captions)     # two `Items`
    serving.compare(model, images.vectors, texts.vectors)                               # (n_img, n_txt)
    serving.score_candidates(model, images, texts, asked, candidates)                   # (n_asked, k)

To evaluate a split, `stored_scores` gives what is kept of it and `evaluation_arguments` turns that into keywords of
`fico_utils.evaluate`. Costs use `encode`, `compare`, `score_candidates`, `rank_first` with `read_pairs`, and
`answer_query`. The module loads without torch, since the registry builds these objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from fico_utils.models.training import Inputs


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
        """Some of the items, by a slice or an array of rows."""
        return Items(self.vectors[rows], None if self.context is None else self.context[rows])

    @property
    def bytes_per_item(self) -> int:
        """Bytes that are kept of one item."""
        return self.vectors[0].nbytes + (0 if self.context is None else self.context[0].nbytes)


@dataclass(frozen=True)
class Serving:
    """What the three ways of serving have in common; the arguments mean the same in all methods.

    Arguments
    ---------
    model : RetrievalModel that has learnt, in evaluation mode.
    images, texts : Items, or the arrays of their `vectors`.
    depth : int, candidates of a query that are read again; only `Reranks` looks at it.

    Class attributes
    ----------------
    reads_pairs : bool, the model itself computes something for pairs of an image and a caption when queries come.
    reranks : bool, it does so for the first candidates of a query alone.
    name : str, a word for tables and for ``pretrained`` in a profile; what a system does is asked of the methods.
    """

    reads_pairs: ClassVar[bool] = False
    reranks: ClassVar[bool] = False
    name: ClassVar[str]

    @property
    def hashed(self) -> bool:
        """Whether packed hash codes are kept."""
        return False

    @property
    def searchable(self) -> bool:
        """Whether an item has one vector, so that an index of vectors or codes finds the nearest ones."""
        return False

    # ------------------------------------------------------------------------------------------------ encoding

    def kept_form(self, encoded: np.ndarray) -> np.ndarray:
        """What an encoder gave of some items, in the form that is kept."""
        return encoded

    def encode(self, model: Any, images: np.ndarray, texts: np.ndarray) -> tuple[Items, Items]:
        """What is kept of images and captions, from the features (n, ...) that the model reads."""
        from fico_utils.models.encoding import encode_side

        sides = ((model.encode_image, images), (model.encode_text, texts))
        return tuple(Items(self.kept_form(encode_side(encoder, features))) for encoder, features in sides)

    def storage(self, items: Items) -> tuple[np.ndarray, np.ndarray | None]:
        """What is kept of items as two accounts: embeddings or codes, and what a query needs beside them."""
        return items.vectors, items.context

    # ---------------------------------------------------------------------------------------------- evaluation

    def settings(self, depth: int) -> dict[str, Any]:
        """What `stored_scores` depends on besides the weights and the split."""
        return {}

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
        raise TypeError(f"{type(self).__name__} defines no stored_scores")

    def evaluation_arguments(self, stored: dict[str, np.ndarray]) -> dict[str, Any]:
        """What `stored_scores` gave, as keywords of `fico_utils.evaluate`."""
        matrices = {"similarity": stored["sim_i2t"], "similarity_t2i": stored.get("sim_t2i")}
        return {"images": None, "texts": None, **matrices}

    # ------------------------------------------------------------------------------------------------ comparing

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Scores (n_img, n_txt) of all images with all captions, larger is closer; of `Reranks`, its first ranking."""
        raise TypeError(f"{type(self).__name__} defines no compare")

    def score_candidates(
        self, model: Any, images: Items, texts: Items, asked: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        """Scores (n, k) of captions that ask with their candidates among the images, read as pairs.

        Parameters
        ----------
        asked : ndarray (n,), rows of `texts`.
        candidates : ndarray (n, k), rows of `images`; or (k,), the same for all.
        """
        raise TypeError(f"{type(self).__name__} reads no pairs")

    def rank_first(self, model: Any, images: Items, texts: Items) -> np.ndarray | None:
        """The ranking that decides which pairs are read, (n_img, n_txt); None where all of them are."""
        return None

    def read_pairs(
        self, model: Any, images: Items, texts: Items, ranking: np.ndarray | None, depth: int
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Scores of all pairs that are read in both directions, after `rank_first` gave `ranking`."""
        raise TypeError(f"{type(self).__name__} reads no pairs")

    def answer_query(self, model: Any, images: Items, texts: Items, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """One query, where one side has a single item: the candidates (k,) that are read and their scores (k,)."""
        raise TypeError(f"{type(self).__name__} reads no pairs")


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
        from fico_utils.evaluation import find_measure

        return find_measure(self.measure).has_codes

    @property
    def searchable(self) -> bool:
        return not self.late

    def kept_form(self, encoded: np.ndarray) -> np.ndarray:
        from fico_utils.models.encoding import hash_codes

        return hash_codes(encoded) if self.hashed else encoded

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        from fico_utils.models.encoding import encode

        encoded = {side: self.kept_form(array) for side, array in encode(model, inputs).items()}
        return {"sim_i2t": self.compare(model, encoded["img"], encoded["txt"])} if self.late else encoded

    def evaluation_arguments(self, stored: dict[str, np.ndarray]) -> dict[str, Any]:
        if self.late:
            return super().evaluation_arguments(stored)
        from fico_utils.evaluation import find_measure

        return find_measure(self.measure).arguments(stored["img"], stored["txt"])

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        from fico_utils.models.encoding import SIMILARITIES, late_scores

        return late_scores(model, images, texts) if self.late else SIMILARITIES[self.measure](images, texts)


@dataclass(frozen=True)
class Attends(Serving):
    """Cross attention: the fragments of both sides are kept, and every pair is scored when queries come."""

    reads_pairs: ClassVar[bool] = True
    name: ClassVar[str] = "attention"

    def storage(self, items: Items) -> tuple[np.ndarray, np.ndarray | None]:
        import numpy as np

        return np.empty((len(items), 0), np.float32), items.vectors

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        from fico_utils.models.encoding import encode, score

        return {"sim_i2t": score(model, **encode(model, inputs))}

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        from fico_utils.models.encoding import score

        return score(model, images.astype("float32", copy=False), texts, progress=False)

    def score_candidates(
        self, model: Any, images: Items, texts: Items, asked: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        import numpy as np

        if candidates.ndim == 1:
            return self.compare(model, images.vectors[candidates], texts.vectors[asked]).T
        each = [self.score_candidates(model, images, texts, asked[i : i + 1], c) for i, c in enumerate(candidates)]
        return np.concatenate(each)

    def read_pairs(
        self, model: Any, images: Items, texts: Items, ranking: np.ndarray | None, depth: int
    ) -> np.ndarray | dict[str, np.ndarray]:
        return self.compare(model, images.vectors, texts.vectors)

    def answer_query(self, model: Any, images: Items, texts: Items, depth: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        scores = self.compare(model, images.vectors, texts.vectors).ravel()
        return np.arange(len(scores)), scores


@dataclass(frozen=True)
class Reranks(Serving):
    """A dual encoder ranks, then a fusion head reads the first candidates of a query with it and scores them again."""

    reads_pairs: ClassVar[bool] = True
    reranks: ClassVar[bool] = True
    name: ClassVar[str] = "rerank"

    def encode(self, model: Any, images: np.ndarray, texts: np.ndarray) -> tuple[Items, Items]:
        from fico_utils.models.encoding import encode_side

        sides = ((model.encode_image, model.image_context, images), (model.encode_text, model.text_context, texts))
        return tuple(Items(encode_side(e, features), encode_side(c, features)) for e, c, features in sides)

    def settings(self, depth: int) -> dict[str, Any]:
        return {"rerank_depth": depth}

    def while_training(self, model: Any) -> Serving:
        """Its dual encoder alone until its fusion head learns."""
        return self if model.fusing else Embeds(late=True)

    def stored_scores(self, model: Any, inputs: Inputs, depth: int) -> dict[str, np.ndarray]:
        from fico_utils.models.encoding import encode, rerank

        encoded = encode(model, inputs)
        return rerank(model, inputs, self.compare(model, encoded["img"], encoded["txt"]), depth)

    def compare(self, model: Any, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        from fico_utils.models.encoding import late_scores

        return late_scores(model, images, texts)

    def score_candidates(
        self, model: Any, images: Items, texts: Items, asked: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        import numpy as np

        each = np.broadcast_to(candidates, (len(asked), candidates.shape[-1]))
        return np.stack([self._one(model, images[c], texts[[q]]) for q, c in zip(asked, each, strict=True)])

    def _one(self, model: Any, images: Items, text: Items) -> np.ndarray:
        """Scores (k,) of one caption with k images."""
        import torch

        words = torch.from_numpy(text.context).expand(len(images), *text.context.shape[1:])
        with torch.inference_mode():
            scores = model.match(torch.from_numpy(images.context), words).numpy()
        return scores + self.compare(model, images.vectors, text.vectors)[:, 0] if model.adds_cosine else scores

    def rank_first(self, model: Any, images: Items, texts: Items) -> np.ndarray | None:
        return self.compare(model, images.vectors, texts.vectors)

    def read_pairs(
        self, model: Any, images: Items, texts: Items, ranking: np.ndarray | None, depth: int
    ) -> np.ndarray | dict[str, np.ndarray]:
        import torch

        from fico_utils.models.encoding import rerank_contexts

        contexts = (torch.from_numpy(side.context) for side in (images, texts))
        return rerank_contexts(model, *contexts, ranking, depth, progress=False)

    def answer_query(self, model: Any, images: Items, texts: Items, depth: int) -> tuple[np.ndarray, np.ndarray]:
        import torch

        with torch.inference_mode():
            ranking = torch.from_numpy(self.compare(model, images.vectors, texts.vectors)).ravel()
            first = ranking.topk(depth).indices
            sides = (side[first.numpy()] if len(side) > 1 else side for side in (images, texts))
            contexts = (torch.from_numpy(s.context).expand(depth, *s.context.shape[1:]) for s in sides)
            scores = model.match(*contexts)
            return first.numpy(), (scores + ranking[first] if model.adds_cosine else scores).numpy()

    def match_features(
        self, model: Any, images: np.ndarray, texts: np.ndarray, image: np.ndarray, text: np.ndarray, pairs: int = 512
    ) -> np.ndarray:
        """Scores (p,) float32 of the fusion head for pairs of rows of features; other rows are not read.

        Parameters
        ----------
        images, texts : ndarray (n, ...), features that the model reads.
        image, text : ndarray (p,), rows of both.
        pairs : int, pairs that the head reads at once; bounds the memory.
        """
        import numpy as np
        import torch

        from fico_utils.models.encoding import encode_side

        contexts = []
        for context, features, rows in ((model.image_context, images, image), (model.text_context, texts, text)):
            used, place = np.unique(rows, return_inverse=True)
            contexts.append((torch.from_numpy(encode_side(context, features[used])), torch.from_numpy(place)))
        (seen, image), (read, text) = contexts
        with torch.inference_mode():
            parts = [slice(i, i + pairs) for i in range(0, len(image), pairs)]
            return np.concatenate([model.match(seen[image[p]], read[text[p]]).numpy() for p in parts])
