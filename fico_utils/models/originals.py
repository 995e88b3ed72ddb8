"""What a system does otherwise than its original: a row each in ``models/differences.csv``, for cards and a table.

The name of a difference undoes it: ``sizes: {xvlm: {original: [negatives]}}`` in a profile, and ``original: true``
undoes all that can be undone. What is only smaller (widths, depths, epochs) is said in the head of a system's file.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from fico_utils import registry
from fico_utils.errors import InputError

#: Columns: the stem of the system's file, the name of the difference, what the original does, what ours does, why,
#: the measured effect, and whether `original` undoes it.
DIFFERENCES = Path(__file__).with_name("differences.csv")


def read_differences() -> list[dict[str, str]]:
    """Every difference, a system's together and the systems in the order of the paper's tables."""
    with DIFFERENCES.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def system_differences(system: str) -> list[dict[str, str]]:
    """The differences of a system by its id, or of ``query2label``; empty where none is stated."""
    row = registry.systems().get(system)
    stem = row.model.partition(":")[0].rpartition(".")[2] if row else system
    return [difference for difference in read_differences() if difference["system"] == stem]


def named_systems(stem: str) -> str:
    """The printed names of the rows that the file of a system states, or the label generator's."""
    rows = [row.name for row in registry.SYSTEMS.values() if row.model.startswith(f"fico_utils.models.{stem}:")]
    return ", ".join(rows) or "Query2Label"


def require_known(system: str, original: Any) -> None:
    """InputError where ``original`` of a system's sizes is neither true, false nor a list of differences it undoes."""
    known = [d["difference"] for d in system_differences(system) if d["undone"] == "yes"]
    if not isinstance(original, bool) and not (isinstance(original, list | tuple) and set(original) <= set(known)):
        expected = f"true, false or a list of {', '.join(known)}"
        raise InputError(f"original of {system} was given {original!r}; expected {expected}")
