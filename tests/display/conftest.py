"""Synthetic results of a run: three systems or all, chance and the perfect retriever, costs; the paper's rows."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fico_utils import registry
from fico_utils.evaluation import Metric
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from fico_utils.results.schema import sort_rows
from fico_utils.workspace import Run

CHANCE = {"picto_diverse": 0.33, "picto_people": 0.887}
#: system -> (height of its recall, height of its mAP over chance)
QUALITY = {"beit3": (0.35, 0.25), "scan": (0.22, 0.2), "ucch": (0.08, 0.3)}
#: All systems, from good to bad at instance level; the hash rows better at category level.
ALL = {
    "blip2": (0.5, 0.3), "blip2_nf": (0.42, 0.29), "beit3": (0.35, 0.25), "xvlm": (0.4, 0.28), "xvlm_nf": (0.36, 0.26),
    "imram": (0.25, 0.2), "vsrn": (0.2, 0.18), "scan": (0.22, 0.2), "adv_2048": (0.15, 0.28), "adv_64": (0.06, 0.27),
    "ucch": (0.08, 0.3), "dadh": (0.09, 0.31),
}  # fmt: skip
#: Seconds that encoding a thousand images takes; bytes that an embedding takes, as the paper counts.
ENCODE = {"beit3": (4.0, 1024), "scan": (1.5, 4096), "ucch": (0.004, 64)}
SPEED = {"flat_ip": 1e-9, "hnsw_flat": 2e-10, "binary_flat": 3e-10, "binary_flat_counting": 1e-10, "binary_ivf": 5e-11}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return Run("mini", 0, tmp_path_factory.mktemp("results") / "mini", {})


def make_scores(recall: float, above: float, chance: float) -> pd.DataFrame:
    """What `evaluate` returns, with numbers that fall as real ones do."""
    rows = []
    for direction, better in (("i2t", 1.2), ("t2i", 1.0)):
        for k in (1, 5, 10, 50, 100, 200):
            value = 1 - (1 - recall * better) ** (k**0.8)
            rows.append(("instance", direction, "recall", k, value, k / 1000))
        rows.append(("instance", direction, "median_rank", "", 4.5, 500.5))
        for k, share in ((10, 1.0), (100, 0.7), ("N", 0.3)):
            rows.append(("category", direction, "map", k, chance + above * share * (1 - chance) * better, chance))
        for level in np.arange(11) / 10:
            value = chance + (1 - chance) * min(1, above * 3 * better) * (1 - level) ** 2
            rows.append(("category", direction, "precision", f"R={level:.1f}", value, chance))
    frame = pd.DataFrame(rows, columns=["task", "direction", "metric", "k", "value", "chance"])
    return frame.assign(ci_low=np.nan, ci_high=np.nan, n_query=1000, ties="expected", status="ok")


def bounds(scores: pd.DataFrame) -> pd.DataFrame:
    """The same scores under the best and the worst order of tied items."""
    kept = scores[scores["metric"].isin(("recall", "map")) & scores["value"].notna()]
    gap = 0.4 * kept["value"] * (1 - kept["value"])
    return pd.concat(
        [
            kept.assign(metric=kept["metric"] + f"_{name}", value=kept["value"] + sign * gap)
            for name, sign in (("optimistic", 1), ("pessimistic", -1))
        ]
    )


def places(quality: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Mean places that follow the order of the systems, neighbours not told apart."""
    rows = []
    for direction in ("i2t", "t2i"):
        for column, task, metric, k in ((0, "instance", "place", ""), (1, "category", "map_place", "10")):
            order = sorted(quality, key=lambda s: -quality[s][column])
            for i, system in enumerate(order):
                value = 1.1 + i * (len(order) - 1.2) / max(len(order) - 1, 1)
                rows.append((system, task, direction, metric, k, value, max(value - 0.55, 1), value + 0.55))
    columns = ["system", "task", "direction", "metric", "k", "value", "ci_low", "ci_high"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(chance=(len(quality) + 1) / 2, n_query=1000, status="ok")


def write_metrics(run: Run, quality: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """metrics.csv of a run of some systems, as `merge` makes it."""
    for corpus, chance in CHANCE.items():
        for name, heights in quality.items():
            system, scores = registry.system(name), make_scores(*heights, chance)
            if system.measure == "rerank":
                whole = (scores["k"] == "N") | (scores["metric"] == "precision")
                scores.loc[whole, ["value", "status"]] = [np.nan, "undefined"]
            if system.measure == "hamming":
                scores = pd.concat([scores, bounds(scores)], ignore_index=True)
            store.write_part(run, "metrics", f"{name}__{corpus}", store.score_rows(scores, name, corpus))
        store.write_part(run, "metrics", f"places__{corpus}", places(quality).assign(corpus=corpus))
        scores = make_scores(*QUALITY["ucch"], chance)
        store.write_part(run, "metrics", f"chance__{corpus}", store.chance_rows(scores, corpus))
        perfect = make_scores(0.75, 1 / 1.2, chance).query("metric == 'recall'")
        rows = store.score_rows(perfect, "perfect", corpus, "perfect")
        store.write_part(run, "metrics", f"perfect__{corpus}", rows)
    return store.merge(run, "metrics")


@pytest.fixture(scope="session")
def metrics(run):
    """metrics.csv of a run of three systems."""
    return write_metrics(run, QUALITY)


@pytest.fixture(scope="session")
def everyone(tmp_path_factory):
    """metrics.csv and costs.csv of a run of all twelve systems of the paper."""
    run = Run("standard", 0, tmp_path_factory.mktemp("everyone") / "standard", {})
    costs = {s: (0.004 * 1.9**i, 64 * (i + 1)) for i, s in enumerate(reversed(ALL))}
    return write_metrics(run, ALL), write_costs(run, costs)


@pytest.fixture(scope="session")
def of_three_seeds(everyone):
    """metrics.csv of all systems at three seeds: values move by system and seed, intervals are two points wide."""
    rng, tables = np.random.default_rng(0), []
    for seed in range(3):
        table = everyone[0].copy()
        mine = table["source"] == "ours"
        table.loc[mine, "value"] = (table["value"] + 0.01 * rng.standard_normal(len(table))).clip(0, 1)[mine]
        table.loc[mine, "run"] = f"standard-s{seed}"
        table.loc[mine, "ci_low"], table.loc[mine, "ci_high"] = table["value"] - 0.01, table["value"] + 0.01
        tables.append(table)
    return tables


@pytest.fixture(scope="session")
def costs(run):
    """costs.csv of a run of three systems."""
    return write_costs(run, ENCODE)


def write_costs(run: Run, encode: dict[str, tuple[float, int]]) -> pd.DataFrame:
    """costs.csv of a run of some systems, as `merge` makes it."""
    rows = []

    def add(system, corpus, phase, images, texts, quantity, value, status="ok"):
        rows.append((system, corpus, phase, images, texts, quantity, value, status))

    for system, (seconds, width) in encode.items():
        for n in (250, 500, 1000):
            add(system, "picto_diverse", "encode", n, 5 * n, "seconds", seconds * n / 1000)
        add(system, "picto_diverse", "encode", 10_000, 50_000, "seconds", seconds * 10, "extrapolated")
        add(system, "", "store", 1_000_000, 5_000_000, "paper_bytes", 6_000_000 * width)
        add(
            system,
            "",
            "store",
            1_000_000,
            5_000_000,
            "packed_bytes",
            6_000_000 * width / (8 if registry.system(system).measure == "hamming" else 1),
        )
    add("scan", "picto_diverse", "store", 1_000_000, 5_000_000, "feature_bytes", 3e12)
    for n in (125, 250, 500):
        add("scan", "picto_diverse", "attention", n, 5 * n, "seconds", 17 * (n / 1000) ** 2)
    add("scan", "picto_diverse", "attention", 1000, 5000, "seconds", np.nan, "dnf")
    for index, speed in SPEED.items():
        for queries in (500, 1000, 2000):
            add(index, "synthetic", "index", queries, 25 * queries, "seconds", 1e-7 * queries)
            add(index, "synthetic", "search", queries, 25 * queries, "seconds", speed * queries**2 * 25 * 256)
            for k in (1, 10, 100, 1000):
                exact = index == "flat_ip"
                add(
                    index,
                    "synthetic",
                    "search",
                    queries,
                    25 * queries,
                    f"recall@{k}",
                    1 if exact else 0.1 * np.log10(10 * k) + 0.4,
                )
    columns = ["system", "corpus", "phase", "scale_img", "scale_txt", "quantity", "value", "status"]
    frame = pd.DataFrame(rows, columns=columns).assign(repeats=5, threads=2, spread=0.0)
    store.write_part(run, "costs", "05_complexity_analysis", frame)
    return store.merge(run, "costs")


#: Galleries of the rows of growth.
SIZES = (1000, 2000, 4000)
POINTS = {  # setup -> seconds a query, bytes an item, recall
    "beit3+flat_ip": (4e-4, 512, 0.40), "beit3+hnsw_flat": (5e-5, 784, 0.39), "beit3+binary_ivf": (6e-5, 20, 0.05),
    "beit3+binary_flat_counting": (7e-5, 8, 0.10), "ucch+binary_flat_counting": (3e-5, 8, 0.20),
    "ucch+beit3@10": (4e-5, 520, 0.30), "ucch+beit3@100": (9e-5, 520, 0.385), "scan": (0.5, 18000, 0.38),
    "ucch+scan@100": (0.02, 18008, 0.37),
}  # fmt: skip


def grown_costs(further: int = 0) -> pd.DataFrame:
    """Our rows of galleries that grow and of ways to search them; `further`: a size that SCAN did not reach."""
    rows = []

    def add(phase, system, n, quantity, value, unit="", source="ours"):
        texts = 5 * n if phase == "gallery" else 50
        rows.append((phase, source, system, n, texts, quantity, unit, value))

    for i, n in enumerate((*SIZES, further) if further else SIZES):
        for system, start in (("beit3", 0.5), ("scan", 0.45), ("ucch", 0.3)):
            for d in ("i2t", "t2i"):
                add("gallery", system, n, f"recall_{d}@1", start - 0.08 * i)
                add("gallery", system, n, f"true_{d}@1", 0.1 + 0.02 * i)
        add("gallery", "perfect", n, "recall_t2i@1", 0.9 - 0.05 * i, source="perfect")
        for setup, (seconds, size, recall) in POINTS.items():
            if n != further or "scan" not in setup:
                add("deploy", setup, n, "seconds_per_query", seconds * n / 4000, "s")
                add("deploy", setup, n, "item_bytes", size, "B")
                add("deploy", setup, n, "recall_t2i@1", recall)
    columns = ["phase", "source", "system", "scale_img", "scale_txt", "quantity", "unit", "value"]
    about = {"profile": "mini", "run": "mini-s0", "corpus": "picto_diverse", "status": "ok", "device": "cpu"}
    return pd.DataFrame(rows, columns=columns).assign(**about)


# ---------------------------------------------------------------------------- a corpus that the paper has not


def with_openclipart(metrics: pd.DataFrame) -> pd.DataFrame:
    """`metrics` and rows of Openclipart: those of PictoScenes people, bent, without a perfect retriever."""
    rows = metrics[(metrics["corpus"] == "picto_people") & metrics["source"].isin(("ours", "chance"))]
    rows, columns = rows.assign(corpus="openclipart"), ["value", "ci_low", "ci_high", "chance"]
    fraction = np.array([Metric(m, k).entry.limits[1] == 1 for m, k in zip(rows["metric"], rows["k"], strict=True)])
    rows.loc[fraction, columns] = rows.loc[fraction, columns] ** 1.2  # bounds stay bounds, chance stays chance
    return sort_rows(pd.concat([metrics, rows]), "metrics")


@pytest.fixture(scope="session")
def openclipart():
    """The committed metrics.csv of mini, one system of each family as if all were trained there, and Openclipart."""
    metrics = store.load(PROJECT / "figures" / "mini", "metrics")
    kept = (metrics["profile"] == "paper") | metrics["system"].isin((*QUALITY, "chance", "perfect"))
    return with_openclipart(metrics[kept].assign(run=metrics["run"].str.partition("+")[0]))


@pytest.fixture(scope="session")
def openclipart_alone(openclipart):
    """The same of a run on Openclipart and nothing else."""
    return openclipart[(openclipart["profile"] == "paper") | (openclipart["corpus"] == "openclipart")]


# ------------------------------------------------------------------------------------------- redrawn results

#: Folders of figures/ with both tables: mini always, others as they are committed.
COMMITTED = sorted(path.parent for path in (PROJECT / "figures").glob("*/costs.csv"))
#: Runs the code cells of notebook 06 where no model can be loaded; a profile's parameters take the place of its own.
REDRAW = """
import json, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "faiss", "gensim", "transformers", "numba"):
            raise ImportError(f"{name} is not there in this test")

sys.meta_path.insert(0, Nothing())
notebook, profile, out_dir = sys.argv[1:]
cells = json.load(open(notebook, encoding="utf-8"))["cells"]
names = {"__name__": "__main__"}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    if cell["id"] == "params":
        names |= {"profile": profile, "out_dir": out_dir}
"""


def cpu_of_children() -> float:
    """Processor seconds of the processes that have been started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Redrawn:
    """What notebook 06 made of the tables of one folder.

    Attributes
    ----------
    committed : Path, the folder of figures/.
    root : Path, the results folder that was written.
    metrics, costs : DataFrame, the tables.
    seconds : float, of a processor, user and system; a busy machine does not count.
    """

    committed: Path
    root: Path
    metrics: pd.DataFrame
    costs: pd.DataFrame
    seconds: float


@pytest.fixture(scope="session", params=COMMITTED, ids=lambda path: path.name)
def redrawn(request, tmp_path_factory):
    """Tables, figures and claims drawn from the committed tables, in a process without torch."""
    profile, out = request.param.name, tmp_path_factory.mktemp("redrawn")
    notebook = PROJECT / "notebooks" / "06_figures.ipynb"
    before = cpu_of_children()
    command = [sys.executable, "-c", REDRAW, str(notebook), profile, str(out)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    seconds = cpu_of_children() - before
    assert done.returncode == 0, done.stderr[-2000:]
    tables = [store.load(request.param, table) for table in ("metrics", "costs")]
    return Redrawn(request.param, out / profile, *tables, seconds)
