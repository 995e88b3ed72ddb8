"""The tables by name: `TABLES`, filled by the modules of this folder; nothing is computed but the difference.

Row groups are those of the paper's table: it prints ADV 2048-bit among the fine-grained systems in Tables 2 and 4 and
among the coarse-grained ones in Table 5.
"""

from __future__ import annotations

from typing import Any

from fico_utils.display.catalogue import TABLES, load_entries
from fico_utils.display.table import Table

__all__ = ["TABLES", "make_table"]

load_entries(TABLES, "table", __name__)


def make_table(name: str, *tables: Any, **options: Any) -> Table:
    """A table by its name, such as ``make_table("table2", metrics, corpora=["picto_people"])``."""
    return TABLES[name](*tables, **options)
