"""Text features: a vocabulary and token ids for the networks that read words, Doc2Vec for the hashing systems."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

VERSIONS = {"vocabulary": 1, "doc2vec": 1, "doc2vec_vectors": 1}
PAD, START, END, UNKNOWN = range(4)
#: Doc2Vec's first learning rate. gensim's 0.025 suits long documents: after ten passes over a caption of a dozen words
#: the vector has hardly left the mean.
RATE = 0.1
#: Captions that are inferred at a time: about a second of work, after which a process that is told to stop can stop.
BLOCK = 1000
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")  # letters and digits of any script


def words(caption: str) -> list[str]:
    """Lower-case words of a caption.

    >>> words("A cat's toy, left of the SUN.")
    ['a', "cat's", 'toy', 'left', 'of', 'the', 'sun']
    >>> words("Château_rouge")
    ['château', 'rouge']
    """
    return _WORD.findall(caption.lower())


class Vocabulary:
    """Words with at least `least` occurrences in the captions given; ids 0 to 3 are pad, start, end, unknown.

    Built from training captions only; the originals counted the development captions too.

    >>> Vocabulary(["a cat", "a cat", "a dog"], least=2).encode(["a dog"]).tolist()
    [[1, 4, 3, 2]]
    """

    def __init__(self, captions: Sequence[str], least: int = 4) -> None:
        counts = Counter(word for caption in captions for word in words(caption))
        kept = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
        self.words: tuple[str, ...] = ("<pad>", "<start>", "<end>", "<unknown>", *kept)
        self._ids = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Vocabulary:
        """The vocabulary whose `words` were kept, specials first."""
        vocabulary = cls([])
        vocabulary.words = tuple(words)
        vocabulary._ids = {word: i for i, word in enumerate(vocabulary.words)}
        return vocabulary

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: Sequence[str], longest: int = 40) -> np.ndarray:
        """Token ids ``[start] w1 ... wn [end]``, padded: (n, L) int32 with L at most `longest`."""
        rows = [[START, *(self._ids.get(w, UNKNOWN) for w in words(c)[: longest - 2]), END] for c in captions]
        tokens = np.full((len(rows), max(map(len, rows), default=0)), PAD, np.int32)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The words of a row of ids, specials left out."""
        return " ".join(self.words[t] for t in tokens if t > UNKNOWN)


def stable_hash(text: str) -> int:
    """A hash of a string that is the same in every process (Python's own is not)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def train_doc2vec(captions: Sequence[str], *, seed: int, epochs: int, dims: int = 300) -> dict[str, np.ndarray]:
    """The weights of a Doc2Vec (distributed bag of words, Le and Mikolov 2014), the same for one seed.

    FiCo-ITR uses a model pre-trained on Wikipedia (Lau and Baldwin 2016); this one sees only the captions given. There
    is one worker, since with several gensim's result depends on their timing. Gives ``output`` (n_words, dims) float32,
    ``counts`` (n_words,) int64, and ``words``, their names as UTF-8 bytes, one a line.
    """
    from gensim.models.doc2vec import Doc2Vec, TaggedDocument

    documents = [TaggedDocument(words(caption), [i]) for i, caption in enumerate(captions)]
    model = Doc2Vec(
        dm=0, vector_size=dims, alpha=RATE, min_count=2, epochs=epochs, workers=1, seed=seed, hashfxn=stable_hash
    )
    model.build_vocab(documents)
    model.train(documents, total_examples=len(documents), epochs=epochs)
    names = model.wv.index_to_key
    return {
        "output": model.syn1neg.copy(),
        "counts": np.array([model.wv.get_vecattr(name, "count") for name in names]),
        "words": np.frombuffer("\n".join(names).encode(), np.uint8),
    }


def doc2vec(
    weights: dict[str, np.ndarray], captions: Sequence[str], *, seed: int, epochs: int, workers: int = 1
) -> np.ndarray:
    """Vectors (n, dims) float32 of captions by the weights of `train_doc2vec`.

    One caption has one vector, whatever was inferred before it and in however many threads (`workers`).
    """
    distinct = sorted({" ".join(words(caption)) for caption in captions})
    blocks = [distinct[i : i + BLOCK] for i in range(0, max(1, len(distinct)), BLOCK)]
    with ThreadPoolExecutor(workers) as pool:  # gensim computes without the interpreter's lock
        inferred = np.concatenate([*pool.map(partial(_infer, weights, seed=seed, epochs=epochs), blocks)])
    row = {text: i for i, text in enumerate(distinct)}
    return inferred[[row[" ".join(words(caption))] for caption in captions]]


def _infer(weights: dict[str, np.ndarray], texts: Sequence[str], seed: int, epochs: int) -> np.ndarray:
    """Vectors of texts whose words are separated by spaces."""
    from gensim.models.doc2vec import Doc2Vec, train_document_dbow

    dims = weights["output"].shape[1]
    model = Doc2Vec(dm=0, vector_size=dims, min_count=1, workers=1, seed=seed, hashfxn=stable_hash)
    names = weights["words"].tobytes().decode().split("\n")
    model.build_vocab_from_freq(dict(zip(names, weights["counts"].tolist(), strict=True)))
    rows = {name: row for row, name in enumerate(names)}
    order = [rows[name] for name in model.wv.index_to_key]  # gensim orders equal counts as it likes
    model.syn1neg = np.ascontiguousarray(weights["output"][order])
    vectors = np.empty((len(texts), 1, dims), np.float32)
    rates = np.linspace(RATE, model.min_alpha, epochs, endpoint=False)
    lock, work = np.ones(1, np.float32), np.zeros(dims, np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        # What `infer_vector` does, but for where it starts: there, Python's own hash, which differs in every process.
        model.random = np.random.RandomState(seed)  # it draws the negatives, and moves on with every call
        vector[:] = (np.random.default_rng([seed, stable_hash(text)]).random(dims, np.float32) - 0.5) / dims
        for rate in rates:
            train_document_dbow(
                model, text.split(), [0], rate, work, learn_words=False, learn_hidden=False,
                doctag_vectors=vector, doctags_lockf=lock,
            )  # fmt: skip
    return vectors[:, 0]
