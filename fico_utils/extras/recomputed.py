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
from fico_utils.files import write_text
from fico_utils.results import store
from fico_utils.workspace import Run


def recompute(run: Run, folder: str | Path, say: Callable[[str], None] = print) -> pd.DataFrame:
    """``metrics.csv`` of everything in a folder of released files (see `released`), just written, curves included.

    InputError where no file of the release is there, or one does not fit its system's rule.
    """
    available = released.list_released(folder)
    if not available:
        raise InputError(
            f"{folder} has no system of the release whole; expected files such as scan_f30k_sim.npy, or "
            "vsrn_f30k_img.npy and vsrn_f30k_txt.npy, beside the label files"
        )
    for path in run.path("metrics").glob("*.csv"):  # of an earlier release
        path.unlink()
    for number, (system, corpus) in enumerate(available, 1):
        say(f"{number} of {len(available)}: {registry.system(system).name} on {registry.corpus(corpus).name}")
        scores = evaluate(**released.evaluate_arguments(folder, system, corpus), curve=True)
        store.write_part(run, "metrics", f"{system}__{corpus}", store.score_rows(scores, system, corpus))
        if not run.path("metrics", f"chance__{corpus}.csv").exists():
            store.write_part(run, "metrics", f"chance__{corpus}", store.chance_rows(scores, corpus))
    return store.merge(run, "metrics")


def write_recomputed(run: Run, metrics: pd.DataFrame) -> tuple[list[Path], str]:
    """Paths of Tables 2 to 4, Figure 3 and ``digits.csv``, just written, and a sentence that counts equal digits."""
    paths = [path for n in (2, 3, 4) for path in make_table(f"table{n}", metrics).write(run)]
    paths += save_picture(draw_figure("fig3", metrics), run, "fig3")
    digits = released.equal_digits(metrics[metrics["source"] == "ours"], store.paper_reference("metrics"))
    paths.append(run.path("tables", "digits.csv"))
    write_text(paths[-1], digits.to_csv(index=False, lineterminator="\n"))
    counts = digits[["digits", "digits_equal", "equal"]].sum()
    sentence = (
        f"{counts['equal']} of {len(digits)} numbers of Tables 2 to 4 come out as the paper prints them, "
        f"{counts['digits_equal']} of {counts['digits']} digits"
    )
    return paths, sentence
