"""All notebooks on the mini profile, through the command that users run, into an empty folder."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fico_utils.batch.pipeline import STEPS
from fico_utils.provenance import PROJECT
from fico_utils.verbs.clean import sort_results
from tests.faults.content import recording_environment, undeclared_reads

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.skipif(
        not all((PROJECT / "notebooks" / f"{step.notebook}.ipynb").is_file() for step in STEPS),
        reason="not every step has its notebook",
    ),
]
#: Less than the profile, where weights that ship still serve: the notebooks are tested here, not the systems.
SMALL = (
    "threads=1",  # another process tests beside this one
    "live_backbones=[]",
    "epochs={query2label: 1, beit3: 1, ucch: 2, dadh: 1}",
    "n_train={picto_diverse: 400, picto_people: 300}",
    "n_val={picto_diverse: 50, picto_people: 50}",
    "n_test={picto_diverse: 150, picto_people: 150}",
    "rerank_depth=4",
    "n_queries=500",
    "n_candidates=5000",
    "encode_scales=[30, 75, 150]",
    "attention_scales=[25, 50, 100]",
    "gallery_sizes=[50, 100, 200]",
    "screen_depths=[10, 30]",
    "gallery_queries={embeddings: 50, attention: 5}",
)
MEMORY = 4 * 2**30  # bytes, a step


def run(root: Path, *more: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """The finished command on a small `mini`."""
    more = (*(f"--set={change}" for change in SMALL), *more)
    command = [sys.executable, "-m", "fico_utils", "run", "--profile", "mini", "--out", str(root), *more]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kernels of that run record what they open."""
    return tmp_path_factory.mktemp("recording")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Path:
    """The results folder of one run."""
    root = tmp_path_factory.mktemp("results") / "mini"
    env = recording_environment(recording)
    done = run(root, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == str(root / "report/index.html")
    assert [step.id for step in STEPS if step.aside] == ["07", "08", "09"]
    # 07 trains each system on the example
    done = run(root, "--only", "07,08,09", "--set=systems=[beit3, ucch, dadh]", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def manifests(results: Path) -> dict[str, dict]:
    """Step id -> manifest."""
    paths = {step.id: results / "runs" / step.notebook / "manifest.json" for step in STEPS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}


def test_each_notebook_ends_well_in_little_memory(manifests: dict[str, dict]) -> None:
    assert {name: m["status"] for name, m in manifests.items()} == dict.fromkeys(manifests, "ok")
    assert {name: m["peak_memory_bytes"] for name, m in manifests.items() if m["peak_memory_bytes"] > MEMORY} == {}


def test_every_file_that_a_step_read_belongs_to_it(results: Path, manifests: dict[str, dict], recording: Path) -> None:
    assert undeclared_reads(recording / "opened", manifests.values(), results) == {}


def test_each_step_leaves_its_artefacts(results: Path, manifests: dict[str, dict]) -> None:
    for step in STEPS[1:]:
        assert manifests[step.id]["outputs"], f"{step.notebook} wrote nothing that belongs to it"
    for name in ("metrics.csv", "costs.csv", "report/index.html", "report/summary.json"):
        assert (results / name).stat().st_size > 0
    for n in (1, 2, 3, 4):
        assert all((results / f"figures/fig{n}.{suffix}").is_file() for suffix in ("svg", "pdf"))
    for n in (1, 2, 3, 4, 5, 6, 7):
        assert all((results / f"tables/table{n}.{suffix}").is_file() for suffix in ("csv", "md", "html", "tex"))
    assert [p.name for p in results.rglob(".*") if p.is_file() and not p.name.endswith(".lock")] == []


def test_clean_knows_everything_that_a_run_leaves(results: Path) -> None:
    assert sort_results(results)[2] == []


def test_tables_follow_the_schema(results: Path) -> None:
    from fico_utils.results import store

    for table in ("metrics", "costs"):
        frame = store.load(results, table)
        assert set(frame["source"]) >= {"ours"}
    with open(results / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {"ours", "chance", "perfect"} <= {row["source"] for row in rows}
    ours = [row for row in rows if row["source"] == "ours" and row["status"] == "ok"]
    assert {"beit3", "scan", "ucch"} <= {row["system"] for row in ours}
    assert all(0 <= float(row["value"]) <= 1 for row in ours if row["metric"] in ("recall", "map", "precision"))


def test_notebooks_print_no_warnings(results: Path) -> None:
    noisy = []
    for step in STEPS:
        executed = json.loads((results / "runs" / step.notebook / f"{step.notebook}.ipynb").read_text(encoding="utf-8"))
        for cell in executed["cells"]:
            for output in cell.get("outputs", []):
                text = "".join(output.get("text", ""))
                if output.get("name") == "stderr" and "Warning" in text:
                    noisy.append((step.notebook, cell["id"], text[:200]))
    assert noisy == []


def shown(results: Path, stem: str, cell_id: str) -> str:
    """What a cell of an executed notebook prints, and the HTML that it shows."""
    cells = json.loads((results / "runs" / stem / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = next(cell for cell in cells if cell["id"] == cell_id)["outputs"]
    return "".join("".join(o.get("text", o.get("data", {}).get("text/html", ""))) for o in outputs)


def test_outputs_show_what_the_lessons_say_beside_them(results: Path) -> None:
    rule = shown(results, "00_start_here", "s3-rule")
    said = shown(results, "00_start_here", "s3-said")
    assert "no caption fits" in rule or re.search(r"BEiT-3: the right picture at rank 1;.*\n.*DADH: .*; [45] of", said)
    order = shown(results, "01_feature_extraction", "s6-order")
    backwards, other = map(float, re.findall(r"<td[^>]*>(-?[\d.]+)</td>", order))
    assert backwards > other, "word order is not lost on Doc2Vec"
    sheet = shown(results, "02_fine_grained_training", "s7-sheet")
    assert re.search(r"number [2-5] by the towers and number 1 after the closer look|no caption fits", sheet)
    attention = shown(results, "02_fine_grained_training", "s5-attention")
    narrow, wide = map(float, re.findall(r"(?:looks at|at) ([\d.]+)(?: cells|\s)", attention)[:2])
    assert 1 <= narrow < wide <= 36
    assert "odd ones among them: 0" in shown(results, "03_hashing_training", "s6-balance")


def test_second_run_finds_everything_fresh(results: Path, manifests: dict[str, dict]) -> None:
    done = run(results)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines()[:-1] if not line.endswith("fresh, skipped")] == []
    for step in STEPS:
        record = json.loads((results / "runs" / step.notebook / "manifest.json").read_text(encoding="utf-8"))
        assert record == manifests[step.id]
