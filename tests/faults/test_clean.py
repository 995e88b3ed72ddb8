"""`clean` removes what this package wrote; everything else stays as it is, and is named."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fico_utils import cli, files
from fico_utils.artifacts import Recipe, Store
from fico_utils.locks import hold_locks

RECIPE = Recipe("visual_features", {"size": 1})
#: Files that somebody else may have in a results folder, and what is in them.
FOREIGN = {
    "notes.txt": "mine",
    "metrics copy.csv": "a copy",
    "features/mine.npy": "in the folder of an artefact",
    "features/visual__s0__0123456789abcdef.safetensors": "looks like an artefact and is none",
    "features/visual__s0__0123456789abcdef.json": '{"header": {"key": "another"}, "content": []}',
    "features/list__s0__0123456789abcdef.json": "[1, 2]",
    "models/scan__s0__0123456789abcdef/notes.md": "in the folder of units",
    "figures/fig1 (1).svg": "a copy",
    "figures/fig9.svg": "a figure that no run drew",
    "figures/.hidden.svg": "hidden",
    "figures/.fig1-ab1_defg.svg": "a hidden file that looks temporary",
    "figures/fig1.svg~": "an editor's",
    "tables/Thumbs.db": "a system's",
    "metrics/.~lock.ucch.csv#": "LibreOffice's",
    "report/index_files/style.css": "saved by a browser",
    "runs/log.txt": "beside the steps",
    "runs/06_figures/06_figures-mine.ipynb": "a notebook",
    "runs/06_figures/.ipynb_checkpoints/06_figures-checkpoint.ipynb": "Jupyter's",
    "runs/08_more/manifest.json": "{}",
    ".locks/mine.lock": "a lock of somebody else",
    ".git/config": "a repository",
    "own/data/photographs/a.png": "a corpus",
    "shipped/w.safetensors": "weights",
}
LINKS = ("link to a file.csv", "figures/link to a folder", "broken link", "figures/fig2.svg")


def write_results(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of a small results folder, just written: of steps, finished or not, artefacts, units, the report."""
    for step, names in (("04_evaluation", ["metrics/a.csv", "metrics.csv"]), ("06_figures", ["figures/fig1.svg"])):
        record = root / "runs" / step / files.RECORDED
        record.parent.mkdir(parents=True)
        monkeypatch.setenv(files.RECORD, str(record))
        for name in names:
            files.write_text(root / name, name)
    files.write_text(root / "figures/fig2.svg", "")
    monkeypatch.delenv(files.RECORD)
    outputs = [{"path": "tables/table2.md"}, {"path": "../outside/precious.csv"}]
    files.write_json(root / "runs/05_complexity_analysis/manifest.json", {"outputs": outputs})
    known = (
        "tables/table2.md",
        "report/index.html",
        "report/explorer.json",
        "runs/06_figures/log.txt",
        "runs/package_code.json",
    )
    for name in known:
        files.write_text(root / name, name)
    store = Store(root)
    store.arrays("features", "visual", RECIPE, lambda: {"a": np.arange(3)})
    store.records("costs", "time", RECIPE, lambda: [{"a": 1}])
    store.units("models", "scan", RECIPE).write(3, {"a": np.arange(3)})
    for name in ("site/index.html", ".site-k1ll_ed0/sources/conf.py", "runs/.site.lock", "runs/.site.pid"):
        files.write_text(root / name, name)  # of the site, and of a build of it that was killed
    half = root / f"features/.visual.fico-unfinished-99999999-{'0' * 32}.safetensors"
    half.write_bytes(b"half")
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "mini"
    write_results(root, monkeypatch)
    with hold_locks(root / "runs", ["04_evaluation"]):
        pass  # its file stays
    return root


def test_everything_of_ours_goes(root: Path, capsys: pytest.CaptureFixture) -> None:
    (root / "runs/02_fine_grained_training").mkdir()  # a step that began, and could write nothing
    (root / "embeddings").mkdir()
    assert cli.main(["clean", "--out", str(root)]) == 0
    assert capsys.readouterr().out == f"Removed {root}.\n"
    assert not root.exists()


def test_everything_else_stays_and_is_named(root: Path, capsys: pytest.CaptureFixture) -> None:
    written = [path for path in root.rglob("*") if path.is_file()]
    outside = root.parent / "outside"
    outside.mkdir()
    for name in ("precious.csv", "metrics.csv"):
        (outside / name).write_text("precious")
    for name, text in FOREIGN.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / LINKS[3]).unlink()
    for name, target in zip(LINKS, ("metrics.csv", "", "nowhere", "precious.csv"), strict=True):
        (root / name).symlink_to(outside / target)
    shutil.move(root / "metrics", outside / "metrics")  # such as to a larger disk
    (root / "metrics").symlink_to(outside / "metrics")
    (root / "plans" / "empty").mkdir(parents=True)
    os.mkfifo(root / "pipe")
    assert cli.main(["clean", "--out", str(root)]) == 0
    told = capsys.readouterr().out
    for name, text in FOREIGN.items():
        if not name.startswith("metrics/"):
            assert (root / name).read_text() == text
            assert name in told
    for name in (*LINKS, "metrics", "pipe", "plans/empty"):
        assert os.path.lexists(root / name)
        assert name in told
    assert {path.name: path.read_text() for path in outside.glob("*.csv")}.keys() == {"precious.csv", "metrics.csv"}
    assert (outside / "metrics/a.csv").read_text() == "metrics/a.csv"
    ours = [path for path in written if path.name != "fig2.svg" and not path.is_relative_to(root / "metrics")]
    assert [path for path in ours if os.path.lexists(path)] == []


def test_a_site_that_is_being_built_is_not_removed(root: Path, capsys: pytest.CaptureFixture) -> None:
    began, built = threading.Event(), []

    def build() -> None:
        with hold_locks(root / "runs", ["site"]):
            began.set()
            time.sleep(0.5)
            built.append((root / ".site-k1ll_ed0/sources/conf.py").read_text())

    builder = threading.Thread(target=build)
    builder.start()
    began.wait()
    assert cli.main(["clean", "--out", str(root)]) == 0
    builder.join()
    assert built == [".site-k1ll_ed0/sources/conf.py"]
    assert not root.exists()


def test_units_leave_what_lies_beside_them(tmp_path: Path) -> None:
    units = Store(tmp_path).units("models", "scan", RECIPE)
    for number in (1, 2):
        units.write(number, {"a": np.arange(3)})
    (units.folder / "notes.md").write_text("mine")
    units.remove()
    assert [path.name for path in units.folder.iterdir()] == ["notes.md"]
    (units.folder / "notes.md").unlink()
    units.write(3, {"a": np.arange(3)})
    units.remove()
    assert not units.folder.exists()
