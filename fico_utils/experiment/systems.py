"""Systems: trained in this run or shipped, what they store of a split and how they score; `serve` says what serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.artifacts import Recipe, header_of
from fico_utils.errors import InputError
from fico_utils.evaluation import Observations, Plan, Rules, evaluate, observe, score_source
from fico_utils.evaluation.relevance import image_text_tasks
from fico_utils.experiment import weights as shelf
from fico_utils.experiment.corpora import corpus, info_of, instance_relevance, part, training_split
from fico_utils.experiment.features import visual_sizes, vocabulary
from fico_utils.experiment.label_sources import given_labels, labels
from fico_utils.experiment.model_inputs import (
    feature_keys,
    inputs,
    inputs_key,
    read_kind,
    text_tower,
    training_passes,
)
from fico_utils.experiment.weights import Weights, find_weights, train_model
from fico_utils.files import content_digest, note
from fico_utils.models.originals import require_known
from fico_utils.producers import version_of
from fico_utils.profiles import CONFIGS, profile_settings
from fico_utils.workspace import Run

if TYPE_CHECKING:
    from fico_utils.data.corpus import Corpus
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.training import Inputs

#: The parameters of a profile by which its weights differ from another's.
TRAINING = ("n_train", "n_train_vlp", "n_val", "backbones", "doc2vec_epochs", "epochs", "sizes")


def new_model(run: Run, system: str, name: str) -> RetrievalModel:
    """An untrained system, sized to a corpus and seeded."""
    import torch

    from fico_utils.models import model_class

    row, cls = registry.system(system), model_class(system)
    sizes = {
        **visual_sizes(run, name, read_kind(run, system, name)),
        "d_text": 300,
        "d_states": tower.width("text") if (tower := text_tower(run, system, name)) else 0,
        "n_words": len(vocabulary(run, name)),
        "n_images": part(run, name, training_split(run, system, name)).n_img,
        "n_labels": len(corpus(run, name).label_names),
        "bits": row.bits,
    }
    torch.manual_seed(run.seed)
    own, fields = run["sizes"].get(row.trained, {}), cls.Config.__dataclass_fields__
    if original := own.get("original"):
        require_known(row.trained, original)
        theirs = cls.original_sizes(info_of(run, name).beside or name)
        own = {k: v for n in (theirs if original is True else original) for k, v in theirs.get(n, {}).items()} | own
    unknown = sorted(set(own) - set(fields))
    if unknown:
        raise InputError(f"sizes of {system} name {unknown[0]!r}; expected any of {', '.join(fields)}")
    return cls(cls.Config(**{field: value for field, value in sizes.items() if field in fields} | own))


def weights_recipe(run: Run, system: str, name: str) -> tuple[str, Recipe, RetrievalModel]:
    """Name and recipe of a system's weights by this run's settings, and the untrained model.

    InputError where the profile gives no epochs for the system.
    """
    trained = registry.system(system).trained
    if trained not in run["epochs"]:
        raise InputError(
            f"profile {run.profile} gives no epochs for {trained!r}, and no weights of it ship; add it to epochs"
        )
    model, split = new_model(run, system, name), training_split(run, system, name)
    passes = training_passes(run, system, name)
    settings = {"model": model.settings, "epochs": passes, "images": run["n_train"].get(name)}
    read = [part(run, name, split).key, part(run, name, "val").key, *feature_keys(run, system, name)]
    if model.chosen_by_labels and registry.corpus(name).generated and (given := given_labels(name)):
        read.append(header_of(given)["digest"])
    return f"{trained}__{name}", Recipe(trained, settings, run.seed, tuple(read)), model


def train(run: Run, system: str, name: str) -> Served:
    """A system trained in this run, with the weights of its best validation score; loaded where it was trained before.

    A training that was stopped goes on after its last whole epoch. Rows that share weights are trained together.
    InputError where the profile gives no epochs for the system, or the corpus `name` lacks what it learns from.
    """
    file, recipe, model = weights_recipe(run, system, name)

    def prepare() -> tuple[Inputs, Callable[[RetrievalModel], float]]:
        return inputs(run, system, name, "train"), validation(run, registry.system(system).trained, name)

    weights = train_model(run, file, recipe, model, prepare, f"{registry.system(system).name} on {name}")
    return Served(run, system, name, weights)


@dataclass(frozen=True)
class Served:
    """A system that is ready to search a corpus: whose weights, whose features, and where they come from.

    Its `run` is the one by whose settings the weights were made: that which asked, or a profile whose weights ship.
    """

    run: Run
    system: str
    corpus_name: str
    weights: Weights

    @property
    def origin(self) -> str:
        """Where the weights come from: ``trained`` in the run, or ``shipped``."""
        return self.weights.origin

    @property
    def log(self) -> list[dict[str, float]]:
        """The log of the training, one row an epoch: loss terms, validation score, seconds."""
        return self.weights.log

    def split(self, split: str = "test") -> Corpus:
        """A split of the corpus: training as the weights saw it, validation and test in the sizes of the asking run."""
        return part(self.run, self.corpus_name, split)

    def model(self) -> RetrievalModel:
        """The trained model."""
        return self.weights.load_into(new_model(self.run, self.system, self.corpus_name))

    def inputs(self, split: str = "test") -> Inputs:
        """What the system reads of a split."""
        return inputs(self.run, self.system, self.corpus_name, split)

    def embeddings(self, split: str = "test") -> dict[str, np.ndarray]:
        """What the system stores of a split, as `comparable` takes it; made once, and kept in the store.

        Returns
        -------
        dict of ndarray: ``img`` and ``txt``, float32 (n, d) or packed codes uint8 (n, bits / 8); or ``sim_i2t``
        (n_img, n_txt) float32 of a system with attention at query time, and ``sim_t2i`` where the directions differ.
        """
        row, depth = registry.system(self.system), self.run["rerank_depth"]
        version = version_of(row.trained)  # an encoding may change and end in the same weights
        settings = {"system": self.system, "rerank_depth": None} | row.serving.settings(depth)
        recipe = Recipe(
            "encoding",
            settings | ({"version": version} if version > 1 else {}),
            inputs=(self.weights.digest, inputs_key(self.run, self.system, self.corpus_name, split)),
        )
        return self.run.store.arrays(
            "embeddings",
            f"{self.system}__{self.corpus_name}__{split}",
            recipe,
            lambda: row.serving.stored_scores(self.model(), self.inputs(split), depth),
        )


def serve(run: Run, system: str, name: str, *, shipped: bool = False) -> Served:
    """The `Served` of a system on a corpus: trained in this run, or shipped, or trained now, in that order.

    With `shipped`, what ships comes first, so that what serves is the same whatever this run has trained.

    What ships by the run's own profile comes first, then what the profile `standard` made. Where nothing fits and the
    profile gives no epochs, the system is trained as long and as large as `standard` trains it, as nothing ships for a
    corpus of one's own.
    """
    trained = registry.system(system).trained
    for provider in sorted(_providers(run, trained, name), key=lambda p: not (shipped and p.shipped)):
        ready = find_weights(provider, *weights_recipe(provider, system, name)[:2], live=not provider.shipped)
        if ready is not None:  # validated on the profile's split; what is searched has the asking run's sizes
            settings = provider.settings | {"n_val": run["n_val"]}
            return Served(replace(provider, settings=settings), system, name, ready)
    if trained not in run["epochs"]:
        defaults = profile_settings("standard")
        added = {k: run[k] | {trained: defaults[k][trained]} for k in ("epochs", "sizes")}
        run = replace(run, settings=run.settings | added)
    return train(run, system, name)


def _providers(run: Run, trained: str, name: str) -> Iterator[Run]:
    """The runs by whose settings there may be weights of a system for a corpus: this one, and those that shipped."""
    if trained in run["epochs"]:
        yield run
    for profile in dict.fromkeys((run.profile, "standard")):
        if (shelf.SHIPPED / profile / f"{trained}__{name}.safetensors").is_file():
            yield shipping_run(run, profile)


def shipping_run(run: Run, profile: str) -> Run:
    """The run by whose settings the weights of a profile were made, in the store of `run`; it reads only what ships."""
    if profile != run.profile:
        note("read", CONFIGS / f"{profile}.yaml")
    defaults = run.settings if profile == run.profile else profile_settings(profile)
    settings = run.settings | {k: defaults[k] for k in TRAINING} | {"seed": profile_settings(profile)["seed"]}
    return replace(run, profile=profile, seed=settings["seed"], settings=settings, shipped=profile)


def embed(run: Run, system: str, name: str, split: str = "test") -> dict[str, np.ndarray]:
    """What a system stores of a split: `Served.embeddings` of whatever serves."""
    provider = registry.system(system).provider
    if provider:
        return registry.load_entry(provider)(run, system).embeddings(corpus(run, name).subset(split), split)
    return serve(run, system, name).embeddings(split)


def comparable(system: str, stored: dict[str, np.ndarray]) -> dict[str, Any]:
    """What `embeddings` returns, as arguments of `evaluate`."""
    return registry.system(system).serving.evaluation_arguments(stored)


def validation(run: Run, system: str, name: str) -> Callable[[RetrievalModel], float]:
    """The score that chooses a checkpoint: mean of R@1, R@5 and R@10 in both directions on the validation split.

    A model that its `selection` judges by labels has those that the split is judged by. A system that reranks is chosen
    by what it reranked, once its fusion head learns; before, by its dual encoder.
    """
    data, row = inputs(run, system, name, "val"), registry.system(system)

    def validate(model: RetrievalModel) -> float:
        serving = row.serving.while_training(model)
        arguments = serving.evaluation_arguments(serving.stored_scores(model, data, run["rerank_depth"]))
        if model.chosen_by_labels:
            arguments["labels"] = labels(run, name, "val")
        table = evaluate(**arguments, caption_image=data.caption_image, **model.selection)
        level = "category" if model.chosen_by_labels else "instance"
        return float(table.loc[table["task"] == level, "value"].mean())

    return validate


def weights_origin(run: Run, system: str, name: str) -> str:
    """Where the weights that serve for a system came from: ``trained`` in this run, ``shipped`` or ``pretrained``."""
    return "pretrained" if registry.system(system).provider else serve(run, system, name).origin


def measured_by(run: Run, system: str, name: str) -> str:
    """The `run` of a system's rows in metrics.csv: this one's id, and, after a plus, whose weights it read.

    ``mini-s0+standard-s0`` is measured in run mini-s0 with weights that the standard profile trained and the companion
    ships; a run that trained the system, or took the weights of its own profile, stands alone.
    """
    if registry.system(system).provider:
        return run.run_id
    served = serve(run, system, name).run
    return run.run_id if served.run_id == run.run_id else f"{run.run_id}+{served.run_id}"


def score(
    run: Run, system: str, name: str, *, ties: str = "expected", judge: np.ndarray | None = None, split: str = "test"
) -> Observations:
    """What each query of a system saw on a corpus, from which `evaluation.summarise` computes the profile's metrics.

    `ties` is the order of items with equal score, as in `evaluate`; the 11-point curve is kept with the expected one
    alone. `judge` (n_img, n_labels) are other labels than those by which the corpus is judged. What is right at
    instance level is `instance_relevance`.
    """
    plan = Plan(run["metrics"], Rules(ties), curve=ties == "expected")
    stored, shown = embed(run, system, name, split), part(run, name, split)
    judge = labels(run, name, split, required=False) if judge is None else judge
    given = {"caption_image": shown.caption_image, "labels": judge, "relevance": instance_relevance(run, shown)}
    read = {**stored} | {key: array for key, array in given.items() if array is not None}

    def look() -> dict[str, np.ndarray]:
        tasks = image_text_tasks(shown.n_img, shown.n_txt, **given)
        return observe(score_source(**comparable(system, stored)), plan=plan, tasks=tasks).arrays()

    settings = {"metrics": [str(metric) for metric in plan.metrics], "ties": ties, "curve": plan.curve}
    arrays = run.store.arrays(
        "perquery",
        f"{system}__{name}__{split}",
        Recipe("scoring", settings, 0, (content_digest(read),)),
        look,
        system=system,
        corpus=name,
    )
    return Observations.from_arrays(arrays)
