"""Damaged and hostile texts beside a run's tables: pages, slides, marks, locks, notes, sums, and what `fetch` wrote."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import nbformat
import pytest

from fico_utils import artifacts
from fico_utils.extras import marking
from fico_utils.extras.claims.causes import COLUMNS as GRID_COLUMNS
from fico_utils.extras.claims.causes import read_grid
from fico_utils.extras.comparison import write_comparison
from fico_utils.extras.corpora.fetching import compare_checksums
from fico_utils.extras.corpora.openclipart import read_metadata
from fico_utils.extras.pages.notebook import show_notebook
from fico_utils.extras.pages.report import read_parts
from fico_utils.extras.seeds import read_seeds
from fico_utils.extras.verbs.slides import describe_source, draw_page
from fico_utils.files import recorded_files
from fico_utils.locks import hold_locks, lock_owner
from fico_utils.provenance import PROJECT
from fico_utils.results.store import read_stored
from fico_utils.verbs.clean import noted_outputs
from fico_utils.workspace import Run
from tests.faults.mutations import Files, Mutate, hunt_readers, mutate_json, mutate_text
from tests.faults.texts import QUOTES, _encoded

WORDS = (*QUOTES, "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "&nbsp;", "<script>", "]]>", "<?x ?>", "1e9pt", "0pt")
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="100pt" height="80pt" viewBox="0 0 100 80"><metadata><rdf:RDF
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work
 xmlns:cc="http://creativecommons.org/ns#"><dc:title>A red star</dc:title><dc:description>A star, red.</dc:description>
<dc:subject><rdf:Bag><rdf:li>star</rdf:li><rdf:li>red</rdf:li></rdf:Bag></dc:subject></cc:Work></rdf:RDF></metadata>
<rect width="9" height="9"/><text x="1" y="9">a</text></svg>"""
TABLE = "<div><style>#a { font-weight: bold; }</style><table><tr><th>a</th><td>1</td></tr></table><p>&nbsp;b</p></div>"
FIGURE = "source,run,corpus,value\nours,mini-s0,picto_people,0.5\npaper,table2,flickr30k,0.25\n"
GRID = ",".join(GRID_COLUMNS) + "\nscan,regions,own,picto_people,i2t,recall,1,0.5,0.4,0.6\n"


def prepare(folder: Path) -> Path:
    """Good files of every kind, below a folder, which it gives back."""
    root = folder / "mini"
    for name in ("figures", "tables", "data", "runs/04_evaluation", "../data", "../student", "../shipped"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("metrics", "costs"):
        lines = (PROJECT / f"figures/mini/{name}.csv").read_text(encoding="utf-8").splitlines()
        few = lines[:1] + [line for line in lines[1:] if "picto_people" in line][:20]
        (root / f"{name}.csv").write_text("\n".join(few) + "\n", encoding="utf-8")
    shutil.copytree(root, folder / "other")
    (folder / "data/captions.csv").write_text("image,caption\n")
    (folder / "shipped/w.safetensors").write_bytes(bytes(8))
    (folder / "good.ipynb").write_text(json.dumps(executed_notebook()))
    show_notebook(folder / "good.ipynb")  # imports what each first call would import
    return folder


def executed_notebook() -> dict[str, Any]:
    """A small notebook with outputs of each kind."""
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]},
        {"output_type": "display_data", "data": {"text/html": "<b>x</b>", "text/plain": "x"}, "metadata": {}},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE"]},
    ]
    cells = [{"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# Title\n$x$ [a](b)"}]
    cells += [{"cell_type": "code", "id": "c", "metadata": {"tags": ["x"]}, "source": ["1\n", "2"], "outputs": outputs}]
    cells[1]["execution_count"] = 1
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def mutate_pages(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """A table or a figure of a run, as the report and the site show it."""
    name, good = rng.choice((("figures/fig9.svg", SVG), ("tables/table9.html", TABLE)))
    root = folder / "bare"  # without results, which would be read each time
    shutil.rmtree(root, ignore_errors=True)
    (root / name).parent.mkdir(parents=True)
    return {root / name: _encoded(rng, mutate_text(rng, good, WORDS))}, lambda: read_parts(root, [])


def mutate_executed(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """An executed notebook, as a page; in half of the tries one that is whole, with other texts."""
    whole = executed_notebook()
    path = folder / "x.ipynb"
    if rng.random() < 0.5:
        return {path: _encoded(rng, mutate_json(rng, whole))}, lambda: show_notebook(path)
    cells, outputs = whole["cells"], whole["cells"][1]["outputs"]
    holder, key = rng.choice([
        *((cell, "source") for cell in cells), (outputs[0], "text"), (outputs[1]["data"], "text/html"),
        (outputs[1]["data"], "text/plain"), (outputs[2], "ename"), (outputs[2]["traceback"], 0),
    ])  # fmt: skip
    holder[key] = mutate_text(rng, "".join(holder[key]), (*WORDS, "$$", "```", "| a |\n| - |\n", "> " * 99, "\x1b[1;"))
    return {path: json.dumps(whole).encode()}, lambda: show_notebook(path)


def mutate_slides(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """The table beside a figure, as a page of the slides describes it; one in ten times the figure, drawn."""
    path = folder / "fig9.csv"
    if rng.random() < 0.9:
        return {path: _encoded(rng, mutate_text(rng, FIGURE, QUOTES))}, lambda: describe_source(path, "mini")
    drawn = folder / "fig9.svg"
    return {drawn: _encoded(rng, mutate_text(rng, SVG, WORDS))}, lambda: draw_page(drawn, "$a", "b", "c")


def mutate_marks(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """A notebook that a student hands back, up to where its cells are sent to a kernel."""
    ours = sorted((PROJECT / "notebooks/exercises").glob("*.ipynb"))[0]
    text = mutate_json(rng, json.loads(ours.read_text(encoding="utf-8")))
    place = folder / "student" / ours.name

    def run_cells(notebook: Any, *_: Any) -> list:
        for cell in notebook.cells:
            cell.source.strip().encode()
        return []

    def read() -> None:
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()):
            patch.setattr(marking, "_run_checks", run_cells)
            patch.setattr(nbformat, "validate", lambda *_, **__: None)
            marking._mark_notebook(place.parent, ours, 60, "results")

    return {place: _encoded(rng, text)}, read


def mutate_held(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """Who holds a lock; what a step noted; the sums of what ships."""
    runs = folder / "mini/runs"
    kind = rng.randrange(3)
    if kind == 0:
        pid = runs / ".x.pid"

        def take() -> None:
            lock_owner(runs, "x")
            with redirect_stderr(io.StringIO()), hold_locks(runs, ["x"]):
                pass

        return {pid: _encoded(rng, mutate_text(rng, "123 1764460800.5 host 2026-11-30 00:00:00", QUOTES))}, take
    if kind == 1:
        record = runs / "04_evaluation/files.jsonl"
        lines = [{"read": "/a/b", "digest": "x"}, {"wrote": "/a/c", "digest": None}, {"missed": "/d"}, {"began": "x"}]
        text = "\n".join(mutate_json(rng, line) if rng.random() < 0.5 else json.dumps(line) for line in lines)

        def read() -> None:
            recorded_files(record, folder / "mini")
            noted_outputs(folder / "mini")

        return {record: _encoded(rng, text)}, read
    sums, weights = folder / "shipped" / artifacts.SUMS, folder / "shipped/w.safetensors"
    text = mutate_text(rng, f"{'a' * 64}  w.safetensors\n{'b' * 64}  mini/x.safetensors\n", WORDS)

    def compare() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(artifacts, "SHIPPED", weights.parent)
            artifacts.damage_of(weights)

    return {sums: _encoded(rng, text)}, compare


def mutate_tables(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """A table that is committed beside figures, or the hashes of corpora of a run that is compared."""
    seeds = (PROJECT / "figures/standard/seeds.csv").read_text(encoding="utf-8")
    stored = (PROJECT / "figures/mini/stored.csv").read_text(encoding="utf-8")
    root, at = folder / "mini", rng.randrange(4)
    if at == 3:
        if rng.random() < 0.8:
            at = rng.randrange(3)
        else:
            keys = {root / "data/corpora.json": _encoded(rng, mutate_json(rng, {"picto_people": "ab12"}))}
            return keys, lambda: write_comparison([root, folder / "other"], across=True)
    path = root / ("seeds.csv", "stored.csv", "grid.csv")[at]
    text = mutate_text(rng, ("\n".join(seeds.splitlines()[:9]) + "\n", stored, GRID)[at], QUOTES)
    read = (lambda: read_seeds(path), lambda: read_stored(Run("mini", 0, root, {})), lambda: read_grid(path))[at]
    return {path: _encoded(rng, text)}, read


def mutate_fetched(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """The sums that `fetch` keeps, or the words of a drawing in a package."""
    if rng.random() < 0.5:
        path = folder / "drawing.svg"
        return {path: _encoded(rng, mutate_text(rng, SVG, WORDS))}, lambda: read_metadata(path)
    path = folder / "data/checksums.json"
    text = mutate_json(rng, rng.choice(({"captions.csv": "ab", "pictures": "cd"}, {"other.csv": "ab"}, [])))
    return {path: _encoded(rng, text)}, lambda: compare_checksums(path.parent, [path.parent / "captions.csv"])


READERS: dict[str, Mutate] = {
    "pages": mutate_pages, "executed": mutate_executed, "slides": mutate_slides, "marks": mutate_marks,
    "held": mutate_held, "committed": mutate_tables, "fetched": mutate_fetched,
}  # fmt: skip


def campaign(seconds: float, seed: int, readers: tuple[str, ...] = tuple(READERS), least: int = 0) -> str:
    """Mutations of each kind of file for its share of the time, or until at least so many are tried."""
    return hunt_readers({name: READERS[name] for name in readers}, prepare, seconds, seed, least)
