"""The grid of causes: systems with equal features and after equal training, and what of a lead follows which of them.

A cell is a system with some features (``regions``, ``patches``) after some training (``own``, ``equal``) on a corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico_utils import registry
from fico_utils.display.rows import join_words
from fico_utils.display.table import markdown_line
from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.evaluation import Metric
from fico_utils.extras.claims.causes import AGAIN, COLUMNS, GRID, read_grid
from fico_utils.files import note, write_text
from fico_utils.profiles import CONFIGS, profile_settings
from fico_utils.workspace import Run

if TYPE_CHECKING:
    import pandas as pd

#: What is kept of a cell, and the columns of `split_leads` that hold parts of a lead.
METRICS = (("recall", "1"), ("map", "10"), ("map", "N"))
CELLS = tuple(product(("regions", "patches"), ("own", "equal")))
PARTS = ("features", "training", "system")
#: The parameters that a corpus in files has from the profile of that name: its sizes, its passes and its towers.
PICTURES = ("pictures", ("epochs", "sizes", "doc2vec_epochs", "visual_features", "text_features", "relevance"))


def measure_cell(run: Run, system: str, name: str, features: str, training: str) -> Iterator[dict[str, Any]]:
    """Train and score one cell: its rows of the grid, with intervals; what the run has trained is loaded."""
    from fico_utils import experiment
    from fico_utils.evaluation import summarise
    from fico_utils.experiment.model_inputs import pairs_a_pass, training_passes

    cell = cell_run(run, name, features=features, training=training)
    experiment.train(cell, system, name)
    pairs = training_passes(cell, system, name) * pairs_a_pass(cell, system, name)
    about = {"system": system, "features": features, "training": training, "corpus": name, "seed": str(run.seed)}
    wanted = " ".join(f"{metric}@{k}" for metric, k in METRICS)
    for row in summarise(experiment.score(cell, system, name), wanted, intervals=True):
        if (row["metric"], row["k"]) in METRICS:  # the curve comes along
            yield row | about | {"pairs": float(pairs)}


def cell_run(run: Run, name: str, **changes: str) -> Run:
    """The run of a cell: that of the grid, in which a corpus in files has the settings of `PICTURES`."""
    profile, taken = PICTURES
    settings = {} if registry.corpus(name).drawn else profile_settings(profile)
    return replace(run, settings=run.settings | {k: v for k, v in settings.items() if k in taken} | changes)


def write_part(run: Run, system: str, name: str, features: str, training: str) -> Path:
    """Path of the file of one cell, just measured and written."""
    import pandas as pd

    path = run.path("grid", f"{name}__{system}__{features}__{training}__s{run.seed}.csv")
    rows = pd.DataFrame(measure_cell(run, system, name, features, training))
    write_text(path, csv_text(rows[list(COLUMNS)], "%.9g"))
    return path


def merge_parts(run: Run) -> pd.DataFrame:
    """All parts that were measured, written to ``grid.csv``; InputError where there are none."""
    import pandas as pd

    parts = [read_grid(path) for path in sorted(run.path("grid").glob("*.csv"))]
    if not parts:
        raise InputError(f"{run.path('grid')} holds no cell of the grid; {AGAIN}")
    grid = pd.concat(parts, ignore_index=True)
    write_text(run.path("grid.csv"), csv_text(grid, "%.9g"))
    return grid


def grid_of(run: Run) -> pd.DataFrame:
    """The grid of a run, or the committed one where it has none; InputError, with the command, where neither exists."""
    for path in (run.path("grid.csv"), GRID):
        if (grid := read_grid(path)) is not None:
            return grid
    raise InputError(f"there is no grid of causes at {GRID}; {AGAIN}")


def training_scenes() -> dict[str, int]:
    """Corpus -> scenes that the committed grid learned from; its profile becomes an input of the step that asks."""
    note("read", CONFIGS / "causes.yaml")
    return profile_settings("causes")["n_train"]


def mean_scores(grid: pd.DataFrame, seed: str | None = None) -> pd.DataFrame:
    """Each score of one seed, by default the first, as the mean of its two directions; columns as in the grid."""
    chosen = grid[grid["seed"] == (seed or min(grid["seed"]))]
    cell = ["corpus", "system", "features", "training", "metric", "k"]
    return chosen.groupby(cell, sort=False)[["pairs", "value", "ci_low", "ci_high"]].mean().reset_index()


def split_leads(grid: pd.DataFrame, seed: str | None = None) -> pd.DataFrame:
    """The lead of the best vision-language row over the best traditional one, split by its causes.

    Both rows are the best as they ship (patches or regions, own training). Let L be their lead where features are as
    shipped or equal (the mean of both reading regions and both reading patches) and training is own or equal. Then
    ``features`` and ``training`` are how much L falls when the one or the other is made equal, averaged over which
    comes first, and ``system`` is what is left where both are equal: the three add up to the lead.

    Returns
    -------
    DataFrame, one row a corpus and metric: corpus, metric, k, vlp, fg, lead and `PARTS`; fractions.

    InputError where a cell of one of the two is missing.
    """
    import pandas as pd

    means, rows = mean_scores(grid, seed), []
    scores = means.set_index(["corpus", "metric", "k", "system", "features", "training"])["value"]
    for place in means[["corpus", "metric", "k"]].drop_duplicates().itertuples(index=False, name=None):
        shipped = {
            family: {
                s: _cell(scores, *place, s, kind, "own")
                for s in means.loc[means["corpus"] == place[0], "system"].unique()
                if registry.system(s).family == family
            }
            for family, kind in (("vlp", "patches"), ("fg", "regions"))
        }
        if not all(shipped.values()):
            continue  # no two rows to compare on this corpus yet
        best = {family: max(known, key=known.get) for family, known in shipped.items()}

        def lead(kinds: Sequence[tuple[str, str]], training: str, place=place, best=best) -> float:
            pairs = [
                [_cell(scores, *place, best[f], k, training) for f, k in zip(best, pair, strict=True)] for pair in kinds
            ]
            return sum(upper - lower for upper, lower in pairs) / len(pairs)

        apart, same = [("patches", "regions")], [("patches", "patches"), ("regions", "regions")]
        a, b, c, d = (lead(kinds, training) for kinds, training in product((apart, same), ("own", "equal")))
        rows.append((*place, *best.values(), a, (a - c + b - d) / 2, (a - b + c - d) / 2, d))
    return pd.DataFrame(rows, columns=["corpus", "metric", "k", "vlp", "fg", "lead", *PARTS])


def _cell(scores: pd.Series, *cell: str) -> float:
    """A score of the grid; InputError where the cell is missing."""
    corpus, metric, k, system, features, training = cell
    if cell not in scores.index:
        raise InputError(
            f"the grid has no {Metric(metric, k).label} of {registry.system(system).name} with {features} after "
            f"{training} training on {registry.corpus(corpus).name}; {AGAIN}"
        )
    return scores[cell]


def state_causes(leads: pd.DataFrame) -> list[str]:
    """Two sentences on `split_leads`, of R@1 and of mAP@10: how much follows features, training and systems."""
    settings = profile_settings("causes")
    names = {c: registry.corpus(c).name for c in settings["n_train"]}
    sizes = join_words([f"{n:,} training scenes of {names[c]}" for c, n in settings["n_train"].items()])
    more = " for vision-language rows and equal training"
    sizes += "".join(f", {n:,} of {names[c]}{more}" for c, n in settings["n_train_vlp"].items())
    sentences = []
    for (metric, k), label in (((m, k), Metric(m, k).label) for m, k in METRICS[:2]):
        parts = [
            f"on {registry.corpus(row.corpus).name} the lead of {registry.system(row.vlp).name} over "
            f"{registry.system(row.fg).name} is {100 * row.lead:+.1f} points; {100 * row.features:+.1f} follow "
            f"the features, {100 * row.training:+.1f} the training and {100 * row.system:+.1f} the systems"
            for row in leads[(leads["metric"] == metric) & (leads["k"] == k)].itertuples()
        ]
        sentences.append(f"{label}, mean of both directions, profile causes ({sizes}): {'; '.join(parts)}.")
    return sentences


def causes_text(grid: pd.DataFrame) -> str:
    """The two sentences, the split leads and all cells as GitHub tables; percent, with half a 95 % interval."""
    labels, split = [Metric(metric, k).label for metric, k in METRICS], split_leads(grid)
    leads = [
        [f"{registry.corpus(r.corpus).name}, {Metric(r.metric, r.k).label}",
         f"{registry.system(r.vlp).name} - {registry.system(r.fg).name}",
         *(f"{100 * v:+.1f}" for v in (r.lead, r.features, r.training, r.system))]
        for r in split.itertuples()
    ]  # fmt: skip
    means, cells = mean_scores(grid), []
    for (corpus, system, *cell), rows in means.groupby(["corpus", "system", "features", "training"], sort=False):
        values = rows.set_index(["metric", "k"])
        texts = [
            f"{100 * v.value:.1f} ± {50 * (v.ci_high - v.ci_low):.1f}" for v in values.loc[list(METRICS)].itertuples()
        ]
        names = registry.corpus(corpus).name, registry.system(system).name
        cells.append([*names, *cell, f"{rows['pairs'].iloc[0]:,.0f}", *texts])
    tables = (
        (["", "rows", "lead", *PARTS], leads),
        (["corpus", "system", "features", "training", "pairs seen", *labels], cells),
    )
    texts = ["\n".join(map(markdown_line, [heads, ["---"] * len(heads), *rows])) for heads, rows in tables]
    return "\n\n".join([*state_causes(split), *texts]) + "\n"
