"""What real pictures say beside the tables: what counts as right, whose words a row reads, how many pictures it takes.

Each study gives rows of one tidy table, `COLUMNS`; `draw_sheet` shows what systems find first. What has to be trained
for a study is kept in the run's store, as all else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import experiment, registry
from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.escaping import csv_text
from fico_utils.evaluation import evaluate
from fico_utils.experiment.corpora import equal_captions
from fico_utils.experiment.model_inputs import text_tower
from fico_utils.experiment.systems import Served, validation, weights_recipe
from fico_utils.experiment.weights import train_model
from fico_utils.files import key_of, write_text
from fico_utils.models.training import Inputs

if TYPE_CHECKING:
    from pathlib import Path

    from fico_utils.display.picture import Picture
    from fico_utils.workspace import Run

#: `judge` is what counts as right: ``partner`` (the expectation over tied items), ``partner_optimistic`` (their best
#: order), or ``equal_captions``. `learned_from` names the training pictures, `words` who taught the words.
COLUMNS = (
    "study", "system", "words", "learned_from", "corpus", "judge", "direction", "k", "value", "chance", "n_query",
    "run",
)  # fmt: skip
#: Shares of the training pictures, and systems that show what pretrained words bring.
SHARES, SWAPPED = (0.25, 0.5, 1.0), ("beit3", "scan")
#: The pictures for which nothing was trained.
OTHERS = "stamps"


def judged_scores(arguments: dict[str, Any], shown: Corpus, **about: str) -> Iterator[dict[str, Any]]:
    """Recall at 1, 5 and 10 of a system by each judge; `arguments` are its scores as `evaluate` reads them."""
    judges = {"partner": {}, "partner_optimistic": {"ties": "optimistic"}}
    for judge, given in {**judges, "equal_captions": {"relevance": equal_captions(shown)}}.items():
        table = evaluate(**arguments, **given, caption_image=shown.caption_image, metrics="recall@1,5,10")
        for row in table.itertuples():
            found = {name: getattr(row, name) for name in ("direction", "k", "value", "chance", "n_query")}
            yield {**about, "corpus": shown.name, "judge": judge, **found}


def study_relevance(run: Run, name: str) -> Iterator[dict[str, Any]]:
    """Every row of the profile, by each judge."""
    for system in run["systems"]:
        yield from _of_test(run, system, name, "relevance")


def study_words(run: Run, name: str) -> Iterator[dict[str, Any]]:
    """The same system with the words of the other family: those of a pretrained tower, or of the corpus alone."""
    for source in ("towers", "swapped"):
        swapped = replace(run, settings=run.settings | {"text_features": source})
        for system in SWAPPED:
            yield from _of_test(swapped, system, name, "words")


def study_others(run: Run, name: str) -> Iterator[dict[str, Any]]:
    """Vision-language rows on all pictures of `OTHERS`, of which they have seen none."""
    shown = experiment.corpus(run, OTHERS)
    for system in _vision_language(run):
        served, read = experiment.serve(run, system, name), whole_inputs(run, system, shown)
        yield from _of_inputs(run, system, served, read, shown, "others", name)


def study_learning(run: Run, name: str) -> Iterator[dict[str, Any]]:
    """Vision-language rows that learned from `SHARES` of the training pictures, and from those of `OTHERS` besides."""
    shown = experiment.part(run, name, "test")
    for system in _vision_language(run):
        own, test = (experiment.inputs(run, system, name, split) for split in ("train", "test"))
        more = join_inputs([own, *(experiment.inputs(run, system, OTHERS, split) for split in SPLITS)])
        learned = {f"{share:.0%} of {name}": take_share(own, share, run.seed) for share in SHARES}
        for label, data in {**learned, f"{name} and {OTHERS}": more}.items():
            served = train_on(run, system, name, data) if data is not own else experiment.serve(run, system, name)
            yield from _of_inputs(run, system, served, test, shown, "learning", label)


def train_on(run: Run, system: str, name: str, data: Inputs) -> Served:
    """A system with the settings of the profile that learned from `data` in place of the training split of `name`."""
    file, recipe, model = weights_recipe(run, system, name)
    recipe = replace(recipe, inputs=(data.key, *recipe.inputs), settings={**recipe.settings, "images": None})
    choose = validation(run, registry.system(system).trained, name)
    return Served(
        run, system, name, train_model(run, file, recipe, model, lambda: (data, choose), f"{system}, a study")
    )


def take_share(data: Inputs, share: float, seed: int) -> Inputs:
    """A share of the pictures of a split, drawn at random, with their captions; all of them is `data` itself."""
    if share == 1:
        return data
    n = len(next(iter(data.image.values())))
    rows = np.sort(np.random.default_rng(seed).permutation(n)[: round(share * n)])
    captions = np.flatnonzero(np.isin(data.caption_image, rows))
    image, text = ({k: a[kept] for k, a in s.items()} for s, kept in ((data.image, rows), (data.text, captions)))
    return Inputs(image, text, np.searchsorted(rows, data.caption_image[captions]), key_of(data.key, share, seed))


def join_inputs(parts: Sequence[Inputs]) -> Inputs:
    """The pictures and captions of several splits, one after the other; shorter captions are padded with zeros."""
    starts = np.cumsum([0, *(len(next(iter(part.image.values()))) for part in parts)])
    image = {name: np.concatenate([part.image[name] for part in parts]) for name in parts[0].image}
    text = {}
    for name in parts[0].text:
        longest = max(part.text[name].shape[1] for part in parts)
        padded = [np.pad(a, ((0, 0), (0, longest - a.shape[1]), (0, 0))) for a in (part.text[name] for part in parts)]
        text[name] = np.concatenate(padded)
    index = np.concatenate([part.caption_image + start for part, start in zip(parts, starts, strict=False)])
    return Inputs(image, text, index, key_of([part.key for part in parts]))


def whole_inputs(run: Run, system: str, corpus: Corpus) -> Inputs:
    """What a system reads of all pictures and captions of a corpus, in the corpus's own order."""
    read = join_inputs([experiment.inputs(run, system, corpus.name, split) for split in SPLITS])

    def in_order(tables: dict[str, np.ndarray], split: np.ndarray) -> dict[str, np.ndarray]:
        by_split = np.concatenate([np.flatnonzero(split == name) for name in SPLITS])
        return {name: table[np.argsort(by_split)] for name, table in tables.items()}

    texts = in_order(read.text, corpus.split[corpus.caption_image])
    return Inputs(in_order(read.image, corpus.split), texts, corpus.caption_image, read.key)


def draw_sheet(run: Run, name: str, systems: Sequence[str], queries: int = 10) -> Picture:
    """For some captions of the test split, drawn at random, the picture that each system puts first.

    The caption's own picture stands at the left; "right" is what `instance_relevance` says.
    """
    from fico_utils.display import teaching

    shown = experiment.part(run, name, "test")
    right = {(int(i), int(c)) for i, c in equal_captions(shown)}
    asked = np.sort(np.random.default_rng(run.seed).choice(shown.n_txt, queries, replace=False))
    first = {s: _t2i_scores(s, experiment.embed(run, s, name))[asked].argmax(1) for s in systems}
    pictures, captions = [], []
    for row, query in enumerate(asked):
        own = int(shown.caption_image[query])
        pictures.append(shown.images[own])
        captions.append("\n".join(wrap(shown.captions[query], 140 // (1 + len(systems)))[:3]))
        for system in systems:
            found = int(first[system][row])
            shares = shown.labels is not None and bool((shown.labels[found] & shown.labels[own]).any())
            verdict = "right" if (found, int(query)) in right else "same category" if shares else "wrong"
            pictures.append(shown.images[found])
            captions.append(f"{registry.system(system).name}: {verdict}")
    alt = f"{queries} captions of {name} with their pictures, and what {len(systems)} systems put first; {run.stamp}."
    return teaching.sheet(pictures, captions, columns=1 + len(systems), alt=alt)


def write_study(run: Run, name: str, study: str) -> Path:
    """The rows of a study, ``relevance``, ``words``, ``others`` or ``learning``, written to ``study_NAME.csv``."""
    import pandas as pd

    rows = {"relevance": study_relevance, "words": study_words, "others": study_others, "learning": study_learning}
    table, path = pd.DataFrame(rows[study](run, name)).assign(run=run.run_id), run.path(f"study_{study}.csv")
    write_text(path, csv_text(table[list(COLUMNS)]))
    return path


def _of_test(run: Run, system: str, name: str, study: str) -> Iterator[dict[str, Any]]:
    """The scores of a system on its own test split."""
    arguments = experiment.comparable(system, experiment.embed(run, system, name))
    words = run["towers"]["text"] if text_tower(run, system, name) else "corpus"
    about = {"study": study, "system": system, "words": words, "learned_from": name}
    return judged_scores(arguments, experiment.part(run, name, "test"), **about)


def _of_inputs(
    run: Run, system: str, served: Served, read: Inputs, shown: Corpus, study: str, learned_from: str
) -> Iterator[dict[str, Any]]:
    """The scores of a served system on inputs that need not be of its own corpus."""
    stored = registry.system(system).serving.stored_scores(served.model(), read, run["rerank_depth"])
    about = {"study": study, "system": system, "words": run["towers"]["text"], "learned_from": learned_from}
    return judged_scores(experiment.comparable(system, stored), shown, **about)


def _vision_language(run: Run) -> list[str]:
    return [system for system in run["systems"] if registry.system(system).family == "vlp"]


def _t2i_scores(system: str, stored: dict[str, np.ndarray]) -> np.ndarray:
    """Scores (n_txt, n_img) of all captions with all pictures."""
    if "sim_i2t" in stored:
        return stored["sim_t2i"] if "sim_t2i" in stored else stored["sim_i2t"].T
    return registry.system(system).serving.compare(None, stored["img"], stored["txt"]).T
