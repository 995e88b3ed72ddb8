"""A system that answers anybody's words with the test pictures of a corpus: what notebook 09 asks."""

from __future__ import annotations

import numpy as np

from fico_utils import experiment, registry
from fico_utils.data.text import doc2vec, words
from fico_utils.errors import InputError
from fico_utils.experiment.model_inputs import text_tower
from fico_utils.models.serving import Items
from fico_utils.workspace import Run

#: Unknown words of a caption that a sentence names.
MOST_NAMED = 12


class Searcher:
    """One system with its pictures encoded, ready for captions: ``searcher.score("a red star")``.

    It is served as `experiment.serve` says; what is missing in the run is made. `images` are its `Items`.
    """

    def __init__(self, run: Run, system: str, corpus_name: str) -> None:
        self.row, self.served = registry.system(system), experiment.serve(run, system, corpus_name)
        self.model = self.served.model()
        self.seen = self.served.inputs("test").image[self.model.image_input]
        self.depth, self.tower = run["rerank_depth"], text_tower(run, system, corpus_name)
        self.images = self.row.serving.encode(self.model, self.seen, self.read_text("a"))[0]

    def read_text(self, caption: str) -> np.ndarray:
        """The text features of one caption, with a first axis of 1; InputError where it has no word."""
        run, name = self.served.run, self.served.corpus_name
        if not words(caption):
            raise InputError(f"a caption without a word was given ({caption[:40]!r}); type at least one")
        if self.model.text_input == "doc2vec":
            weights = experiment.doc2vec_weights(run, name=name).arrays()
            return doc2vec(weights, [caption], seed=run.seed, epochs=run["doc2vec_epochs"])
        if self.tower:
            return self.tower.read_captions([caption])
        return experiment.vocabulary(run, name).encode([caption])

    def unknown_words(self, caption: str) -> list[str]:
        """The words of a caption that the system never learned, in their order; none where a pretrained tower reads."""
        run, name = self.served.run, self.served.corpus_name
        if self.model.text_input == "doc2vec":
            known = experiment.doc2vec_weights(run, name=name).arrays()["words"].tobytes().decode().split("\n")
        elif self.tower:
            return []
        else:
            known = experiment.vocabulary(run, name).words
        return [word for word in dict.fromkeys(words(caption)) if word not in set(known)]

    def describe_unread(self, caption: str) -> list[str]:
        """Sentences on what the system does not read of a caption: unknown words, and those after the last it takes."""
        asked, unknown, said = words(caption), self.unknown_words(caption), []
        if len(unknown) == len(set(asked)):
            said.append(f"{self.row.name} knows none of these words: there is nothing to search by.")
        elif unknown:
            by_doc2vec = self.model.text_input == "doc2vec"
            does = "it leaves unknown words out" if by_doc2vec else "all unknown words are the same to it"
            more = " …" if len(unknown) > MOST_NAMED else ""
            said.append(f"{self.row.name} does not know {', '.join(unknown[:MOST_NAMED])}{more}: {does}.")
        if self.model.text_input != "doc2vec" and not self.tower:
            read = self.read_text(caption).shape[1] - 2  # without the marks of start and end
            if read < len(asked):
                said.append(f"{self.row.name} reads the first {read} words; {len(asked) - read} more are left out.")
        return said

    def encode(self, caption: str) -> Items:
        """What the system keeps of one caption."""
        return self.row.serving.encode(self.model, self.seen[:1], self.read_text(caption))[1]

    def score(self, caption: str, among: np.ndarray | None = None) -> np.ndarray:
        """Scores (n_img,) of the pictures, larger is closer, of codes minus the bits that differ; -inf: not read.

        `among` are the pictures (k,) that are compared, by default all; a system that reranks then reads the first of
        its own ranking, as many as the profile says.
        """
        asked, serving = self.encode(caption), self.row.serving
        scores = np.full(len(self.images), -np.inf)
        chosen = np.arange(len(self.images)) if among is None else among
        if serving.reads_pairs:
            depth = min(self.depth, len(chosen)) if among is None and serving.reranks else None
            first, found = serving.answer_query(self.model, self.images[chosen], asked, depth)
            scores[chosen[first]] = found
        else:
            scores[chosen] = serving.compare(self.model, self.images.vectors[chosen], asked.vectors)[:, 0]
        return scores - 8 * self.images.vectors.shape[1] if serving.hashed else scores

    def bits(self, caption: str, picture: int) -> tuple[str, str]:
        """The hash codes of a caption and of a picture, as texts of 0 and 1; only of a system that keeps codes."""
        codes = self.encode(caption).vectors[0], self.images.vectors[picture]
        return tuple("".join(map(str, np.unpackbits(code))) for code in codes)


def rank_range(scores: np.ndarray, picture: int | np.ndarray) -> np.ndarray:
    """The first and the last rank, from 1, that a picture may have among those of its score: int (2, ...).

    From scores (..., n_img), larger is closer, and a picture (...) of each ranking.

    >>> rank_range(np.array([3, 5, 3]), 0).tolist()
    [2, 3]
    """
    own = np.take_along_axis(scores, np.expand_dims(picture, -1), -1)
    return np.stack([(scores > own).sum(-1) + 1, (scores >= own).sum(-1)])
