"""How far the seed moves a number: runs of one profile that differ in nothing but their seed, put together.

The intervals of metrics.csv say how far another test split might move it; this says how far another start of the
weights, another order of the pairs and other backbones do. Test splits are the same: corpora do not depend on the seed.
Where a label generator wrote the categories, that too was trained with another seed: the spread holds what it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.files import write_text
from fico_utils.results import store
from fico_utils.results.schema import order_by

if TYPE_CHECKING:
    import pandas as pd

#: What is put together; metrics.csv has more of each run.
QUALITIES = (("recall", "1"), ("recall", "5"), ("recall", "10"), ("map", "10"), ("map", "N"))
COLUMNS = (
    "profile", "system", "corpus", "task", "direction", "metric", "k", "seeds", "mean", "sd", "low", "high",
)  # fmt: skip
NUMBERS = ("mean", "sd", "low", "high")
FILE = "seeds.csv"


def over_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Each quality of each system over two or more tables metrics.csv: a DataFrame with the columns `COLUMNS`.

    `seeds` are those that measured it, such as "0 1 2"; `mean`, `sd` (of the sample, over seeds), `low` and `high` (the
    least and the largest) are fractions. A number that one run alone has is left out.

    InputError where there are fewer than two runs, two profiles, a seed twice, a table of several runs, or test splits
    that differ (their chance levels do; categories that a run's own label generator wrote may).
    """
    import pandas as pd

    if len(tables) < 2:
        raise InputError(f"{len(tables)} run was given to compare seeds; expected two or more of one profile")
    parts, profiles = [], {}
    for table in tables:
        rows = table[(table["source"] == "ours") & (table["split"] == "test") & (table["status"] == "ok")]
        run = {name.split("+")[0] for name in rows["run"]}
        if len(run) != 1:
            raise InputError(f"a table holds the runs {sorted(run)}; expected metrics.csv of one run and its seed")
        profile, _, seed = run.pop().rpartition("-s")
        if seed in profiles or (profiles and profile not in profiles.values()):
            others = ", ".join(f"seed {s} of {p}" for s, p in profiles.items())
            raise InputError(
                f"seed {seed} of profile {profile} was given beside {others}; expected one profile and different seeds"
            )
        profiles[seed] = profile
        parts.append(rows.assign(seed=int(seed)))
    rows = pd.concat(parts).sort_values("seed", kind="stable")
    rows = rows[[quality in QUALITIES for quality in zip(rows["metric"], rows["k"], strict=True)]]
    generated = [c for c, info in registry.known_corpora().items() if info.generated]
    shared = rows[~((rows["task"] == "category") & rows["corpus"].isin(generated))]
    chance = shared.groupby(["corpus", "direction", "metric", "k"])["chance"].agg(["min", "max"])
    for place, low, high in chance[chance["max"] - chance["min"] > 1e-6].head(1).itertuples():
        raise InputError(
            f"{place[0]} has chance levels from {low:.6f} to {high:.6f} in these runs; expected the same test split"
        )
    names = list(COLUMNS[:7])
    groups = rows.groupby(names, sort=False)
    spread = groups["value"].agg(mean="mean", sd="std", low="min", high="max", n="count")
    spread["seeds"] = groups["seed"].agg(lambda column: " ".join(map(str, column)))
    return order_by(spread[spread["n"] > 1].reset_index(), names)[list(COLUMNS)]


def write_seeds(roots: Sequence[str | Path], out: str | Path) -> Path:
    """Path of the file just written: `over_seeds` of the runs in some results folders."""
    frame, path = over_seeds([store.load(root, "metrics") for root in roots]), Path(out)
    path = path / FILE if path.suffix != ".csv" else path
    write_text(path, csv_text(frame, "%.6g"))
    return path


def read_seeds(path: str | Path) -> pd.DataFrame:
    """What `write_seeds` wrote, from its file; InputError where it is missing or another table."""
    make = "run `python -m fico_utils seeds RUN RUN`"
    return store.read_csv(Path(path), "seeds", make, make, COLUMNS, NUMBERS)
