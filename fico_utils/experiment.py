"""Load it or make it: from a system's id and a corpus to features, trained weights, embeddings and scores.

The one place that joins `data`, `models` and `evaluation`. A notebook asks for what it needs: what this run has made is
loaded; what is missing is made, and said. Where nobody has trained a system in this run, the weights that ship with the
companion serve, if their settings are those of the profile; so every notebook stands alone. The notebooks that teach
training pass ``train=True``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.data.corpus import Corpus
from fico_utils.data.text import Vocabulary
from fico_utils.errors import InputError
from fico_utils.workspace import (
    Run,
    atomic_path,
    key_of,
    profile_settings,
    read_arrays,
    read_metadata,
    source_key,
    write_arrays,
)

if TYPE_CHECKING:
    from fico_utils.data.features import Backbone
    from fico_utils.models.blocks import RetrievalModel
    from fico_utils.models.training import Inputs

SHIPPED = Path(__file__).parent / "weights"
#: The corpus that teaches the feature extractors of every corpus, as theirs learned elsewhere than on the paper's two.
PRETRAINING = "picto_diverse"
SPLITS = ("train", "val", "test")
#: The parameters of a profile by which its weights differ from another's.
TRAINING = ("n_train", "backbone_epochs", "doc2vec_epochs", "epochs", "sizes")
#: Rewritings of each training caption that ADV reads: with the same meaning, and with one thing wrong.
REWRITINGS = {"rephrased": 2, "adversarial": 4}


# ------------------------------------------------------------------------------------------------- corpora


def corpus(run: Run, name: str) -> Corpus:
    """A corpus in the sizes of the run's profile, all splits.

    Raises
    ------
    InputError
        Unknown corpus, or one the profile gives no sizes for.
    """
    registry.corpus(name)
    sizes = tuple((split, run[f"n_{split}"].get(name)) for split in SPLITS)
    if any(n is None for _, n in sizes):
        raise InputError(
            f"profile {run.profile} gives no size for corpus {name!r}; add it to n_train, n_val and n_test"
        )
    return _corpus(name, sizes)


@lru_cache(maxsize=8)
def _corpus(name: str, sizes: tuple[tuple[str, int], ...]) -> Corpus:
    from fico_utils.data.pictoscenes import make_corpus

    return make_corpus(name, dict(sizes))


# ------------------------------------------------------------------------------------------------- weights


def _weights(
    run: Run, name: str, settings: dict[str, Any], sources: tuple[str, ...], build: Callable[[], dict], live: bool
) -> dict[str, np.ndarray]:
    """Weights trained in this run, shipped ones, or newly trained ones, in that order; kept below ``models/``.

    They are kept in half precision, as they ship: a shipped system then reads the very features it was trained on.
    """
    path, key = run.path("models", f"{name}.safetensors"), key_of(name, settings, source_key(*sources))
    if path.is_file():
        found = read_metadata(path)
        if found.get("key") == key and (found.get("origin") == "trained" or not live):
            return _widened(read_arrays(path))
    arrays = None if live else _shipped(name, settings)
    source = "trained" if arrays is None else "shipped"
    if arrays is None:
        if not live:
            print(f"models/{name} is missing, and no shipped weights match this profile: training it now")
        arrays = {n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in build().items()}
        strange = [n for n, a in arrays.items() if not np.isfinite(a).all()]
        if strange:
            raise InputError(f"weights {strange[0]} of {name} do not fit half precision; train with a smaller rate")
    else:
        print(f"models/{name} was not trained in this run: using the weights that ship with the companion")
    content = key_of({n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in arrays.items()})
    metadata = {"key": key, "origin": source, "content": content, "settings": settings, "run": run.run_id}
    write_arrays(path, arrays, metadata)
    return _widened(arrays)


def _widened(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in arrays.items()}


def _shipped(name: str, settings: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """Shipped weights of a name, as they ship, where some were made with these settings; else None."""
    for path in sorted(SHIPPED.glob(f"*/{name}.safetensors")):
        if read_metadata(path).get("settings") == json.loads(json.dumps(settings)):
            return read_arrays(path)
    return None


def ship(run: Run) -> list[Path]:
    """Copy all weights trained in a run to the package, where they serve notebooks that stand alone; their paths.

    Raises
    ------
    InputError
        Weights of the run that are missing, or that were shipped themselves.
    """
    trained = dict.fromkeys(registry.system(s).trained for s in run["systems"])
    names = ["backbone", "doc2vec", *(f"{s}__{c}" for s in trained for c in run["corpora"])]
    for name in names:
        path = run.path("models", f"{name}.safetensors")
        if not path.is_file() or origin(run, name) != "trained":
            raise InputError(f"{path} was not trained in this run; run notebooks 01, 02 and 03 first")
    for name in names:
        with atomic_path(SHIPPED / run.profile / f"{name}.safetensors") as temporary:
            shutil.copyfile(run.path("models", f"{name}.safetensors"), temporary)
    return [SHIPPED / run.profile / f"{name}.safetensors" for name in names]


def origin(run: Run, name: str) -> str:
    """Where weights came from: ``trained`` in this run, or ``shipped``."""
    return read_metadata(run.path("models", f"{name}.safetensors"))["origin"]


def weights_origin(run: Run, system: str, name: str) -> str:
    """Where the weights that serve for a system came from: ``trained`` in this run, or ``shipped``."""
    return origin(provider(run, system, name), f"{registry.system(system).trained}__{name}")


# ------------------------------------------------------------------------------------------------ features


def backbone(run: Run, live: bool = False) -> Backbone:
    """The convolutional backbone of this run; its weights are ``models/backbone.safetensors``.

    Parameters
    ----------
    live : bool, train it where this run has not; otherwise shipped weights serve where they match.
    """
    import torch

    from fico_utils.data.features import CLASSES, Backbone, scene_targets, train_backbone

    source = corpus(run, PRETRAINING).subset("train")
    epochs = run["backbone_epochs"]

    def build() -> dict[str, np.ndarray]:
        model, log = train_backbone(source.images, scene_targets(source.scenes), CLASSES, seed=run.seed, epochs=epochs)
        print(f"backbone: loss {log[0]['loss']:.2f} after the first epoch, {log[-1]['loss']:.2f} after the last")
        return {n: t.numpy() for n, t in model.state_dict().items()}

    settings = {"classes": CLASSES, "epochs": epochs, "corpus": source.key, "seed": run.seed}
    arrays = _weights(run, "backbone", settings, ("data/features.py",), build, live)
    model = Backbone(CLASSES)
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    return model.eval()


def _content(run: Run, name: str) -> str:
    """Hash of the weights that this run uses under a name, whether trained in it or shipped."""
    return read_metadata(run.path("models", f"{name}.safetensors"))["content"]


def visual(run: Run, name: str, split: str) -> dict[str, np.ndarray]:
    """Image features of a split: ``regions`` (n_img, 36, D) and ``global`` (n_img, 2 D), float16."""
    from fico_utils.data.features import visual_features

    part, model = corpus(run, name).subset(split), backbone(run)
    return run.cached(
        run.path("features", f"{name}__{split}__visual.safetensors"),
        key_of(part.key, _content(run, "backbone")),
        lambda: visual_features(model, part.images),
    )


@lru_cache(maxsize=4)
def _vocabulary(captions: tuple[str, ...]) -> Vocabulary:
    return Vocabulary(captions)


def vocabulary(run: Run, name: str) -> Vocabulary:
    """The vocabulary of a corpus, from its training captions."""
    return _vocabulary(tuple(corpus(run, name).subset("train").captions))


def doc2vec_weights(run: Run, live: bool = False) -> dict[str, np.ndarray]:
    """Weights of this run's Doc2Vec, ``models/doc2vec.safetensors``; `live` as in `backbone`."""
    from fico_utils.data.text import train_doc2vec

    source, epochs = corpus(run, PRETRAINING).subset("train"), run["doc2vec_epochs"]
    settings = {"corpus": source.key, "epochs": epochs, "seed": run.seed}
    return _weights(
        run,
        "doc2vec",
        settings,
        ("data/text.py",),
        lambda: train_doc2vec(source.captions, seed=run.seed, epochs=epochs),
        live,
    )


def doc2vec(run: Run, name: str, split: str) -> np.ndarray:
    """Doc2Vec vectors (n_txt, 300) float32 of a split's captions."""
    from fico_utils.data.text import doc2vec as infer

    part = corpus(run, name).subset(split)
    weights, epochs = doc2vec_weights(run), run["doc2vec_epochs"]
    return run.cached(
        run.path("features", f"{name}__{split}__doc2vec.safetensors"),
        key_of(part.key, _content(run, "doc2vec"), epochs),
        lambda: {"doc2vec": infer(weights, part.captions, seed=run.seed, epochs=epochs, workers=run["threads"])},
    )["doc2vec"]


def inputs(run: Run, system: str, name: str, split: str) -> Inputs:
    """What a system reads of a split: its image and text features and, of the training split, what only training reads.

    Raises
    ------
    InputError
        A supervised system on a corpus without labels.
    """
    from fico_utils.models import model_class
    from fico_utils.models.training import Inputs

    model, part = model_class(system), corpus(run, name).subset(split)
    words = vocabulary(run, name)
    text = {"tokens": words.encode(part.captions)} if model.text_input == "tokens" else {}
    if model.text_input == "doc2vec":
        text["doc2vec"] = doc2vec(run, name, split)
    image = {model.image_input: visual(run, name, split)[model.image_input]}
    if split == "train":
        for extra in model.text_extra:
            text[extra] = _rewritten(extra, part.captions, words, run.seed)
        for _ in model.image_extra:
            image["labels"] = labels(run, name, split)
    key = key_of(part.key, _feature_keys(run, system, name))
    return Inputs(image, text, part.caption_image, key)


def _rewritten(kind: str, captions: list[str], words: Vocabulary, seed: int) -> np.ndarray:
    """Token ids (n_txt, n, L) of captions rewritten n times, ``rephrased`` or ``adversarial``."""
    from fico_utils.data import rewriting

    n = REWRITINGS[kind]
    flat = [c for row in getattr(rewriting, kind)(captions, n, seed) for c in row]
    return words.encode(flat).reshape(len(captions), n, -1)


def labels(run: Run, name: str, split: str) -> np.ndarray:
    """Multi-hot labels (n_img, n_labels) uint8 by which a split is trained on and judged at category level."""
    part = corpus(run, name).subset(split)
    if part.labels is None:
        raise InputError(f"corpus {name!r} has no labels; a supervised system needs them: add labels, or leave it out")
    return part.labels


def _feature_keys(run: Run, system: str, name: str) -> list[str]:
    """What a system's features were made with: the backbone, and the vocabulary or Doc2Vec."""
    from fico_utils.models import model_class

    backbone(run)
    if model_class(system).text_input == "tokens":
        return [_content(run, "backbone"), key_of(vocabulary(run, name).words)]
    doc2vec_weights(run)
    return [_content(run, "backbone"), _content(run, "doc2vec"), str(run["doc2vec_epochs"])]


# ------------------------------------------------------------------------------------------------- systems


def new_model(run: Run, system: str, name: str) -> RetrievalModel:
    """An untrained system, sized to a corpus and seeded."""
    import torch

    from fico_utils.data.features import WIDTH
    from fico_utils.models import model_class

    cls = model_class(system)
    sizes = {
        "d_region": WIDTH,
        "d_global": 2 * WIDTH,
        "d_text": 300,
        "n_words": len(vocabulary(run, name)),
        "n_images": run["n_train"][name],
        "n_labels": len(corpus(run, name).label_names),
        "bits": registry.system(system).bits,
    }
    torch.manual_seed(run.seed)
    own, fields = run["sizes"].get(registry.system(system).trained, {}), cls.Config.__dataclass_fields__
    unknown = sorted(set(own) - set(fields))
    if unknown:
        raise InputError(f"sizes of {system} name {unknown[0]!r}; expected any of {', '.join(fields)}")
    return cls(cls.Config(**{field: value for field, value in sizes.items() if field in fields} | own))


def _spec(run: Run, system: str, name: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """File name, settings and source files of a system's weights."""
    from fico_utils.models import model_class

    model, system = new_model(run, system, name), registry.system(system).trained
    if system not in run["epochs"]:
        raise InputError(
            f"profile {run.profile} gives no epochs for {system!r}, and no weights of it ship; add it to epochs"
        )
    module = model_class(system).__module__.rsplit(".", 1)[1]
    settings = {
        "system": system,
        "model": model.settings,
        "epochs": run["epochs"][system],
        "seed": run.seed,
        "train": [corpus(run, name).subset("train").key, *_feature_keys(run, system, name)],
    }
    return f"{system}__{name}", settings, ("models/blocks.py", "models/training.py", f"models/{module}.py")


def train(run: Run, system: str, name: str, live: bool = True) -> RetrievalModel:
    """A trained system: the model with the weights of the best validation score.

    Parameters
    ----------
    live : bool, train it where this run has not; otherwise shipped weights serve where they match.
    """
    import torch

    from fico_utils.models.training import fit

    model, system = new_model(run, system, name), registry.system(system).trained

    def build() -> dict[str, np.ndarray]:
        fit(
            model,
            inputs(run, system, name, "train"),
            seed=run.seed,
            epochs=run["epochs"][system],
            validate=validation(run, system, name),
            folder=run.path("models", f"{system}__{name}"),
            label=f"{registry.system(system).name} on {name}",
        )
        return {n: t.numpy() for n, t in model.weights().items()}

    arrays = _weights(run, *_spec(run, system, name), build, live)
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()}, strict=False)
    return model.eval()


def training_log(run: Run, system: str, name: str) -> list[dict[str, float]]:
    """The log of a training of this run, one row an epoch: loss terms, validation score, seconds."""
    path = run.path("models", f"{registry.system(system).trained}__{name}", "log.csv")
    if not path.is_file():
        raise InputError(f"{path} does not exist; train {system} on {name} in this run first (notebooks 02 and 03)")
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def provider(run: Run, system: str, name: str) -> Run:
    """The run whose weights and features serve for a system: this one where it trained it or can take what ships.

    A run that trained a backbone of its own, but not the system, takes both as they ship, side by side below
    ``shipped/``: the features of one backbone mean nothing to a system trained on another's. Weights of its own profile
    come first, then those of `standard`. Failing both, it trains.
    """
    trained = registry.system(system).trained
    if trained in run["epochs"]:
        spec = _spec(run, system, name)
        path, key = run.path("models", f"{spec[0]}.safetensors"), key_of(spec[0], spec[1], source_key(*spec[2]))
        if (path.is_file() and read_metadata(path).get("key") == key) or _shipped(*spec[:2]) is not None:
            return run
    for profile in dict.fromkeys((run.profile, "standard")):
        if (SHIPPED / profile / f"{trained}__{name}.safetensors").is_file():
            defaults = run.settings if profile == run.profile else profile_settings(profile)
            settings = run.settings | {k: defaults[k] for k in (*TRAINING, "seed")}
            shipped = replace(run, root=run.path("shipped", profile), settings=settings, seed=settings["seed"])
            if _shipped(*_spec(shipped, system, name)[:2]) is not None:
                return shipped
    return run


def embeddings(run: Run, system: str, name: str, split: str = "test") -> dict[str, np.ndarray]:
    """What a system stores of a split, as `comparable` takes it; kept below ``embeddings/``.

    Returns
    -------
    dict of ndarray: ``img`` and ``txt``, float32 (n, d) or packed codes uint8 (n, bits / 8); or ``sim_i2t``
    (n_img, n_txt) float32 of a system with attention at query time, and ``sim_t2i`` where the directions differ.
    """
    run = provider(run, system, name)
    model = train(run, system, name, live=False)
    data, measure = inputs(run, system, name, split), registry.system(system).measure
    weights = _content(run, f"{registry.system(system).trained}__{name}")
    return run.cached(
        run.path("embeddings", f"{system}__{name}__{split}.safetensors"),
        key_of(weights, data.key, run["rerank_depth"] if measure == "rerank" else None),
        lambda: _stored(measure, model, data, run["rerank_depth"]),
        system=system,
        corpus=name,
        split=split,
    )


def _stored(measure: str, model: RetrievalModel, data: Inputs, depth: int) -> dict[str, np.ndarray]:
    from fico_utils.models import encoding

    encoded = encoding.encode(model, data)
    if measure == "attention":
        return {"sim_i2t": encoding.score(model, **encoded)}
    if measure in ("late", "rerank"):
        sim = encoding.late_scores(model, **encoded)
        return {"sim_i2t": sim} if measure == "late" else encoding.rerank(model, data, sim, depth)
    return {side: encoding.hash_codes(a) for side, a in encoded.items()} if measure == "hamming" else encoded


def comparable(system: str, stored: dict[str, np.ndarray]) -> dict[str, Any]:
    """What `embeddings` returns, as arguments of `evaluate`."""
    if "sim_i2t" in stored:
        return {
            "images": None,
            "texts": None,
            "similarity": stored["sim_i2t"],
            "similarity_t2i": stored.get("sim_t2i"),
        }
    measure = registry.system(system).measure
    bits = {"bits": 8 * stored["img"].shape[1]} if measure == "hamming" else {}
    return {"images": stored["img"], "texts": stored["txt"], "measure": measure, **bits}


def validation(run: Run, system: str, name: str) -> Callable[[RetrievalModel], float]:
    """The score that chooses a checkpoint: mean of R@1, R@5 and R@10 in both directions on the validation split.

    A system that reranks is chosen by its dual encoder, whose ranking the fusion head only refines.
    """
    from fico_utils.evaluation import evaluate

    data, measure = inputs(run, system, name, "val"), registry.system(system).measure
    measure = "late" if measure == "rerank" else measure

    def score(model: RetrievalModel) -> float:
        arguments = comparable(system, _stored(measure, model, data, 0))
        table = evaluate(**arguments, caption_image=data.caption_image, recall_at=(1, 5, 10))
        return float(table.loc[table.metric == "recall", "value"].mean())

    return score
