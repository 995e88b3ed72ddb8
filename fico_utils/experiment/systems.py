"""Systems: new, trained in this run or shipped, and what they store of a split."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.experiment import weights as disk
from fico_utils.experiment.corpora import corpus, size, training_split
from fico_utils.experiment.features import feature_keys, inputs, vocabulary, widths
from fico_utils.workspace import Run, key_of, profile_settings, read_metadata, source_key

if TYPE_CHECKING:
    from fico_utils.models.blocks import RetrievalModel
    from fico_utils.models.training import Inputs

#: The parameters of a profile by which its weights differ from another's.
TRAINING = ("n_train", "n_train_vlp", "backbones", "doc2vec_epochs", "epochs", "sizes")


def new_model(run: Run, system: str, name: str) -> RetrievalModel:
    """An untrained system, sized to a corpus and seeded."""
    import torch

    from fico_utils.models import model_class

    cls = model_class(system)
    d_region, d_global = widths(run, name)
    sizes = {
        "d_region": d_region,
        "d_patch": d_region,
        "d_global": d_global,
        "d_text": 300,
        "n_words": len(vocabulary(run, name)),
        "n_images": size(run, name, training_split(run, system, name)),
        "n_labels": len(corpus(run, name).label_names),
        "bits": registry.system(system).bits,
    }
    torch.manual_seed(run.seed)
    own, fields = run["sizes"].get(registry.system(system).trained, {}), cls.Config.__dataclass_fields__
    unknown = sorted(set(own) - set(fields))
    if unknown:
        raise InputError(f"sizes of {system} name {unknown[0]!r}; expected any of {', '.join(fields)}")
    return cls(cls.Config(**{field: value for field, value in sizes.items() if field in fields} | own))


def spec(run: Run, system: str, name: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """File name, settings and source files of a system's weights."""
    from fico_utils.models import model_class

    model, system = new_model(run, system, name), registry.system(system).trained
    if system not in run["epochs"]:
        raise InputError(
            f"profile {run.profile} gives no epochs for {system!r}, and no weights of it ship; add it to epochs"
        )
    settings = {
        "system": system,
        "model": model.settings,
        "epochs": run["epochs"][system],
        "seed": run.seed,
        "train": [_read(run, system, name), *feature_keys(run, system, name)],
    }
    return f"{system}__{name}", settings, ("models/training.py", *_sources(model_class(system)))


def _read(run: Run, system: str, name: str) -> str:
    """The training split by its key; the longer one by name, as drawing it to say which it is would take a minute."""
    if training_split(run, system, name) == "train":
        return corpus(run, name).subset("train").content_key
    return f"{name}, the first {run['n_train_vlp'][name]} training scenes, {run['n_train'][name]} an epoch"


def _sources(cls: type) -> list[str]:
    """Files of the package that a model class is made of: its own module, and those it takes parts from."""
    parts = {getattr(part, "__module__", "") for part in vars(sys.modules[cls.__module__]).values()}
    return sorted(f"models/{m.rsplit('.', 1)[1]}.py" for m in parts if m.startswith("fico_utils.models."))


def train(run: Run, system: str, name: str, live: bool = True) -> RetrievalModel:
    """A trained system: the model with the weights of the best validation score.

    Parameters
    ----------
    live : bool, train it where this run has not; otherwise shipped weights serve where they match.
    """
    if system in registry.CONFIGURED:
        from fico_utils.models.pretrained_corpus import model_of

        return model_of(run["pretrained"], system)

    from fico_utils.models.training import fit

    model, system = new_model(run, system, name), registry.system(system).trained

    described = spec(run, system, name)

    def build() -> dict[str, np.ndarray]:
        data = inputs(run, system, name, "train")
        fit(
            model,
            replace(data, key=key_of(data.key, source_key(*described[2]))),  # other code starts over
            seed=run.seed,
            epochs=run["epochs"][system],
            validate=validation(run, system, name),
            images=run["n_train"].get(name),
            folder=run.path("models", f"{system}__{name}"),
            label=f"{registry.system(system).name} on {name}",
        )
        for row in registry.SYSTEMS.values():  # what other weights stored is no step's input any more
            if row.trained == system:
                for stale in run.path("embeddings").glob(f"{row.id}__{name}__*.safetensors"):
                    stale.unlink()
        return {n: t.numpy() for n, t in model.weights().items()}

    arrays = disk.weights(run, *described, build, live)
    disk.load(model, arrays, f"{system}__{name}")
    return model.eval()


def training_log(run: Run, system: str, name: str) -> list[dict[str, float]]:
    """The log of the training whose weights serve, one row an epoch: loss terms, validation score, seconds.

    Raises
    ------
    InputError
        This run did not train the system, and no weights of it ship.
    """
    trained = registry.system(system).trained
    path = run.path("models", f"{trained}__{name}", "log.csv")
    if path.is_file():
        return disk.read_log(path)
    log = disk.shipped_log(provider(run, system, name).profile, f"{trained}__{name}")
    if log is None:
        raise InputError(f"{path} does not exist; train {system} on {name} in this run first (notebooks 02 and 03)")
    return log


def provider(run: Run, system: str, name: str) -> Run:
    """The run whose weights and features serve for a system: this one where it trained it or can take what ships.

    A run that trained a backbone of its own, but not the system, takes both as they ship, side by side below
    ``shipped/``: the features of one backbone mean nothing to a system trained on another's. Weights of its own profile
    come first, then those of `standard`. Failing both, it trains; for as long as `standard` does, in the same size,
    where its profile gives no epochs, as nothing ships for a corpus of one's own.
    """
    if system in registry.CONFIGURED:
        return run
    trained = registry.system(system).trained
    if trained in run["epochs"]:
        own = spec(run, system, name)
        path, key = run.path("models", f"{own[0]}.safetensors"), key_of(own[0], own[1], source_key(*own[2]))
        here = path.is_file() and read_metadata(path).get("key") == key
        if here or disk.shipped(*own[:2], run.profile) is not None:
            return run
    for profile in dict.fromkeys((run.profile, "standard")):
        if (disk.SHIPPED / profile / f"{trained}__{name}.safetensors").is_file():
            defaults = run.settings if profile == run.profile else profile_settings(profile)
            settings = run.settings | {k: defaults[k] for k in (*TRAINING, "seed")}
            shipped = replace(
                run, profile=profile, root=run.path("shipped", profile), settings=settings, seed=settings["seed"]
            )
            if disk.shipped(*spec(shipped, system, name)[:2], profile) is not None:
                return shipped
    if trained in run["epochs"]:
        return run
    defaults = profile_settings("standard")
    added = {k: run[k] | {trained: defaults[k][trained]} for k in ("epochs", "sizes")}
    return replace(run, settings=run.settings | added)


def embeddings(run: Run, system: str, name: str, split: str = "test") -> dict[str, np.ndarray]:
    """What a system stores of a split, as `comparable` takes it; kept below ``embeddings/``.

    Returns
    -------
    dict of ndarray: ``img`` and ``txt``, float32 (n, d) or packed codes uint8 (n, bits / 8); or ``sim_i2t``
    (n_img, n_txt) float32 of a system with attention at query time, and ``sim_t2i`` where the directions differ.
    """
    if system in registry.CONFIGURED:
        from fico_utils.models.pretrained_corpus import served

        return served(run, system, corpus(run, name).subset(split), split)
    run = provider(run, system, name)
    model = train(run, system, name, live=False)
    data, measure = inputs(run, system, name, split), registry.system(system).measure
    weights = disk.content(run, f"{registry.system(system).trained}__{name}")
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

    A system that reranks is chosen by what it reranked, once its fusion head learns; before, by its dual encoder.
    """
    from fico_utils.evaluation import evaluate

    data, measure = inputs(run, system, name, "val"), registry.system(system).measure

    def score(model: RetrievalModel) -> float:
        first_step = measure == "rerank" and not model.fusing
        stored = _stored("late" if first_step else measure, model, data, run["rerank_depth"])
        arguments = comparable(system, stored)
        table = evaluate(**arguments, caption_image=data.caption_image, recall_at=(1, 5, 10))
        return float(table.loc[table.metric == "recall", "value"].mean())

    return score


def weights_origin(run: Run, system: str, name: str) -> str:
    """Where the weights that serve for a system came from: ``trained`` in this run, ``shipped`` or ``pretrained``."""
    if system in registry.CONFIGURED:
        return "pretrained"
    return disk.origin(provider(run, system, name), f"{registry.system(system).trained}__{name}")


def measured_by(run: Run, system: str, name: str) -> str:
    """The `run` of a system's rows in metrics.csv: this one's id, and, after a plus, whose weights it read.

    ``mini-s0+standard-s0`` is measured in run mini-s0 with weights that the standard profile trained and the companion
    ships; a run that trained the system, or took the weights of its own profile, stands alone.
    """
    served = provider(run, system, name)
    return run.run_id if served.run_id == run.run_id else f"{run.run_id}+{served.run_id}"
