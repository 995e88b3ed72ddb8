"""The sections of notebook 05: the systems of a run that are ready to be measured, and one call a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import experiment, registry
from fico_utils.artifacts import Recipe
from fico_utils.costs.attention import Pairs, attention_rows
from fico_utils.costs.blocks import CAPTIONS, Scenes, Stage, feature_stages, first_features, system_stage
from fico_utils.costs.clock import Timing
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.search import doubling_sizes, search_sweep
from fico_utils.costs.storage import code_bits, index_on_top, storage_rows, stored_sample
from fico_utils.errors import InputError

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.serving import Items
    from fico_utils.workspace import Run

#: Numbers of images of the paper's tables.
PAPER_IMAGES = (1_000, 10_000, 100_000, 1_000_000)
#: Images of the sample whose bytes are counted.
SAMPLE = 64


@dataclass(frozen=True)
class Subject:
    """A system whose costs are measured."""

    system: str  # id of the registry
    model: RetrievalModel
    trained: bool  # False where the profile has no weights of it: times and bytes do not depend on them
    extractors: tuple[Stage, ...]  # those of the run whose weights and features serve
    encoder: Stage
    provider: Run  # the run, or the profile that ships, by whose settings they were made

    @property
    def serving(self) -> Any:
        """How the system is served."""
        return registry.system(self.system).serving

    def encode_first(self, scenes: Scenes, n_img: int, n_txt: int) -> tuple[Items, Items]:
        """What the system keeps of the first images, and of the first captions, five an image.

        Captions are padded to the longest of the test split.
        """
        n, width = max(n_img, -(-n_txt // CAPTIONS)), 0
        if "tokens" in self.encoder.reads:
            captions = experiment.part(self.provider, scenes.corpus, "test").captions
            width = experiment.vocabulary(self.provider, scenes.corpus).encode(captions).shape[1]
        features = first_features(scenes, self.extractors, self.encoder.reads, n, width)
        images, texts = (features[self.encoder.sides[side][0]] for side in ("image", "text"))
        return self.serving.encode(self.model, images[:n_img], texts[:n_txt])


@dataclass(frozen=True)
class Subjects:
    """The systems of a run that are measured on a drawn corpus, whose scenes have no end."""

    run: Run
    corpus: str
    members: tuple[Subject, ...]

    @property
    def scenes(self) -> Scenes:
        """The scenes that flow past the systems."""
        return Scenes(self.corpus)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns that all rows share."""
        return {"corpus": self.corpus, "run": self.run}

    @property
    def timing(self) -> Timing:
        """How the profile measures."""
        return Timing(budget_s=self.run["cost_budget_s"], limit_s=self.run["cost_limit_s"])

    def groups(self, members: Sequence[Subject] | None = None) -> list[tuple[tuple[Stage, ...], list[Stage]]]:
        """(extractors, encoders) of systems that read the same features."""
        groups: dict[int, tuple[tuple[Stage, ...], list[Stage]]] = {}
        for member in self.members if members is None else members:
            groups.setdefault(id(member.extractors), (member.extractors, []))[1].append(member.encoder)
        return list(groups.values())


def load_subjects(run: Run, systems: Sequence[str]) -> Subjects:
    """The systems with the weights that serve, and the extractors that they read, on the run's first drawn corpus.

    Where the run has none, that is the corpus that taught the extractors. A system without weights in this profile is
    measured untrained, and that is printed.
    """
    from fico_utils.models import model_class

    corpus = next((c for c in run["corpora"] if registry.corpus(c).drawn), experiment.PRETRAINING)
    reads_doc2vec = any(model_class(system).text_input == "doc2vec" for system in systems)
    extractors: dict[tuple[str, str], tuple[Stage, ...]] = {}
    members = []
    for system in systems:
        try:
            served = experiment.serve(run, system, corpus)
        except InputError:
            print(f"{registry.system(system).name} is untrained here: what it costs does not depend on its weights")
            served = None
        provider = served.run if served else run
        model = served.model() if served else experiment.new_model(run, system, corpus).eval()
        place = provider.shipped, "patches" if model.image_input == "patches" else "regions"
        if place not in extractors:
            extractors[place] = _extractors(provider, corpus, place[1], reads_doc2vec)
        stage = system_stage(system, model)
        members.append(Subject(system, model, served is not None, extractors[place], stage, provider))
    return Subjects(run, corpus, tuple(members))


def _extractors(provider: Run, corpus: str, kind: str, reads_doc2vec: bool) -> tuple[Stage, ...]:
    doc2vec = None
    if reads_doc2vec:
        doc2vec = experiment.doc2vec_weights(provider).arrays(), provider.seed, provider["doc2vec_epochs"]
    backbone, vocabulary = experiment.backbone(provider, kind=kind), experiment.vocabulary(provider, corpus)
    return feature_stages(backbone, vocabulary, doc2vec)


def encoding_table(subjects: Subjects, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of Table 5, left half: `encoding_rows` at some numbers of images, extrapolated to the paper's."""
    run, beyond = subjects.run, [n for n in PAPER_IMAGES if n not in sizes]
    limits = {s.system: run["hash_limit_s" if s.serving.hashed else "cost_limit_s"] for s in subjects.members}
    how = {"block": min(1000, *sizes), "timing": subjects.timing, "limits": limits, "extrapolate_to": beyond}
    return encoding_rows(subjects.scenes, subjects.groups(), sizes, **how, **subjects.columns)


def storage_samples(subjects: Subjects) -> dict[str, dict[str, Any]]:
    """System -> `stored_sample` of 64 images with five captions each, from the run's store, and ``bits`` of codes."""
    samples = {}
    for s in subjects.members:
        settings = {"system": s.system, "corpus": subjects.corpus, "images": SAMPLE, **s.encoder.settings}

        def build(s: Subject = s) -> dict[str, np.ndarray]:
            return stored_sample(s.system, *s.encode_first(subjects.scenes, SAMPLE, CAPTIONS * SAMPLE))

        recipe = Recipe("storage", settings, subjects.run.seed)
        arrays = subjects.run.store.arrays("costs/storage", f"{s.system}__{subjects.corpus}", recipe, build)
        samples[s.system] = {**arrays, "bits": code_bits(s.system, arrays["img_emb"])}
    return samples


def storage_table(subjects: Subjects, samples: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of Table 5, right half: `storage_rows` of each system's sample, with an index on top."""
    rows = []
    for system, sample in samples.items():
        index = tuple(index_on_top(sample[side], sample["bits"]) for side in ("img_emb", "txt_emb"))
        rows += storage_rows(**sample, index=index, system=system, **subjects.columns)
    return rows


def attention_table(subjects: Subjects, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of Table 6: `attention_rows` of the systems that read pairs at query time, extrapolated to the paper's.

    InputError where a reranker is to read more candidates than the smallest gallery has.
    """
    scales, depth = [(n, CAPTIONS * n) for n in sizes], subjects.run["rerank_depth"]
    beyond = [(n, CAPTIONS * n) for n in PAPER_IMAGES[:3] if n not in sizes]
    rows = []
    for s in subjects.members:
        if s.serving.reads_pairs:
            if s.serving.reranks and not 1 <= depth <= min(sizes):
                raise InputError(
                    f"reranking the first {depth} of a gallery of {min(sizes)} was asked for; expected 1 up to the "
                    "smallest gallery: choose a smaller rerank_depth or larger attention_scales"
                )
            pairs = Pairs(s.system, s.model, lambda s=s: s.encode_first(subjects.scenes, *max(scales)), depth)
            columns = {"timing": subjects.timing, "system": s.system, **subjects.columns}
            rows += attention_rows(pairs, scales, extrapolate_to=beyond, **columns)
    return rows


def search_table(run: Run, n_queries: int, n_candidates: int, dim: int) -> list[dict[str, Any]]:
    """Rows of Table 7 and Figure 4: `search_sweep` over sizes that double up to the largest."""
    sizes = doubling_sizes(n_queries, n_candidates, run["search_steps"])
    timing = Timing(budget_s=run["cost_budget_s"], threads=run["threads"])
    return search_sweep(sizes, dim=dim, timing=timing, beside=("sign", "rotation"), run=run)
