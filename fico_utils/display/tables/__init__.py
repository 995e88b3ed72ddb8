"""The tables by name: `TABLES`, filled by the modules of this folder. Row groups are those of the paper's table."""

from __future__ import annotations

from typing import Any

from fico_utils.display.catalogue import TABLES, load_entries
from fico_utils.display.table import Table

__all__ = ["TABLES", "make_table"]

load_entries(TABLES, "table", __name__)


def make_table(name: str, *tables: Any, **options: Any) -> Table:
    """A table by its name, such as ``make_table("table2", metrics, corpora=["picto_people"])``."""
    return TABLES[name](*tables, **options)
