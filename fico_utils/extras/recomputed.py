"""The paper's tables from the authors' released embeddings and matrices: recomputed, and compared digit by digit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fico_utils import registry
from fico_utils.display.figures import draw_figure
from fico_utils.display.picture import save_picture
from fico_utils.display.tables import make_table
from fico_utils.errors import InputError
from fico_utils.escaping import csv_text
from fico_utils.evaluation import evaluate
from fico_utils.extras.corpora import released
from fico_utils.files import write_text
from fico_utils.results import store
from fico_utils.workspace import Run


def recompute_tables(run: Run, folder: str | Path, say: Callable[[str], None] = print) -> str:
    """Write Tables 2 to 4, Figure 3, ``metrics.csv`` and ``digits.csv`` from a folder of released files.

    Gives a sentence that counts equal digits. InputError where no file of the release is there, or one does not fit
    its system's rule (see `released`).
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
    metrics = store.merge(run, "metrics")
    for name in ("table2", "table3", "table4"):
        make_table(name, metrics).write(run)
    save_picture(draw_figure("fig3", metrics), run, "fig3")
    digits = released.equal_digits(metrics[metrics["source"] == "ours"], store.paper_reference("metrics"))
    write_text(run.path("tables", "digits.csv"), csv_text(digits))
    counts = digits[["digits", "digits_equal", "equal"]].sum()
    return (
        f"{counts['equal']} of {len(digits)} numbers of Tables 2 to 4 come out as the paper prints them, "
        f"{counts['digits_equal']} of {counts['digits']} digits"
    )
