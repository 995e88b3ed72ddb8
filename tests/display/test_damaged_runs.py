"""A results folder that a full disk, an editor or a stranger has damaged: `report` names what it cannot read."""

from __future__ import annotations

import errno
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from fico_utils import cli
from fico_utils.batch.pipeline import STEPS, find_step, prepare_batch, step_state
from fico_utils.display.figures import draw_figure
from fico_utils.display.picture import save_picture
from fico_utils.display.tables import make_table
from fico_utils.errors import InputError
from fico_utils.extras import audit
from fico_utils.extras.pages.notebook import show_notebook
from fico_utils.extras.pages.report import write_report
from fico_utils.files import write_record
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from fico_utils.workspace import Run
from tests.faults.content import change_in_place

from .test_report import VOID, manifest, sealed

COMMITTED = PROJECT / "figures" / "mini"
SYSTEMS = ("beit3", "ucch", "chance", "perfect")
TABLES = ("claims", "metrics", "costs", "audit")
#: What the page says where a table is there.
HEADINGS = {"claims": "What the paper claims", "costs": "<h2>Costs", "audit": "do not fit", "metrics": "This run ("}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small results folder of real tables, figures and a manifest."""
    root = tmp_path_factory.mktemp("whole") / "mini"
    run = Run("mini", 0, root, {})
    root.mkdir()
    for name in ("claims", "metrics", "costs", "stored"):
        shutil.copy(COMMITTED / f"{name}.csv", root)
    audit.write_audit(run)
    for table in ("metrics", "costs"):  # of a few systems, as the tables are read many times
        lines = (root / f"{table}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        few = [line for line in lines[1:] if {*SYSTEMS} & {*line.split(",")[:4]}]
        (root / f"{table}.csv").write_text("".join([lines[0], *few]), encoding="utf-8")
    metrics = store.load(root, "metrics")
    make_table("table2", metrics).write(run)
    save_picture(draw_figure("fig2"), run, "fig2")
    path = root / "runs" / "04_evaluation" / "manifest.json"
    write_record(path, manifest())
    return root


class Nesting(HTMLParser):
    """Every element is closed in its turn, and the page to its end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []
        assert page.rstrip().endswith("</html>")

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "iframe", "object")
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def report(root: Path, capsys) -> tuple[int, str, str]:
    """Exit code, what stderr says, and the page, whole if there is one."""
    code = cli.main(["report", "--out", str(root)])
    err, page = capsys.readouterr().err, root / "report" / "index.html"
    assert "Traceback" not in err
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    Nesting(text or "</html>")
    return code, err, text


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


#: What may happen to a file of text.
DAMAGE = {
    "half": half,
    "all but a letter": lambda data: data[:-2],
    "empty": lambda data: b"",
    "other letters": lambda data: data.decode().replace("e", "\xe9").encode("latin-1"),
    "other columns": lambda data: b"a,b\n1,2\n",
    "longer rows": lambda data: data[:-1] + b",x,y\n",
    "zeros": lambda data: bytes(len(data)),
    "other bytes": lambda data: bytes(range(256)) * 8,
    "a quote": lambda data: data.replace(b",", b',"', 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tables_are_named_and_the_rest_is_there(whole, tmp_path, capsys, damage):
    root = shutil.copytree(whole, tmp_path / "mini")
    for name in TABLES:
        path = root / f"{name}.csv"
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    code, err, page = report(root, capsys)
    assert code == 0
    assert sorted(Path(line.split()[0].rstrip(",")).stem for line in err.splitlines()) == sorted(TABLES)
    assert page.count("Not on this page") == len(TABLES)
    assert "Ours against the paper" in page
    assert not any(heading in page for heading in HEADINGS.values())
    assert len(json.loads((root / "report" / "summary.json").read_text())["problems"]) == len(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_other_tables_are_there(whole, tmp_path, capsys, name):
    root = shutil.copytree(whole, tmp_path / "mini")
    (root / f"{name}.csv").write_bytes(half((root / f"{name}.csv").read_bytes()))
    code, err, page = report(root, capsys)
    assert (code, len(err.splitlines())) == (0, 1)
    assert [other for other, heading in HEADINGS.items() if heading not in page] == [name]


def test_stored_csv_is_read_with_one_sentence(whole, tmp_path):
    for damage in DAMAGE.values():
        root = shutil.copytree(whole, tmp_path / "mini", dirs_exist_ok=True)
        (root / "stored.csv").write_bytes(damage((root / "stored.csv").read_bytes()))
        with pytest.raises(store.InputError, match=re.escape("stored.csv")):
            store.read_stored(Run("mini", 0, root, {}))


def nested(depth):
    """A list in a list in a list."""
    return json.loads("[" * depth + "]" * depth)


MANIFESTS = {
    "a list": [], "a number": 5, "text": "x", "nothing": None, "of a list": [sealed(manifest())],
    "not sealed": manifest(), "half a letter": {**manifest(start="\ud800"), "seal": "0123456789abcdef"},
}  # fmt: skip
#: Of a stranger who can make a seal: values of other types in each place, and what takes more than a type to refuse.
FORGED = {
    **{f"{n} {v!r}"[:40]: {n: v} for n in manifest() for v in ("x", 5, [1], {"a": 1}, None)},
    **{f"{n} in {m}": {n: {**part, m: [1]}} for n, part in manifest().items() if isinstance(part, dict) for m in part},
    "no number": {"seconds": float("nan")}, "without end": {"seconds": float("inf")}, "below 0": {"seconds": -1e99},
    "large": {"peak_memory_bytes": 10**400}, "phase": {"phases": [{"heading": 5, "seconds": "long"}]},
    "file": {"inputs": [{"path": 5, "sha256": None, "bytes": "x"}]}, "machine": {"environment": {"packages": {}}},
    "deep": {"environment": {**manifest()["environment"], "python": nested(500)}}, "failed": {"failure": {"cell": "x"}},
    "deep parameters": {"parameters": nested(500)},
    "deep settings": {"made_from": {"code of the package": {}, "a": nested(500)}},
    "markup": {"start": "<script>", "environment": {"python": "<b>", "memory_bytes": 1, "packages": {"<i>": "<i>"}}},
    "path": {"inputs": [{"path": "x" * 5000, "sha256": "", "bytes": 1, "changed_ns": 1}]},
}  # fmt: skip
MANIFESTS |= {name: sealed(manifest(**changes)) for name, changes in FORGED.items()} | {"empty": sealed({})}


def test_a_damaged_manifest_is_named_and_the_rest_is_there(tmp_path, capsys):
    texts = {name: json.dumps(content).encode() for name, content in MANIFESTS.items()}
    texts |= {name: damage(json.dumps(sealed(manifest())).encode()) for name, damage in DAMAGE.items()}
    texts["deep"] = b"[" * 100_000
    read, batch = [], prepare_batch(out=str(tmp_path))
    path = batch.runs(find_step(STEPS, "04"), "manifest.json")
    path.parent.mkdir(parents=True)
    for name, text in texts.items():
        path.write_bytes(text)
        state = step_state(batch, find_step(STEPS, "04"))
        assert state.name in ("stale", "failed"), name
        step = {"id": "04", "notebook": "04_evaluation", "state": state.name, "why": state.why}
        page = write_report(batch.root, "mini", [step]).read_text(encoding="utf-8")
        Nesting(page)
        err = capsys.readouterr().err
        assert ("04_evaluation" in err) == ("Not on this page" in page), name
        assert len(err.splitlines()) <= 1, name
        read += [] if err else [name]
    assert {*texts} - {*read} >= {
        *("a list", "a number", "nothing", "empty", "half", "zeros", "not sealed", "half a letter"),
        *("no number", "without end", "below 0", "large", "file", "phase", "machine", "deep", "failed"),
    }
    assert {"markup", "path", "deep parameters", "deep settings"} <= {*read}


@pytest.mark.parametrize("name", ["figures/fig2.svg", "tables/table2.html"])
def test_a_damaged_figure_or_table_is_named_and_the_rest_is_there(whole, tmp_path, capsys, name):
    root = tmp_path / "mini"
    for part in ("figures", "tables"):
        shutil.copytree(whole / part, root / part)
    good = (root / name).read_bytes()
    bad = {kind: DAMAGE[kind](good) for kind in ("half", "empty", "other columns", "zeros", "other bytes")}
    bad |= {
        "a script in it": good.replace(b"</p>", b"</p><script>alert(1)</script>"),
        "a handler": good.replace(b"<table", b'<table onclick="x()"'),
        "an instruction": good.replace(b"<table", b"<?x ><script>alert(1)</script>?><table"),
        "a style": good.replace(b"font-weight: bold", b"background: url(http://example.org)"),
        "another namespace": good.replace(b"<p ", b'<p xmlns="http://www.w3.org/1999/xhtml" '),
        "another": b'<p xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></p>',
        "a doctype": b'<!DOCTYPE a [<!ENTITY b "c">]><svg>&b;</svg>',
    }
    for kind, content in bad.items():
        (root / name).write_bytes(content)
        page = write_report(root, "mini", []).read_text(encoding="utf-8")
        Nesting(page)
        err = capsys.readouterr().err
        if content != good and kind != "an instruction":
            assert Path(name).name in err, kind
            assert "Not on this page" in page
        assert "url(http" not in page
    (root / name).write_bytes(good)
    write_report(root, "mini", [])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("what", ["manifest.json", "corpora.json", "metrics.csv", "costs.csv"])
def test_damaged_runs_are_compared_with_one_sentence(whole, tmp_path, capsys, what):
    first, second = (shutil.copytree(whole, tmp_path / name / "mini") for name in "ab")
    place = {"manifest.json": "runs/04_evaluation/manifest.json", "corpora.json": "data/corpora.json"}.get(what, what)
    (second / place).parent.mkdir(exist_ok=True)
    for content in (b"[1, 2]", b"", b'{"a": [1]}', b"\xff\xfe"):
        (second / place).write_bytes(content)
        assert cli.main(["report", str(first), str(second), "--across"]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert what in err
        assert not (first / "report").exists()


def test_a_page_of_a_notebook_that_was_changed_is_named_and_made_again(whole, tmp_path, capsys):
    root = tmp_path / "mini"
    shutil.copytree(whole, root)
    notebook = root / "runs/04_evaluation/04_evaluation.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("R@1 is 41.5")]), notebook)
    step = {"id": "04", "notebook": "04_evaluation", "state": "fresh", "why": ""}
    write_report(root, "mini", [step])
    page = notebook.with_suffix(".html")
    before = page.read_text(encoding="utf-8")
    change_in_place(page, before.replace("41.5", "91.5").encode())
    assert cli.main(["check", "--verify", "--out", str(root)]) == 1
    assert "output changed: runs/04_evaluation/04_evaluation.html" in capsys.readouterr().err
    write_report(root, "mini", [step])
    assert page.read_text(encoding="utf-8") == before
    stamp = page.stat().st_mtime_ns
    write_report(root, "mini", [step])
    assert page.stat().st_mtime_ns == stamp, "a page that is whole is not made again"


def test_a_page_of_a_notebook_that_cannot_be_written_is_one_sentence(whole, tmp_path, monkeypatch):
    root = tmp_path / "mini"
    shutil.copytree(whole, root)
    notebook = root / "runs/04_evaluation/04_evaluation.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("R@1")]), notebook)

    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fico_utils.files.os.fsync", fsync)
    with pytest.raises(InputError, match=r"^cannot write .*04_evaluation\.html \(No space left on device\); make room"):
        write_report(root, "mini", [{"id": "04", "notebook": "04_evaluation", "state": "fresh", "why": ""}])
    assert not notebook.with_suffix(".html").exists()


def test_half_a_character_in_an_executed_notebook_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "04_evaluation.ipynb"
    cells = [nbformat.v4.new_markdown_cell("a"), nbformat.v4.new_code_cell("1")]
    cells[1].outputs = [nbformat.v4.new_output("stream", text="half")]
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)).replace('"a"', '"a\\ud800"'))
    assert "a\ufffd" in show_notebook(path)
