"""TEACHING.md against the notebooks: what it names exists, and its minutes add up."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest

from fico_utils.cli import find_verbs
from fico_utils.provenance import PROJECT

FOLDER = PROJECT / "notebooks"
TEXT = (FOLDER / "TEACHING.md").read_text(encoding="utf-8")
SESSIONS = re.split(r"^## ", TEXT, flags=re.M)


@cache
def headings(name: str) -> dict[str, str]:
    """Number -> the heading of a section or an exercise of a notebook."""
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    found = (re.match(r"## (\d+\.\d+) (.*)", "".join(cell["source"])) for cell in cells)
    return {match[1]: match[2] for match in found if match}


def test_every_section_and_exercise_that_is_named_exists() -> None:
    links = re.findall(r"\[(\d+\.\d+)\]\(([\w/]+\.ipynb)\)", TEXT)
    assert len(links) > 100
    assert [(number, name) for number, name in links if number not in headings(name)] == []


def test_minutes_of_a_session_are_what_it_says() -> None:
    found = [re.match(r"Session (\d) · .* \((\d+) minutes\)\n", part) for part in SESSIONS]
    sessions = [(match, part) for match, part in zip(found, SESSIONS, strict=True) if match]
    assert [int(match[1]) for match, _ in sessions] == [1, 2, 3, 4, 5, 6]
    for match, part in sessions:
        assert sum(map(int, re.findall(r"^\| (\d+) \|", part, re.M))) == int(match[2]), match[0]


def test_every_exercise_is_set_with_the_minutes_of_its_heading() -> None:
    places = re.findall(r"\[(\d+\.\d+)\]\((exercises/\w+\.ipynb)\) \((\d+)[,)]", TEXT)
    stated = {(number, name): int(minutes) for number, name, minutes in places}
    asked = {
        (number, f"exercises/{path.name}"): int(re.search(r"· (\d+) minutes", title)[1])
        for path in sorted((FOLDER / "exercises").glob("*.ipynb"))
        for number, title in headings(f"exercises/{path.name}").items()
    }
    assert stated == asked
    in_class = re.findall(
        r"^\| \d+ \| .*\[(\d+\.\d+)\]\((exercises/\w+\.ipynb)\) \(\d+\).*\| exercises \|$", TEXT, re.M
    )
    in_class += re.findall(r"^\| \d+ \| Exercise \[(\d+\.\d+)\]\((exercises/\w+\.ipynb)\)", TEXT, re.M)
    total, used = re.search(r"together they are (\d+) minutes, of which the sessions use (\d+)", TEXT).groups()
    assert int(total) == sum(asked.values())
    assert int(used) == sum(asked[place] for place in set(in_class))


@pytest.mark.parametrize("lesson", [f"0{n}" for n in range(9)])
def test_no_lesson_is_forgotten(lesson: str) -> None:
    assert re.search(rf"\({lesson}_\w+\.ipynb\)", TEXT)


def test_the_exam_has_ten_questions_and_says_where_numbers_come_from() -> None:
    exam = next(part for part in SESSIONS if part.startswith("An exam"))
    questions = re.split(r"^(?=\*\*\d+\. )", exam, flags=re.M)[1:]
    assert [int(re.match(r"\*\*(\d+)", question)[1]) for question in questions] == list(range(1, 11))
    for question in questions:
        assert re.search(r"\*\*\n\S", question), "an answer follows"
        if "<!-- value" in question:
            assert "rofile standard, seed 0" in question
            assert "`picto_" in question


def test_commands_are_verbs() -> None:
    verbs = set(re.findall(r"(?:python -m fico_utils|\bfico) (check|exercises|slides|init|\w+ --\w+)", TEXT))
    assert {verb.split()[0] for verb in verbs} <= set(find_verbs())
