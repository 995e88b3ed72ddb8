"""The exercises: derived from their solutions, clear in form; checks pass what is right and name what is wrong."""

from __future__ import annotations

import ast
import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fico_utils.errors import InputError
from fico_utils.extras.exercises import (
    NOT_ATTEMPTED,
    NOT_YET,
    PASSED,
    Exercises,
    derive_exercise,
    same_numbers,
    write_exercises,
)
from fico_utils.provenance import PROJECT
from tests.test_notebook_contract import ELSEWHERE

FOLDER = PROJECT / "notebooks"
LESSONS = sorted(path.name for path in FOLDER.glob("0[1-8]*.ipynb"))
#: Lines of a cell at most; the code of a check is folded.
LINES = {"check": 22}
TAGS = {"parameters", "setup", "answer", "check", "wrong", "solution", "record"}
#: What a student may give back by mistake, of every kind that is no answer.
NONSENSE = ("some text", [], np.nan, np.full((2, 3), np.nan), {"a": 1}, object(), [[1], [2, 3]], -7, True)

every_lesson = pytest.mark.parametrize("name", LESSONS)


def read_cells(kind: str, name: str) -> list[dict[str, Any]]:
    """The cells of a notebook of ``solutions`` or ``exercises``, their sources joined, their tags at hand."""
    cells = json.loads((FOLDER / kind / name).read_text(encoding="utf-8"))["cells"]
    return [c | {"source": "".join(c["source"]), "tags": c["metadata"].get("tags", [])} for c in cells]


def run_cell(cell: dict[str, Any], names: dict[str, Any]) -> str:
    """What a code cell prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(cell["source"], cell["id"], "exec"), names)  # noqa: S102
    return printed.getvalue()


def run_notebook(cells: list[dict[str, Any]], out_dir: Path) -> tuple[dict[str, Any], str]:
    """The names of a notebook after all of its code cells have run in this process, and what they printed."""
    names, printed = {"__name__": "exercises"}, ""
    for cell in cells:
        if cell["cell_type"] == "code":
            printed += run_cell(cell, names)
        if "parameters" in cell["tags"]:
            names["out_dir"] = str(out_dir)
    return names, printed


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One results folder, so that the vectors are made once."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def solved(out_dir: Path) -> dict[str, dict[str, Any]]:
    """Name of a notebook -> the names that its solution leaves."""
    return {name: run_notebook(read_cells("solutions", name), out_dir)[0] for name in LESSONS}


def test_there_are_thirty_or_more() -> None:
    assert sorted(path.name for path in (FOLDER / "solutions").glob("*.ipynb")) == LESSONS
    counts = [sum("answer" in cell["tags"] for cell in read_cells("solutions", name)) for name in LESSONS]
    assert all(3 <= count <= 5 for count in counts)
    assert sum(counts) >= 30


def test_exercises_are_those_that_the_solutions_give(tmp_path: Path) -> None:
    (tmp_path / "solutions").mkdir()
    for path in (FOLDER / "solutions").glob("*.ipynb"):
        (tmp_path / "solutions" / path.name).write_bytes(path.read_bytes())
    made = {path.name: path.read_bytes() for path in write_exercises(tmp_path)}
    assert made == {path.name: path.read_bytes() for path in (FOLDER / "exercises").glob("*.ipynb")}


def test_what_is_marked_is_removed_and_nothing_else() -> None:
    def cell(text: str, *tags: str) -> dict[str, Any]:
        return {"source": text.splitlines(keepends=True), "metadata": {"tags": list(tags)}}

    inside = 'def double(x):\n    """Twice `x`."""\n    # solution\n    return 2 * x\n'
    cells = [cell(inside, "answer"), cell("n = 3  # solution\nm = 4", "answer"), cell("# solution\n1")]
    cells += [cell("# hint: no\nn = 4", "wrong"), cell("Say so in class.", "solution")]
    kept = derive_exercise({"cells": cells, "nbformat": 4})
    assert kept["nbformat"] == 4
    assert ["".join(c["source"]) for c in kept["cells"]] == [
        'def double(x):\n    """Twice `x`."""\n    # your lines here',
        "n = ...  # your lines here\nm = 4",
        "# solution\n1",
    ]


def test_a_folder_without_solutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no notebooks"):
        write_exercises(tmp_path)


@every_lesson
@pytest.mark.parametrize("kind", ["solutions", "exercises"])
def test_form(kind: str, name: str) -> None:
    text = (FOLDER / kind / name).read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    cells = read_cells(kind, name)
    lesson = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    assert cells[0]["source"].startswith(f"# Exercises {int(name[:2])} · ")
    assert f"after the lesson `{name.removesuffix('.ipynb')}`" in cells[0]["source"]
    assert f"exercises/{name}" in "".join("".join(cell["source"]) for cell in lesson)
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    for cell in cells:
        assert set(cell["tags"]) <= TAGS
        assert cell["metadata"].keys() <= {"tags", "jupyter"}
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell["id"])
        folded = cell["metadata"].get("jupyter") == {"source_hidden": True}
        assert folded == ("check" in cell["tags"]), "the code of checks alone is folded"
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            assert len(cell["source"].splitlines()) <= LINES.get(cell["tags"][0] if cell["tags"] else "", 15), cell[
                "id"
            ]
            assert [p for p in ELSEWHERE if re.search(p, cell["source"], re.M)] == []
            ast.parse(cell["source"])
    parameters = next("".join(c["source"]) for c in lesson if c["id"] == "params").splitlines()
    assert next(c["source"] for c in cells if c["id"] == "params").splitlines() == parameters[:3]
    assert "record" in cells[-1]["tags"]
    if kind == "exercises":
        assert not {"wrong", "solution"} & {tag for cell in cells for tag in cell["tags"]}
        assert "# solution" not in text


@every_lesson
def test_each_exercise_has_a_task_a_cell_to_fill_a_check_and_wrong_answers(name: str) -> None:
    cells = {cell["id"]: cell for cell in read_cells("solutions", name)}
    number, minutes = int(name[:2]), 0
    tasks = [key for key in cells if key.endswith("-task")]
    for i, key in enumerate(tasks, start=1):
        stem = key.removesuffix("-task")
        assert stem == f"ex-{number}-{i}"
        task = cells[key]["source"]
        found = re.match(rf"## {number}\.{i} ★{{1,3}} \S.* · (\d+) minutes\n", task)
        assert found, "a heading has number, stars, title and minutes"
        minutes += int(found[1])
        assert "**Return:**" in task
        assert "**Why it matters:**" in task
        answer, check = cells[f"{stem}-answer"], cells[f"{stem}-check"]
        assert re.search(r"# solution$", answer["source"], re.M)
        function = ast.parse(answer["source"]).body[0]
        assert not isinstance(function, ast.FunctionDef) or ast.get_docstring(function)
        assert check["source"].startswith(f'@exercises.check("{number}.{i}", ')
        assert sum(re.fullmatch(rf"{stem}-wrong-\d", key) is not None for key in cells) >= 3
    stated = int(re.search(r"about (\d+) minutes", cells["title"]["source"])[1])
    assert stated == minutes, "the title says how long all of them take"


@every_lesson
def test_solutions_pass(name: str, solved: dict[str, dict[str, Any]]) -> None:
    outcomes = solved[name]["exercises"].outcomes
    assert len(outcomes) == sum("answer" in cell["tags"] for cell in read_cells("solutions", name))
    assert set(outcomes.values()) == {PASSED}, outcomes


def other_outcome(name: str, solved: dict[str, Any], source: str, stem: str) -> str:
    """The outcome of a check where the answer of one solution is replaced."""
    names = dict(solved)
    cells = {cell["id"]: cell for cell in read_cells("solutions", name)}
    run_cell({"source": source, "id": stem}, names)
    run_cell(cells[f"{stem}-check"], names)
    return names["exercises"].outcomes.pop(".".join(stem.split("-")[1:]))


@every_lesson
def test_wrong_answers_fail_with_their_hint(name: str, solved: dict[str, dict[str, Any]]) -> None:
    board = solved[name]["exercises"]
    for cell in read_cells("solutions", name):
        if cell["tags"] != ["wrong"]:
            continue
        hint = re.match(r"# hint: (.+)\n", cell["source"])[1]
        before = dict(board.outcomes)
        outcome = other_outcome(name, solved[name], cell["source"], re.sub(r"-wrong-\d$", "", cell["id"]))
        board.outcomes.update(before)
        assert outcome.startswith(NOT_YET), f"{cell['id']}: {outcome}"
        assert hint in outcome, f"{cell['id']}: {outcome}"


@every_lesson
@pytest.mark.filterwarnings("ignore")
def test_nonsense_never_passes_and_never_stops_the_notebook(name: str, solved: dict[str, dict[str, Any]]) -> None:
    for cell in read_cells("solutions", name):
        if cell["tags"] != ["check"]:
            continue
        number, answer = re.match(r'@exercises\.check\("([\d.]+)", (\w+)\)', cell["source"]).groups()
        for value in NONSENSE:
            wrong = value if not callable(solved[name][answer]) else lambda *_, value=value, **__: value
            names = {**solved[name], answer: wrong, "exercises": Exercises()}
            run_cell(cell, names)
            assert names["exercises"].outcomes[number].startswith(NOT_YET), (number, value)


@every_lesson
def test_an_untouched_exercise_says_so_and_runs_to_its_end(name: str, out_dir: Path) -> None:
    names, printed = run_notebook(read_cells("exercises", name), out_dir)
    outcomes = names["exercises"].outcomes
    assert all(outcome.startswith(NOT_ATTEMPTED) for outcome in outcomes.values())
    assert f"0 of {len(outcomes)} exercises passed; left: {', '.join(outcomes)}" in printed


def test_an_untouched_exercise_runs_in_a_kernel(tmp_path: Path) -> None:
    import papermill

    source, target = FOLDER / "exercises" / "06_figures.ipynb", tmp_path / "done.ipynb"
    parameters = {"out_dir": str(tmp_path / "results")}
    papermill.execute_notebook(source, target, parameters, cwd=str(source.parent), progress_bar=False)
    last = json.loads(target.read_text(encoding="utf-8"))["cells"][-1]
    assert "0 of 5 exercises passed" in "".join(last["outputs"][0]["text"])


def test_a_board_judges_counts_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def steps(answer, rng):
        yield answer(2) == 4, "twice two is four"

    board = Exercises()
    for name, answer in {"right": lambda x: 2 * x, "wrong": lambda x: x, "none": lambda x: None, "open": ...}.items():
        board.check(name, answer)(steps)
    board.check("broken", lambda x: 1 / 0)(steps)
    board.summary()
    assert capsys.readouterr().out.splitlines() == [
        "right passed",
        "wrong not yet: twice two is four",
        "none not attempted (the function returns nothing yet)",
        "open not attempted",
        "broken not yet: your code stopped with ZeroDivisionError: division by zero",
        "1 of 5 exercises passed; left: wrong, none, open, broken",
    ]


def test_numbers_are_the_same_only_in_the_same_shape() -> None:
    import torch

    assert same_numbers(torch.tensor([1.0, 2.0]), [1, 2 + 1e-9])
    assert not same_numbers([1, 2], [1, 2.001])
    assert not same_numbers(1, [1, 1])
    assert not same_numbers("1", [1])
    assert not same_numbers([np.nan], [np.nan])
