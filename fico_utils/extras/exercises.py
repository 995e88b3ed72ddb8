"""Exercises that check themselves, and how each is derived from its solution.

The source is a notebook in ``notebooks/solutions/``; the exercise of the same name in ``notebooks/exercises/`` is made
from it. In a cell tagged ``answer``, the line ``# solution`` and all lines below it are removed; in an assignment that
ends in ``# solution``, the value is. Cells tagged ``solution`` (remarks for whoever teaches) and ``wrong`` (a plausible
wrong answer, whose first line says which hint the check has to give) are removed whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.files import write_text

NOT_ATTEMPTED, PASSED, NOT_YET = "not attempted", "passed", "not yet"
#: What stands where a solution stood.
TO_FILL = "# your lines here"
#: A check: from an answer and a seeded generator to what must hold, each with the hint for an answer where it does not.
Steps = Callable[[Any, np.random.Generator], Iterator[tuple[bool, str]]]


class _NotAttempted(Exception):
    """An answer gave back nothing."""


class Exercises:
    """The exercises of one notebook: `check` judges an answer, `summary` counts. Neither ever raises an exception.

    `outcomes` holds, for each exercise checked so far, ``passed``, ``not attempted``, or ``not yet`` with a hint.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def check(self, name: str, answer: Any) -> Callable[[Steps], Steps]:
        """A decorator that runs a check on `answer` at once and prints its outcome; the first step that fails decides.

        An answer that is ``...``, or a function that returns None, counts as not attempted.
        """

        def run(steps: Steps) -> Steps:
            self.outcomes[name] = _judge(steps, answer)
            print(f"{name} {self.outcomes[name]}")
            return steps

        return run

    def summary(self) -> None:
        """Print how many exercises have passed, and which are left."""
        left = [name for name, outcome in self.outcomes.items() if outcome != PASSED]
        passed = len(self.outcomes) - len(left)
        print(f"{passed} of {len(self.outcomes)} exercises passed" + (f"; left: {', '.join(left)}" if left else ""))


def _judge(steps: Steps, answer: Any) -> str:
    """The outcome of a check."""

    def attempted(*given: Any, **named: Any) -> Any:
        value = answer(*given, **named)
        if value is None or value is ...:
            raise _NotAttempted
        return value

    if answer is ...:
        return NOT_ATTEMPTED
    try:
        for holds, hint in steps(attempted if callable(answer) else answer, np.random.default_rng(0)):
            if not holds:
                return f"{NOT_YET}: {hint}"
    except _NotAttempted:
        return f"{NOT_ATTEMPTED} (the function returns nothing yet)"
    except Exception as error:  # whatever a wrong answer may do: the notebook goes on
        return f"{NOT_YET}: your code stopped with {type(error).__name__}: {error}"
    return PASSED


def same_numbers(value: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """Whether `value` has the shape of `expected` and, within `tolerance`, its numbers; text is no number.

    >>> same_numbers([0.5, 1], np.array([0.5, 1.0])), same_numbers([[0.5, 1]], [0.5, 1])
    (True, False)
    """
    try:
        value, expected = np.asarray(value, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        return False
    return value.shape == expected.shape and np.allclose(value, expected, rtol=tolerance, atol=tolerance)


def has_shape(value: Any, shape: tuple[int, ...]) -> tuple[bool, str]:
    """A step of a check: `value` is an array of this shape, ``()`` for a single number."""
    return np.shape(value) == shape, f"expected a result of shape {shape}, yours has {np.shape(value)}"


def derive_exercise(solution: dict[str, Any]) -> dict[str, Any]:
    """The exercise, as the JSON of a notebook, of a solution."""
    kept = []
    for cell in solution["cells"]:
        tags = cell["metadata"].get("tags", [])
        if "answer" in tags:
            text = re.sub(r"^( *)# solution\n.*", rf"\g<1>{TO_FILL}", "".join(cell["source"]), flags=re.M | re.S)
            text = re.sub(r"^(\w+ = ).*  # solution$", rf"\g<1>...  {TO_FILL}", text, flags=re.M)
            cell = cell | {"source": text.splitlines(keepends=True)}
        if not {"solution", "wrong"} & set(tags):
            kept.append(cell)
    return solution | {"cells": kept}


def write_exercises(folder: Path) -> list[Path]:
    """Derive ``exercises/*.ipynb`` of a folder from its ``solutions/*.ipynb``; the files written, in order.

    InputError where the folder holds no solutions.
    """
    sources = sorted((folder / "solutions").glob("*.ipynb"))
    if not sources:
        raise InputError(f"{folder / 'solutions'} holds no notebooks; run this in the folder that holds notebooks/")
    written = [folder / "exercises" / path.name for path in sources]
    for source, target in zip(sources, written, strict=True):
        exercise = derive_exercise(json.loads(source.read_text(encoding="utf-8")))
        write_text(target, json.dumps(exercise, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return written
