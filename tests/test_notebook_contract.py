"""What every notebook keeps to, read from its JSON alone."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from fico_utils.profiles import profile_settings
from fico_utils.provenance import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
FIRST = ["profile", "seed", "out_dir"]
#: Tag -> how many cells of a notebook may carry it.
TAGS = {"parameters": 1, "setup": 1, "save": 1, "record": 1, "figure": 99, "table": 99}
#: Pattern -> where its home is.
ELSEWHERE = {
    r"\bos\.path\b": "workspace",
    r"(?<![\w.])open\(": "workspace",
    r"\bplt\.rc|\brcParams\b|\bset_theme\(": "display/fico.mplstyle",
    r"[\"']#[0-9a-fA-F]{6}\b": "registry",
    r"https?://|www\.": "prose or CITATION.cff",
    r"^\s*[!%]": "the package; a notebook is plain Python",
}


#: The lessons; those after them are tools.
LESSONS = pytest.mark.parametrize("notebook", NOTEBOOKS[:9], ids=lambda path: path.stem, indirect=True)
ASK = re.compile(r"\*\*Before you run (?:the next|this)[^*]*:\*\* .*\?", re.DOTALL)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> dict:
    """The JSON of one notebook with sources joined."""
    content = json.loads(request.param.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
    return {**content, "path": request.param}


def tags(cell: dict) -> list[str]:
    """Tags of a cell."""
    return cell["metadata"].get("tags", [])


def position(notebook: dict, tag: str) -> int:
    """Index of the one cell with a tag."""
    found = [i for i, cell in enumerate(notebook["cells"]) if tag in tags(cell)]
    assert len(found) == 1, f"one cell is tagged {tag}"
    return found[0]


def test_order_of_cells(notebook: dict) -> None:
    cells = notebook["cells"]
    number = int(notebook["path"].stem[:2])
    assert re.match(rf"# {number} · \S", cells[0]["source"])
    assert "minute" in cells[0]["source"] or "seconds" in cells[0]["source"]
    assert [cell["cell_type"] for cell in cells[:4]] == ["markdown", "markdown", "code", "code"]
    assert "You will learn" in cells[1]["source"]
    assert "You need" in cells[1]["source"]
    goals = re.findall(r"^[-*] ", cells[1]["source"], re.MULTILINE)
    assert 3 <= len(goals) <= 5
    assert position(notebook, "parameters") == 2
    assert position(notebook, "setup") == 3
    assert position(notebook, "record") == len(cells) - 1
    found = [i for i, cell in enumerate(cells) if cell["source"].startswith("## What you found")]
    assert len(found) == 1
    sections = [i for i, cell in enumerate(cells) if re.match(r"## \d+\.\d+ ", cell["source"])]
    assert sections
    assert max(sections) < found[0] < len(cells) - 1


def test_sections_are_numbered_in_order(notebook: dict) -> None:
    number = int(notebook["path"].stem[:2])
    found = [re.match(r"## (\d+)\.(\d+) ", cell["source"]) for cell in notebook["cells"]]
    sections = [(int(m.group(1)), int(m.group(2))) for m in found if m]
    assert sections == [(number, i) for i in range(1, len(sections) + 1)]


def test_parameters_are_literals_with_help_and_equal_the_profile(notebook: dict) -> None:
    source = notebook["cells"][2]["source"]
    tree = ast.parse(source)
    settings = profile_settings("mini")
    names = []
    for node in tree.body:
        assert isinstance(node, ast.AnnAssign), f"line {node.lineno} is annotated: name: type = value  # help"
        assert node.lineno == node.end_lineno, "one parameter a line"
        assert "|" not in ast.unparse(node.annotation), "papermill does not understand unions"
        assert re.search(r"  # \S.*$", source.splitlines()[node.lineno - 1]), f"{node.target.id} has help"
        value = ast.literal_eval(node.value)
        assert type(value).__name__ == ast.unparse(node.annotation).partition("[")[0]
        shared = settings.get(node.target.id, value)  # what is not in the profile is this notebook's alone
        assert value == shared, f"{node.target.id} differs from configs/mini.yaml"
        names.append(node.target.id)
    assert names[:3] == FIRST
    assert len(names) <= 9
    assert len(source.splitlines()) == len(names)


def test_setup_gets_every_parameter_of_the_profile(notebook: dict) -> None:
    setup = ast.parse(notebook["cells"][3]["source"])
    declared = {node.target.id for node in ast.parse(notebook["cells"][2]["source"]).body}
    declared &= profile_settings("mini").keys()
    assigned = [node for node in setup.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "run"]
    assert len(assigned) == 1
    call = assigned[0].value
    assert ast.unparse(call.func) in ("fico_utils.setup", "setup")
    passed = {n.id for n in ast.walk(call) if isinstance(n, ast.Name)} - {"fico_utils", "setup"}
    assert passed == declared


def test_no_outputs_and_readable_ids(notebook: dict) -> None:
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell["id"]), cell["id"]
        assert not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]*)?", cell["id"]), "an id says what the cell is"
        assert cell["metadata"].keys() <= {"tags"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert notebook["metadata"].keys() <= {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in notebook["metadata"].get("language_info", {})


def test_tags_are_known(notebook: dict) -> None:
    found = [tag for cell in notebook["cells"] for tag in tags(cell)]
    assert set(found) <= TAGS.keys()
    assert [tag for tag in set(found) if found.count(tag) > TAGS[tag]] == []


def test_code_cells_are_short_and_keep_to_the_story(notebook: dict) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        source, name = cell["source"], cell["id"]
        assert source.strip(), f"{name} is empty"
        assert len(source.splitlines()) <= 25, f"{name} is too long"
        for pattern, home in ELSEWHERE.items():
            assert not re.search(pattern, source, re.MULTILINE), f"{name}: {pattern} has its home in {home}"
        tree = ast.parse(source)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert sum(isinstance(node, kinds) for node in ast.walk(tree)) <= 1, f"{name} defines more than one thing"
        for node in ast.walk(tree):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(m.startswith("fico_utils.batch") for m in modules), f"{name} imports batch"


def test_notebooks_are_those_of_the_pipeline() -> None:
    from fico_utils.batch.pipeline import STEPS

    stems = {path.stem for path in NOTEBOOKS}
    assert stems <= {step.notebook for step in STEPS}, "a notebook that no step runs"


def test_canonical_json() -> None:
    """One way to write a notebook, so that diffs show what changed."""
    for path in NOTEBOOKS:
        text = Path(path).read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n", path.name


@LESSONS
def test_a_student_predicts_three_to_five_times_before_the_cells_that_answer(notebook: dict) -> None:
    cells = notebook["cells"]
    asks = [i for i, c in enumerate(cells) if c["cell_type"] == "markdown" and "Before you run" in c["source"]]
    assert 3 <= len(asks) <= 5
    for i in asks:
        assert ASK.search(cells[i]["source"]), cells[i]["id"]
        assert cells[i + 1]["cell_type"] == "code", cells[i]["id"]


@LESSONS
def test_cells_are_short_and_our_own_words_are_no_quotations(notebook: dict) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            assert not re.search(r"^>", cell["source"], re.MULTILINE), cell["id"]
        elif not (notebook["path"].stem.startswith("01") and "setup" in tags(cell)):
            assert len(cell["source"].splitlines()) <= 15, cell["id"]
