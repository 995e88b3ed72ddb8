"""The paper's tables from the authors' released embeddings and matrices: recomputed, and compared digit by digit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fico_utils import registry
from fico_utils.display.figures import draw_figure
from fico_utils.display.picture import save_picture
from fico_utils.display.tables import make_table
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.extras.corpora import released
from fico_utils.files import atomic_path
from fico_utils.results import store
from fico_utils.workspace import Run


def recompute(
    run: Run, folder: str | Path, say: Callable[[str], None] = print, n_images: dict[str, int] | None = None
) -> pd.DataFrame:
    """``metrics.csv`` of everything in a folder of released files, just written; curves are part of it.

    Parameters
    ----------
    run : Run of the profile ``precomputed``.
    folder : of the release, see `released`.
    n_images : dict, corpus -> images of its test split, where it is not the published one.

    Raises
    ------
    InputError
        No file of the release, or one that does not fit its system's rule.
    """
    found = released.list_released(folder)
    if not found:
        raise InputError(
            f"{folder} has no system of the release whole; expected files such as scan_f30k_sim.npy, or "
            "vsrn_f30k_img.npy and vsrn_f30k_txt.npy, beside the label files"
        )
    for path in run.path("metrics").glob("*.csv"):  # of an earlier release
        path.unlink()
    framed: set[str] = set()
    for number, (system, corpus) in enumerate(found, 1):
        say(f"{number} of {len(found)}: {registry.system(system).name} on {registry.corpus(corpus).name}")
        given = released.evaluate_arguments(folder, system, corpus, n_images=(n_images or {}).get(corpus))
        scores = evaluate(**given, curve=True)
        store.write_part(run, "metrics", f"{system}__{corpus}", store.score_rows(scores, system, corpus))
        if corpus not in framed:
            store.write_part(run, "metrics", f"chance__{corpus}", store.chance_rows(scores, corpus))
            framed.add(corpus)
    return store.merge(run, "metrics")


def write_recomputed(run: Run, metrics: pd.DataFrame) -> tuple[list[Path], str]:
    """Paths of Tables 2 to 4, Figure 3 and ``digits.csv``, just written, and a sentence that counts equal digits."""
    paths = [path for n in (2, 3, 4) for path in make_table(f"table{n}", metrics).write(run)]
    paths += save_picture(draw_figure("fig3", metrics), run, "fig3")
    digits = released.equal_digits(metrics[metrics["source"] == "ours"], store.paper_reference("metrics"))
    with atomic_path(run.path("tables", "digits.csv")) as temporary:
        digits.to_csv(temporary, index=False, lineterminator="\n")
    counts = digits[["digits", "digits_equal", "equal"]].sum()
    sentence = (
        f"{counts['equal']} of {len(digits)} numbers of Tables 2 to 4 come out as the paper prints them, "
        f"{counts['digits_equal']} of {counts['digits']} digits"
    )
    return [*paths, run.path("tables", "digits.csv")], sentence
