"""Marking: what students hand back is executed; answers decide, and neither edits nor endless loops do harm."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from fico_utils import cli
from fico_utils.extras import marking
from fico_utils.extras.marking import merge_answers

#: Exercise -> what the student wrote. Each asks for twice x.
ANSWERS = {
    "1.1": "def answer(x):\n    return helper(x)",  # with a cell of the student's own
    "1.2": "def answer(x):\n    return 3 * x",
    "1.3": "def answer(x):\n    import time\n    time.sleep(10**6)",
    "1.4": "def answer(x):\n    import os\n    os._exit(1)",
    "1.5": "def answer(x:",
    "1.6": "def answer(x):\n    ...",
}
UNTOUCHED = "def answer(x):\n    ...  # your lines here"


def code_cell(name: str, source: str, *tags: str) -> dict[str, Any]:
    """A cell as a notebook keeps it."""
    cell = {"cell_type": "code", "id": name, "source": source, "metadata": {"tags": list(tags)}}
    return cell | {"outputs": [], "execution_count": None}


def notebook_text(answers: dict[str, str], check: str = "2 * x") -> str:
    """A notebook of exercises: parameters, a board, and for each exercise an answer and a check."""
    cells = [code_cell("params", 'out_dir = "results"', "parameters")]
    cells.append(code_cell("setup", "from fico_utils.extras.exercises import Exercises\nexercises = Exercises()"))
    for name, answer in answers.items():
        cells.append(code_cell(f"answer-{name[-1]}", answer, "answer"))
        steps = f'def _(answer, rng):\n    x = 5\n    yield answer(x) == {check}, "twice, not three times"'
        cells.append(code_cell(f"check-{name[-1]}", f'@exercises.check("{name}", answer)\n{steps}', "check"))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a lecturer, with one notebook of exercises."""
    folder = tmp_path / "lecturer" / "exercises"
    folder.mkdir(parents=True)
    (folder / "01_first.ipynb").write_text(notebook_text(dict.fromkeys(ANSWERS, UNTOUCHED)))
    monkeypatch.setattr(marking, "project_path", lambda name: folder.parent)
    return tmp_path


def test_each_exercise_of_each_student_is_judged_by_its_answer(handed_out: Path, capsys) -> None:
    own = json.loads(notebook_text(ANSWERS, check="3 * x"))  # the student made the checks ask for three times x
    own["cells"].insert(2, code_cell("mine", "def helper(x):\n    return 2 * x"))
    forged = '@exercises.check("1.2", 1)\ndef _(answer, rng):\n    yield True, ""'
    own["cells"].insert(5, code_cell("forged", forged, "check"))
    students = {"ada": json.dumps(own), "ben": "{", "cem": json.dumps(own | {"cells": own["cells"][2:3]}), "dee": None}
    for student, text in students.items():
        place = handed_out / student / "notebooks" / "exercises"
        place.mkdir(parents=True)
        if text:
            (place / "01_first.ipynb").write_text(text)
    folders = [str(handed_out / student) for student in students]
    target = handed_out / "marks.csv"
    assert cli.main(["exercises", "--mark", *folders, "--limit", "15", "--to", str(target)]) == 0
    said = capsys.readouterr()
    assert "ada: 1 of 6 exercises passed" in said.err
    with open(target, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["student"], r["exercise"]) for r in rows] == [(s, e) for s in students for e in ANSWERS]
    ada = {r["exercise"]: (r["outcome"], r["hint"]) for r in rows if r["student"] == "ada"}
    assert ada["1.1"] == ("passed", "")
    assert ada["1.2"] == ("failed", "twice, not three times")
    assert ada["1.3"] == ada["1.4"] == ("failed", "your code ran longer than 15 s, or ended the kernel")
    assert ada["1.5"][0] == "failed"
    assert "SyntaxError" in ada["1.5"][1]
    assert ada["1.6"] == ("not attempted", "")
    others = {s: {(r["outcome"], r["hint"]) for r in rows if r["student"] == s} for s in ("ben", "cem", "dee")}
    assert others["ben"] == {("failed", "01_first.ipynb is not the exercise any more (NotJSONError)")}
    assert others["cem"] == {("failed", "01_first.ipynb is not the exercise any more (KeyError)")}
    assert others["dee"] == {("not attempted", "there is no 01_first.ipynb")}


def test_what_is_no_folder_is_refused_before_anything_runs(handed_out: Path, capsys) -> None:
    assert cli.main(["exercises", "--mark", str(handed_out), str(handed_out / "nobody")]) == 2
    assert "nobody is no folder" in capsys.readouterr().err


def test_help_says_whose_rights_the_code_of_students_has(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["exercises", "--help"])
    assert "runs as you, with your rights" in " ".join(capsys.readouterr().out.split())


def test_only_answers_and_added_cells_come_from_the_student() -> None:
    ours = nbformat.reads(notebook_text({"1.1": UNTOUCHED, "1.2": UNTOUCHED}), as_version=4).cells
    theirs = nbformat.reads(notebook_text({"1.1": "first", "1.2": "second"}, check="0"), as_version=4).cells
    moved = [theirs[4], theirs[1], nbformat.v4.new_code_cell("added"), theirs[2]]  # one check and the setup are gone
    for cell in moved:
        cell.metadata["id"] = cell.pop("id")  # where Colab keeps it
    merged = merge_answers(ours, moved)
    assert [c.source for c in merged if c.id not in ("params", "setup")] == [
        "added", "first", ours[3].source, "second", ours[5].source,
    ]  # fmt: skip
    assert "2 * x" in ours[3].source
